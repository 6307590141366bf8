"""The first 16 bytes of a request: who is calling, and when.

Legacy: the *user hash*, an HMAC of the time under one of the user's ids. The server can only look
it up among all the hashes that are possible now. AEAD: the *auth id*, an encrypted time with a
checksum. The server tries every user's key.
"""

import functools
import zlib
from typing import Final

import attrs

from trio_vmess.core.crypto import (
    AES_KEY_SIZE,
    aes_block_decryptor,
    aes_block_encryptor,
    hmac_md5,
    md5,
)
from trio_vmess.core.vmess.constants import AUTH_SIZE, Label
from trio_vmess.core.vmess.kdf import kdf

AUTH_ID_RANDOM_SIZE: Final = 4


def encode_timestamp(timestamp: int) -> bytes:
    """Write UTC seconds as 8 bytes, big-endian, signed."""
    return timestamp.to_bytes(8, "big", signed=True)


def derive_user_hash(authenticating_id: bytes, timestamp: int) -> bytes:
    """Return the 16 bytes that open a legacy request.

    Args:
        authenticating_id: the main id or an alter id, 16 bytes.
        timestamp: UTC seconds with the jitter in; the header's IV needs the same.
    """
    return hmac_md5(authenticating_id, encode_timestamp(timestamp))


def derive_legacy_header_iv(timestamp: int) -> bytes:
    """Return the IV of a legacy request header: MD5 of the time written four times."""
    return md5(encode_timestamp(timestamp) * 4)


@attrs.frozen(kw_only=True)
class AuthId:
    """An opened auth id.

    Attributes:
        timestamp: the client's UTC seconds; nothing was added to it.
        random: 4 bytes that make it unique.
    """

    timestamp: int
    random: bytes


_encryptor = functools.lru_cache(maxsize=256)(aes_block_encryptor)
"""Making a context costs thirty times what it does; a client is one of few users."""


def derive_auth_id_key(cmd_key: bytes) -> bytes:
    """Return the AES-128 key of a user's auth ids."""
    return kdf(cmd_key, Label.AUTH_ID)[:AES_KEY_SIZE]


def seal_auth_id(key: bytes, timestamp: int, random: bytes) -> bytes:
    """Encrypt an auth id, the inverse of `open_auth_id`.

    Args:
        key: 16 bytes from `derive_auth_id_key`.
        timestamp: UTC seconds, as they are.
        random: 4 bytes.
    """
    plain = encode_timestamp(timestamp) + random
    return _encryptor(key).update(plain + zlib.crc32(plain).to_bytes(4, "big"))


def read_auth_time(plain: bytes) -> int | None:
    """Return the time in a decrypted auth id, as UTC seconds; None if its checksum is wrong."""
    if zlib.crc32(plain[:12]) != int.from_bytes(plain[12:], "big"):
        return None
    return int.from_bytes(plain[:8], "big", signed=True)


def open_auth_id(sealed: bytes, key: bytes) -> AuthId | None:
    """Decrypt an auth id with one user's key.

    Layout (big-endian): 8 UTC seconds, signed | 4 random | 4 CRC-32 (IEEE) of the first 12.

    Args:
        sealed: 16 bytes as received.
        key: 16 bytes from `derive_auth_id_key`.

    Returns:
        The id, or None if this key did not seal it: every user is tried, so a miss is no error.

    Raises:
        ValueError: an argument has not 16 bytes.

    Source:
        v2ray-core, proxy/vmess/aead/authid.go, CreateAuthID and Decode.
    """
    if len(sealed) != AUTH_SIZE or len(key) != AUTH_SIZE:
        raise ValueError("an auth id and its key have 16 bytes each")
    plain = aes_block_decryptor(key).update(sealed)
    timestamp = read_auth_time(plain)
    return None if timestamp is None else AuthId(timestamp=timestamp, random=plain[8:12])
