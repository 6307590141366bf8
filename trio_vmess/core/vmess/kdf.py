"""The key derivation of the AEAD header: HMACs nested in one another.

HMAC-SHA256 under a fixed salt is the first hash function. Each path element keys an HMAC whose
hash function is all that was built so far; the block size stays 64. With n elements one derivation
costs 2^(n+1) SHA-256 calls, and the salt and the first element (a constant label) begin each of
them: their blocks are hashed once and the states copied.

Source: v2ray-core v5, proxy/vmess/aead/kdf.go.
"""

import functools
from collections.abc import Callable
from typing import Final

from trio_vmess.core.crypto import IPAD, OPAD, new_sha256
from trio_vmess.core.vmess.constants import KDF_SALT

_Hash = Callable[[bytes], bytes]

_BLOCK_SIZE: Final = 64
_SALT_BLOCK: Final = KDF_SALT.ljust(_BLOCK_SIZE, b"\0")
_salt_inner = new_sha256(_SALT_BLOCK.translate(IPAD))
_salt_outer = new_sha256(_SALT_BLOCK.translate(OPAD))


def _salted(message: bytes) -> bytes:
    inner = _salt_inner.copy()
    inner.update(message)
    outer = _salt_outer.copy()
    outer.update(inner.digest())
    return outer.digest()


def _nest(hash_: _Hash, element: bytes) -> _Hash:
    block = (element if len(element) <= _BLOCK_SIZE else hash_(element)).ljust(_BLOCK_SIZE, b"\0")
    inner, outer = block.translate(IPAD), block.translate(OPAD)
    return lambda message: hash_(outer + hash_(inner + message))


@functools.lru_cache(maxsize=64)
def _labelled(label: bytes) -> _Hash:
    """`_nest(_salted, label)` with the label's two blocks hashed beforehand."""
    block = (label if len(label) <= _BLOCK_SIZE else _salted(label)).ljust(_BLOCK_SIZE, b"\0")
    label_inner, label_outer = _salt_inner.copy(), _salt_inner.copy()
    label_inner.update(block.translate(IPAD))
    label_outer.update(block.translate(OPAD))

    def hash_(message: bytes) -> bytes:
        state = label_inner.copy()
        state.update(message)
        inner = _salt_outer.copy()
        inner.update(state.digest())
        state = label_outer.copy()
        state.update(inner.digest())
        outer = _salt_outer.copy()
        outer.update(state.digest())
        return outer.digest()

    return hash_


def kdf(key: bytes, *path: bytes) -> bytes:
    """Derive 32 bytes from `key` for the use that `path` names.

    Args:
        key: the message of the outermost HMAC.
        path: the first element should be one of few constants (it is remembered).
    """
    if not path:
        return _salted(key)
    label, *rest = path
    hash_ = _labelled(label)
    for element in rest:
        hash_ = _nest(hash_, element)
    return hash_(key)


def kdf16(key: bytes, *path: bytes) -> bytes:
    """Derive an AES-128 key."""
    return kdf(key, *path)[:16]


def kdf12(key: bytes, *path: bytes) -> bytes:
    """Derive an AEAD nonce."""
    return kdf(key, *path)[:12]
