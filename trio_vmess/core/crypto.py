"""One home for each primitive: nothing else in the package imports a crypto library.

AEADs, AES blocks and CFB-128 come from `cryptography` (OpenSSL), whose contexts can be kept and can
write into a caller's buffer: sealing 16 KiB with AES-128-GCM takes about 1.1 µs there. So does
SHAKE-128, which the protocol reads for as long as a connection lives: hashlib's cannot be read
piece by piece, and OpenSSL's only from version 3.3 on; pycryptodome is for what has an older one.
FNV-1a comes from `fnv_hash_fast`. The MD5 and SHA-256 of the standard library do the rest.
"""

import hashlib
import hmac
import sys
from collections.abc import Callable, Iterable
from typing import Final, Protocol, cast

import fnv_hash_fast
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHAKE128, XOFHash

try:
    # The interpreter's own MD5 has lighter objects than OpenSSL's: a copied state costs 0.3 µs for
    # an HMAC instead of 0.5, and the table of legacy user hashes needs tens of thousands a second.
    from _md5 import md5 as _built_in_md5  # type: ignore[import-not-found]  # it has no stub
except ImportError:  # built without it, or a restricted build
    _built_in_md5 = hashlib.md5

__all__ = [
    "AEAD_TAG_SIZE",
    "AES_KEY_SIZE",
    "GCM_NONCE_SIZE",
    "Aead",
    "HashState",
    "HmacState",
    "InvalidTag",
    "StreamCipher",
    "aes_block_decryptor",
    "aes_block_encrypt",
    "aes_block_encryptor",
    "aes_gcm",
    "cfb_decryptor",
    "cfb_encryptor",
    "chacha20_poly1305",
    "equal",
    "fnv1a",
    "hkdf_expand",
    "hkdf_extract",
    "hmac_md5",
    "hmac_md5_many",
    "hmac_md5_state",
    "keyed_hash",
    "md5",
    "new_sha256",
    "sha1",
    "sha256",
    "shake128",
    "shake128_reader",
    "xor",
]

AEAD_TAG_SIZE: Final = 16
AES_KEY_SIZE: Final = 16
GCM_NONCE_SIZE: Final = 12
CFB_BLOCK_SIZE: Final = 16
"""`StreamCipher.update_into` needs this many bytes less one of free space behind the output."""

_HMAC_BLOCK_SIZE: Final = 64
IPAD: Final = bytes(byte ^ 0x36 for byte in range(256))
OPAD: Final = bytes(byte ^ 0x5C for byte in range(256))
"""Translation tables for `bytes.translate`: HMAC's inner and outer key masks (RFC 2104)."""

_Bytes = bytes | bytearray | memoryview

_ENDLESS_SHAKE128: Final = SHAKE128(digest_size=sys.maxsize)


class Aead(Protocol):
    """An authenticated cipher with its key; 12-byte nonces, 16-byte tags behind the text."""

    def encrypt(self, nonce: bytes, data: _Bytes, associated_data: bytes | None, /) -> bytes:
        """Seal `data`."""
        ...

    def decrypt(self, nonce: bytes, data: _Bytes, associated_data: bytes | None, /) -> bytes:
        """Open `data`; raises `InvalidTag`."""
        ...

    def encrypt_into(
        self, nonce: bytes, data: _Bytes, associated_data: bytes | None, buf: _Bytes, /
    ) -> int:
        """Seal `data` into `buf`, which is exactly 16 bytes longer."""
        ...

    def decrypt_into(
        self, nonce: bytes, data: _Bytes, associated_data: bytes | None, buf: _Bytes, /
    ) -> int:
        """Open `data` into `buf`, which is exactly 16 bytes shorter; raises `InvalidTag`."""
        ...


class HashState(Protocol):
    """A hash over the data so far."""

    def copy(self) -> "HashState":
        """Return an independent copy of the state."""
        ...

    def update(self, data: bytes, /) -> None:
        """Hash more data."""
        ...

    def digest(self) -> bytes:
        """Return the hash of all data so far."""
        ...


class StreamCipher(Protocol):
    """One direction of a stream cipher: its state carries over from call to call."""

    def update(self, data: _Bytes, /) -> bytes:
        """Transform `data`."""
        ...

    def update_into(self, data: _Bytes, buf: _Bytes, /) -> int:
        """Transform `data` into `buf`, which must be at least 15 bytes longer."""
        ...


aes_gcm: Callable[[bytes], Aead] = AESGCM
"""AES-GCM under a 16-byte key."""

chacha20_poly1305: Callable[[bytes], Aead] = ChaCha20Poly1305
"""ChaCha20-Poly1305 (RFC 8439) under a 32-byte key."""


def _cfb(key: bytes, iv: bytes) -> Cipher[CFB]:
    return Cipher(algorithms.AES(key), CFB(iv))


def cfb_encryptor(key: bytes, iv: bytes) -> StreamCipher:
    """AES-CFB with segments of 128 bits; `key` and `iv` are 16 bytes."""
    return _cfb(key, iv).encryptor()


