"""The key derivation of the AEAD header: HMACs nested in one another.

HMAC-SHA256 under a fixed salt is the first hash function. Each path element keys an HMAC whose
hash function is all that was built so far; the block size stays 64. With n elements one derivation
costs 2^(n+1) SHA-256 calls.

Two things make it cheap. The salt and the first element (a constant label) begin each call: their
blocks are hashed once and the states copied. And what the elements behind the label nest is in the
end a chain, for an HMAC calls its hash function twice, the second time on the first result: so
they are laid out as *steps*, the blocks that stand before each result on its way through.

Source: v2ray-core v5, proxy/vmess/aead/kdf.go.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from trio_vmess.core.crypto import (
    AES_KEY_SIZE,
    GCM_NONCE_SIZE,
    IPAD,
    OPAD,
    Aead,
    HashState,
    aes_gcm,
    new_sha256,
)
from trio_vmess.core.vmess.constants import KDF_SALT

_BLOCK_SIZE: Final = 64
_SALT_BLOCK: Final = KDF_SALT.ljust(_BLOCK_SIZE, b"\0")
_salt_inner = new_sha256(_SALT_BLOCK.translate(IPAD))
_salt_outer = new_sha256(_SALT_BLOCK.translate(OPAD))

_NO_STEPS: Final = (b"",)


@functools.lru_cache(maxsize=64)
def _begin(label: bytes) -> tuple[HashState, HashState]:
    """Return the inner and the outer state of the label's HMAC: its two blocks, hashed."""
    block = _to_block(label, _salted)
    inner, outer = _salt_inner.copy(), _salt_inner.copy()
    inner.update(block.translate(IPAD))
    outer.update(block.translate(OPAD))
    return inner, outer


def _salted(message: bytes) -> bytes:
    inner = _salt_inner.copy()
    inner.update(message)
    outer = _salt_outer.copy()
    outer.update(inner.digest())
    return outer.digest()


def _to_block(element: bytes, hash_: Callable[[bytes], bytes]) -> bytes:
    return (element if len(element) <= _BLOCK_SIZE else hash_(element)).ljust(_BLOCK_SIZE, b"\0")


def _nest(steps: Sequence[bytes], block: bytes) -> Sequence[bytes]:
    """Add an HMAC around a chain: it goes through it once for each of its own two calls."""
    first, *others = steps
    return first + block.translate(IPAD), *others, first + block.translate(OPAD), *others


def _walk(label: bytes, steps: Iterable[bytes], message: bytes) -> bytes:
    """Send a message through the chain; each step is one HMAC of the label, under the salt."""
    label_inner, label_outer = _begin(label)
    finish = _salt_outer.copy
    for step in steps:
        state = label_inner.copy()
        state.update(step + message)
        inner = finish()
        inner.update(state.digest())
        state = label_outer.copy()
        state.update(inner.digest())
        outer = finish()
        outer.update(state.digest())
        message = outer.digest()
    return message


def kdf(key: bytes, *path: bytes) -> bytes:
    """Derive 32 bytes from `key` for the use that `path` names: an AES key or a nonce in front.

    Args:
        key: the message of the outermost HMAC.
        path: the first element should be one of few constants (it is remembered).
    """
    if not path:
        return _salted(key)
    label, *rest = path
    steps: Sequence[bytes] = _NO_STEPS
    for element in rest:
        steps = _nest(steps, _to_block(element, functools.partial(_walk, label, steps)))
    return _walk(label, steps, key)


def build_header_ciphers(
    length_key: bytes, length_nonce: bytes, header_key: bytes, header_nonce: bytes
) -> tuple[Aead, bytes, Aead, bytes]:
    """Turn derived bytes into cipher and nonce of a header's length, then of the header."""
    return (
        aes_gcm(length_key[:AES_KEY_SIZE]),
        length_nonce[:GCM_NONCE_SIZE],
        aes_gcm(header_key[:AES_KEY_SIZE]),
        header_nonce[:GCM_NONCE_SIZE],
    )


def kdf_each(labels: Iterable[bytes], key: bytes, *rest: bytes) -> list[bytes]:
    """Return `kdf(key, label, *rest)` for each of some labels.

    Args:
        labels: few constants.
        key: as for `kdf`.
        rest: at most 64 bytes each.
    """
    steps: Sequence[bytes] = _NO_STEPS
    for element in rest:
        steps = _nest(steps, element.ljust(_BLOCK_SIZE, b"\0"))
    return [_walk(label, steps, key) for label in labels]
