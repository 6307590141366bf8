"""The first packets of a QUIC client, sealed without any code of the product.

Source:
    RFC 9001 section 5, RFC 9000 sections 16, 17.2.2 and 19.6.
"""

from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

CONNECTION_ID: Final = bytes.fromhex("8394c8f03e515708")
DATAGRAM_SIZE: Final = 1200

_SALT: Final = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")


def varint(value: int, *, size: int | None = None) -> bytes:
    """Encode a number in 1, 2, 4 or 8 bytes."""
    for exponent, field_size in enumerate((1, 2, 4, 8)):
        if value < 1 << (8 * field_size - 2) and size in (None, field_size):
            return (value | exponent << (8 * field_size - 2)).to_bytes(field_size, "big")
    raise ValueError(f"{value} does not fit")


def crypto_frame(offset: int, data: bytes) -> bytes:
    """Return a CRYPTO frame."""
    return b"\x06" + varint(offset) + varint(len(data)) + data


def seal_initial(
    frames: bytes,
    *,
    connection_id: bytes = CONNECTION_ID,
    source_id: bytes = b"",
    token: bytes = b"",
    number: int = 0,
    number_size: int = 4,
    version: int = 1,
    pad_to: int = DATAGRAM_SIZE,
) -> bytes:
    """Return a client's Initial packet, padded to the size of a datagram."""
    middle = (
        version.to_bytes(4, "big")
        + bytes((len(connection_id),))
        + connection_id
        + bytes((len(source_id),))
        + source_id
        + varint(len(token))
        + token
    )
    overhead = 1 + len(middle) + 2 + number_size + 16
    payload = frames.ljust(max(pad_to - overhead, 4), b"\0")
    header = (
        bytes((0xC0 | number_size - 1,))
        + middle
        + varint(number_size + len(payload) + 16, size=2)
        + number.to_bytes(number_size, "big")
    )
    key, iv, header_key = _derive(connection_id)
    nonce = (int.from_bytes(iv, "big") ^ number).to_bytes(12, "big")
    sealed = AESGCM(key).encrypt(nonce, payload, header)
    sample = (header[-number_size:] + sealed)[4:20]
    mask = Cipher(algorithms.AES(header_key), modes.ECB()).encryptor().update(sample)
    first = header[0] ^ mask[0] & 0x0F
    hidden = bytes(a ^ b for a, b in zip(header[-number_size:], mask[1:], strict=False))
    return bytes((first,)) + header[1:-number_size] + hidden + sealed


def _derive(connection_id: bytes) -> tuple[bytes, bytes, bytes]:
    extract = HMAC(_SALT, SHA256())
    extract.update(connection_id)
    secret = _expand(extract.finalize(), b"client in", 32)
    return (
        _expand(secret, b"quic key", 16),
        _expand(secret, b"quic iv", 12),
        _expand(secret, b"quic hp", 16),
    )


def _expand(secret: bytes, label: bytes, size: int) -> bytes:
    full = b"tls13 " + label
    info = size.to_bytes(2, "big") + bytes((len(full),)) + full + b"\0"
    return HKDFExpand(SHA256(), size, info).derive(secret)
