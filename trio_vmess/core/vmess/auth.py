"""The first 16 bytes of a request: which user made it, and when.

Legacy: the *user hash*, an HMAC of the time under one of the user's ids. The server can only look
it up among all the hashes that are possible now. AEAD: the *auth id*, an encrypted time with a
checksum. The server tries every user's key.
"""

import functools
import zlib
from typing import Final

from trio_vmess.core.crypto import (
    AES_KEY_SIZE,
    aes_block_encryptor,
    hmac_md5,
    md5,
)
from trio_vmess.core.vmess.constants import Label
from trio_vmess.core.vmess.kdf import kdf
from trio_vmess.errors import LocalProtocolError

TIMESTAMP_SIZE: Final = 8
TIMESTAMP_MAX: Final = (1 << 63) - 1
TIMESTAMP_MIN: Final = -(1 << 63)
"""UTC seconds: what 8 signed bytes can hold."""

AUTH_ID_RANDOM_SIZE: Final = 4
_CHECKED_SIZE: Final = TIMESTAMP_SIZE + AUTH_ID_RANDOM_SIZE


def check_timestamp(timestamp: int) -> int:
    """Return a time that has a form on the wire.

    Args:
        timestamp: UTC seconds.

    Raises:
        LocalProtocolError: it does not fit 64 bits.
    """
    if not TIMESTAMP_MIN <= timestamp <= TIMESTAMP_MAX:
        raise LocalProtocolError(f"timestamp: {timestamp} does not fit 64 bits")
    return timestamp


def encode_timestamp(timestamp: int) -> bytes:
    """Write UTC seconds as 8 bytes, big-endian, signed.

    Raises:
        LocalProtocolError: they do not fit 64 bits.
    """
    return check_timestamp(timestamp).to_bytes(TIMESTAMP_SIZE, "big", signed=True)


def derive_user_hash(authenticating_id: bytes, timestamp: int) -> bytes:
    """Return the 16 bytes that open a legacy request.

    Args:
        authenticating_id: the main id or an alter id, 16 bytes.
        timestamp: UTC seconds, jitter included; the header's IV needs the same.

    Raises:
        LocalProtocolError: the timestamp does not fit 64 bits.
    """
    return hmac_md5(authenticating_id, encode_timestamp(timestamp))


def derive_legacy_header_iv(timestamp: int) -> bytes:
    """Return the IV of a legacy request header: MD5 of the time written four times."""
    return md5(encode_timestamp(timestamp) * 4)


_encryptor = functools.lru_cache(maxsize=256)(aes_block_encryptor)
"""Making a context costs thirty times what it does; a client has few users."""


def derive_auth_id_key(cmd_key: bytes) -> bytes:
    """Return the AES-128 key of a user's auth ids."""
    return kdf(cmd_key, Label.AUTH_ID)[:AES_KEY_SIZE]


def seal_auth_id(key: bytes, timestamp: int, random: bytes) -> bytes:
    """Encrypt an auth id.

    Layout (big-endian): 8 UTC seconds, signed | 4 random | 4 CRC-32 (IEEE) of the first 12.

    Args:
        key: 16 bytes from `derive_auth_id_key`.
        timestamp: UTC seconds, as they are.
        random: 4 bytes.

    Raises:
        LocalProtocolError: the timestamp does not fit 64 bits.

    Source:
        v2ray-core, proxy/vmess/aead/authid.go, CreateAuthID and Decode.
    """
    plain = encode_timestamp(timestamp) + random
    return _encryptor(key).update(plain + zlib.crc32(plain).to_bytes(4, "big"))


def read_auth_time(plain: bytes) -> int | None:
    """Return the time in a decrypted auth id, as UTC seconds; None if its checksum is wrong."""
    if zlib.crc32(plain[:_CHECKED_SIZE]) != int.from_bytes(plain[_CHECKED_SIZE:], "big"):
        return None
    return int.from_bytes(plain[:TIMESTAMP_SIZE], "big", signed=True)