def cfb_decryptor(key: bytes, iv: bytes) -> StreamCipher:
    """The inverse of `cfb_encryptor`."""
    return _cfb(key, iv).decryptor()


def aes_block_encrypt(key: bytes, block: bytes) -> bytes:
    """Encrypt one 16-byte block (ECB) under a 16-byte key."""
    return aes_block_encryptor(key).update(block)


def aes_block_encryptor(key: bytes) -> CipherContext:
    """Return a context whose `update` encrypts one 16-byte block (ECB), any number of times."""
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor()


def aes_block_decryptor(key: bytes) -> CipherContext:
    """Return a context whose `update` decrypts one 16-byte block (ECB), any number of times."""
    return Cipher(algorithms.AES(key), modes.ECB()).decryptor()


def md5(data: bytes) -> bytes:
    """Return the 16 bytes of MD5."""
    return hashlib.md5(data, usedforsecurity=False).digest()


def sha1(data: bytes) -> bytes:
    """Return the 20 bytes of SHA-1."""
    return hashlib.sha1(data, usedforsecurity=False).digest()


def sha256(data: bytes) -> bytes:
    """Return the 32 bytes of SHA-256."""
    return hashlib.sha256(data).digest()


new_sha256: Callable[[bytes], HashState] = hashlib.sha256
"""For states that are copied: see `kdf`."""


def keyed_hash(key: bytes, data: bytes, size: int) -> bytes:
    """Return `size` bytes, at most 64, of keyed BLAKE2b (RFC 7693); the key has 64 at most."""
    return hashlib.blake2b(data, key=key, digest_size=size).digest()


def hkdf_extract(salt: bytes, secret: bytes) -> bytes:
    """Return the 32 bytes of HKDF-Extract with SHA-256 (RFC 5869 section 2.2)."""
    return hmac.digest(salt, secret, "sha256")


def hkdf_expand(key: bytes, info: bytes, size: int) -> bytes:
    """Return `size` bytes, at most 8160, of HKDF-Expand with SHA-256 (RFC 5869 section 2.3)."""
    block, output = b"", b""
    for counter in range(1, -(-size // 32) + 1):
        block = hmac.digest(key, block + info + bytes((counter,)), "sha256")
        output += block
    return output[:size]


_light_md5 = cast("Callable[[bytes], HashState]", _built_in_md5)

HmacState = tuple[HashState, HashState]
"""HMAC-MD5 with its key already in: the inner and the outer hash, each one block on."""


def hmac_md5(key: bytes, message: bytes) -> bytes:
    """Return the 16 bytes of HMAC-MD5."""
    return hmac.digest(key, message, "md5")


def hmac_md5_state(key: bytes) -> HmacState:
    """Prepare HMAC-MD5 under a key of at most 64 bytes for many short messages."""
    block = key.ljust(_HMAC_BLOCK_SIZE, b"\0")
    return _light_md5(block.translate(IPAD)), _light_md5(block.translate(OPAD))


def hmac_md5_many(states: Iterable[HmacState], message: bytes) -> list[bytes]:
    """Return HMAC-MD5 of one message under each of many keys, in their order."""
    digests: list[bytes] = []
    keep = digests.append
    for inner, outer in states:
        first = inner.copy()
        first.update(message)
        second = outer.copy()
        second.update(first.digest())
        keep(second.digest())
    return digests


def fnv1a(data: bytes) -> int:
    """Return the 32-bit FNV-1a hash."""
    value: int = fnv_hash_fast.fnv1a_32(data)
    return value


def shake128(seed: bytes, size: int) -> bytes:
    """Return the first bytes of SHAKE-128 over `seed`: a quarter of what a reader costs."""
    return hashlib.shake_128(seed).digest(size)


def shake128_reader(seed: bytes, *, skip: int = 0) -> Callable[[int], bytes]:
    """Return a function that reads the next n bytes of SHAKE-128 over `seed`, `skip` bytes on."""
    try:
        state = XOFHash(_ENDLESS_SHAKE128)
    except UnsupportedAlgorithm:
        return shake128_reader_slowly(seed, skip=skip)
    state.update(seed)
    if skip:
        state.squeeze(skip)
    return state.squeeze


def shake128_reader_slowly(seed: bytes, *, skip: int = 0) -> Callable[[int], bytes]:
    """Do what `shake128_reader` does, where OpenSSL is older than 3.3, in twice the time."""
    # Imported here because it brings a parser of C with it: 25 ms and 3 MB.
    from Crypto.Hash import SHAKE128 as OTHER_SHAKE128

    read: Callable[[int], bytes] = OTHER_SHAKE128.new(seed).read
    if skip:
        read(skip)
    return read


equal = hmac.compare_digest
"""Compare two secrets in a time that does not depend on where they differ."""


def xor(data: bytes | bytearray | memoryview, other: bytes | bytearray | memoryview) -> bytes:
    """Return the bits in which two byte strings of one size differ."""
    # Imported here like SHAKE-128 above: only frames that no extension unmasks need it.
    from Crypto.Util.strxor import strxor

    result: bytes = strxor(data, other)
    return result
