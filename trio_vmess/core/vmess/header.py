"""The request header: its plain layout, and the two ways in which it is encrypted.

Layout (big-endian), as in the original document; note that the IV comes before the key and the port
before the address:

    0   1   version = 1
    1   16  body IV
    17  16  body key
    33  1   response authentication V
    34  1   options
    35  1   padding length (high half), security (low half)
    36  1   reserved = 0
    37  1   command
    38  2   port                    absent for Mux
    40  1   address type            absent for Mux
    41  n   address                 absent for Mux
        P   padding
        4   FNV-1a of all before it

Source: v2ray-core, proxy/vmess/encoding/client.go and server.go; aead/encrypt.go.
"""

import struct
from collections.abc import Mapping
from typing import Final

import attrs

from trio_vmess.core.buffer import NEED_DATA, NeedData
from trio_vmess.core.crypto import (
    AEAD_TAG_SIZE,
    Aead,
    InvalidTag,
    cfb_decryptor,
    cfb_encryptor,
    fnv1a,
)
from trio_vmess.core.destination import Destination, Network
from trio_vmess.core.vmess.address import decode_address, decode_host, encode_address
from trio_vmess.core.vmess.auth import derive_legacy_header_iv
from trio_vmess.core.vmess.constants import (
    AEAD_NONCE_SIZE,
    AUTH_SIZE,
    CHECKSUM_SIZE,
    PADDING_MAX,
    SEALED_HEADER_MAX,
    VERSION,
    Command,
    Label,
    Option,
    Security,
)
from trio_vmess.core.vmess.dialect import Dialect
from trio_vmess.core.vmess.kdf import build_header_ciphers, kdf_each
from trio_vmess.errors import (
    AuthenticationError,
    LocalProtocolError,
    Refusal,
    RemoteProtocolError,
)

_FIXED: Final = struct.Struct(">B16s16sBBBBB")
FIXED_SIZE: Final = _FIXED.size
_MIXED_OFFSET: Final = 35
_COMMAND_OFFSET: Final = 37

MUX_HOST: Final = "v1.mux.cool"
"""The destination that a Mux header stands for; V2Ray knows Mux by this name."""


@attrs.frozen(kw_only=True)
class RequestHeader:
    """What a client asks for, decoded.

    Attributes:
        body_iv: 16 random bytes.
        body_key: 16 random bytes.
        response_auth: one random byte, which the response must repeat.
        options: bits of `Option`.
        security: how the body is protected.
        command: TCP, UDP or Mux.
        destination: where to; for Mux `v1.mux.cool`, which is not on the wire.
        padding: 0 to 15 bytes.
    """

    body_iv: bytes = attrs.field(repr=False)
    body_key: bytes = attrs.field(repr=False)
    response_auth: int = attrs.field(repr=False)
    options: int
    security: Security
    command: Command
    destination: Destination
    padding: bytes = attrs.field(default=b"", repr=False)


MUX_DESTINATION: Final = Destination(host=MUX_HOST, port=0)


def check_options(options: int, security: Security, dialect: Dialect) -> str | None:
    """Return what is illegal about a combination, or None.

    Bits without a meaning in the dialect are ignored, as everyone does.
    """
    options &= dialect.options
    if options & Option.PADDING and not options & Option.MASK:
        # QUIRK: V2Ray 4 panics on it (v2ray-core, proxy/vmess/encoding/server.go,
        # DecodeRequestBody: only the masking parser can pad), and no client sends it.
        return "options: padding (0x08) without masking (0x04)"
    if dialect.needs_chunk_stream and security.is_aead and not options & Option.CHUNK_STREAM:
        return f"options: {security.word} without the chunk stream (0x01)"
    return None


def encode_request_header(header: RequestHeader, dialect: Dialect) -> bytes:
    """Write a header in plain, with its checksum.

    Raises:
        LocalProtocolError: a field has no legal form on the wire.
    """
    if len(header.padding) > PADDING_MAX:
        raise LocalProtocolError(
            f"padding: must have at most {PADDING_MAX} bytes, not {len(header.padding)}"
        )
    if header.command not in dialect.commands:
        raise LocalProtocolError(
            f"command: the dialect {dialect.name!r} does not have {header.command.name}"
        )
    if problem := check_options(header.options, header.security, dialect):
        raise LocalProtocolError(problem)
    plain = _FIXED.pack(
        VERSION,
        header.body_iv,
        header.body_key,
        header.response_auth,
        header.options,
        len(header.padding) << 4 | dialect.security_code(header.security),
        0,
        header.command,
    )
    if header.command is not Command.MUX:
        plain += header.destination.port.to_bytes(2, "big")
        plain += encode_address(header.destination.host)
    plain += header.padding
    return plain + fnv1a(plain).to_bytes(CHECKSUM_SIZE, "big")


def decode_request_header(data: bytes, dialect: Dialect) -> tuple[RequestHeader, int] | NeedData:
    """Read a plain header from the front of `data`.

    Returns:
        The header and its length; NEED_DATA while `data` ends before the checksum does.

    Raises:
        AuthenticationError: the checksum is wrong, or cannot be located.
        RemoteProtocolError: the header is whole, and a field has an illegal value.
    """
    if len(data) < FIXED_SIZE:
        return NEED_DATA
    mixed, command = data[_MIXED_OFFSET], data[_COMMAND_OFFSET]
    address: bytes | None = None
    end = FIXED_SIZE
    if command != Command.MUX or Command.MUX not in dialect.commands:
        try:
            found = decode_address(data, FIXED_SIZE + 2)
        except RemoteProtocolError as exc:
            raise AuthenticationError(str(exc), reason=Refusal.BAD_HEADER) from None
        if found is NEED_DATA:
            return NEED_DATA
        start, end = found
        address = data[start:end]
    padding_end = end + (mixed >> 4)
    checksum_end = padding_end + CHECKSUM_SIZE
    if checksum_end > len(data):
        return NEED_DATA
    if fnv1a(data[:padding_end]) != int.from_bytes(data[padding_end:checksum_end], "big"):
        raise AuthenticationError("checksum: wrong", reason=Refusal.BAD_HEADER)
    return _read_fields(data, address, data[end:padding_end], dialect), checksum_end


_COMMANDS: Final[Mapping[int, Command]] = {command.value: command for command in Command}


def _read_fields(
    data: bytes, address: bytes | None, padding: bytes, dialect: Dialect
) -> RequestHeader:
    """Read a complete header; its checksum is right, so an illegal value is the client's own.

    Args:
        data: the header.
        address: as it stands behind its type; None where the command has none.
        padding: as received.
        dialect: which values are legal.

    Raises:
        RemoteProtocolError: naming the field.
    """
    version, body_iv, body_key, response_auth, options, mixed, reserved, command = (
        _FIXED.unpack_from(data)
    )
    if version != VERSION:
        raise RemoteProtocolError(f"version: {version} is not {VERSION}")
    if dialect.checks_reserved and reserved:
        raise RemoteProtocolError(f"reserved: {reserved} is not 0")
    security = dialect.security_codes.get(mixed & 0x0F)
    if security is None:
        raise RemoteProtocolError(f"security: code {mixed & 0x0F} is unknown")
    if problem := check_options(options, security, dialect):
        raise RemoteProtocolError(problem)
    if command not in dialect.commands:
        raise RemoteProtocolError(f"command: {command} is unknown")
    destination = MUX_DESTINATION
    if address is not None:
        destination = Destination(
            host=decode_host(data[FIXED_SIZE + 2], address),
            port=int.from_bytes(data[FIXED_SIZE : FIXED_SIZE + 2], "big"),
            network=Network.UDP if command == Command.UDP else Network.TCP,
        )
    return RequestHeader(
        body_iv=body_iv,
        body_key=body_key,
        response_auth=response_auth,
        options=options,
        security=security,
        command=_COMMANDS[command],
        destination=destination,
        padding=padding,
    )


# Legacy -----------------------------------------------------------------------------------------


def encrypt_legacy_header(plain: bytes, cmd_key: bytes, timestamp: int) -> bytes:
    """Encrypt a plain header with AES-128-CFB; `timestamp` is that of the user hash."""
    return cfb_encryptor(cmd_key, derive_legacy_header_iv(timestamp)).update(plain)


def decrypt_legacy_header(data: bytes, cmd_key: bytes, timestamp: int) -> bytes:
    """Decrypt as much of a header as is there; what follows the header comes out as noise."""
    return cfb_decryptor(cmd_key, derive_legacy_header_iv(timestamp)).update(data)


# AEAD -------------------------------------------------------------------------------------------

SEALED_LENGTH_SIZE: Final = 2 + AEAD_TAG_SIZE
AEAD_PREFIX_SIZE: Final = AUTH_SIZE + SEALED_LENGTH_SIZE + AEAD_NONCE_SIZE
"""Auth id, sealed length, nonce: the length can be opened only when the nonce behind it is here."""

AEAD_REQUEST_MAX: Final = AEAD_PREFIX_SIZE + SEALED_HEADER_MAX + AEAD_TAG_SIZE


def seal_aead_header(plain: bytes, cmd_key: bytes, auth_id: bytes, nonce: bytes) -> bytes:
    """Seal a plain header.

    Layout: 16 auth id | 18 sealed length | 8 nonce | header, 16 tag.

    Args:
        plain: the header with its checksum.
        cmd_key: 16 bytes, the account's.
        auth_id: 16 bytes from `seal_auth_id`.
        nonce: 8 random bytes.
    """
    length_cipher, length_nonce, header_cipher, header_nonce = _derive(cmd_key, auth_id, nonce)
    return b"".join(
        (
            auth_id,
            length_cipher.encrypt(length_nonce, len(plain).to_bytes(2, "big"), auth_id),
            nonce,
            header_cipher.encrypt(header_nonce, plain, auth_id),
        )
    )


def open_aead_header(data: bytes, cmd_key: bytes) -> tuple[bytes, int] | NeedData:
    """Open a header that `seal_aead_header` made, from the front of `data`.

    Returns:
        The plain header and how many bytes of `data` it took, or NEED_DATA.

    Raises:
        AuthenticationError: a tag does not match, or the length is not plausible.
    """
    if len(data) < AEAD_PREFIX_SIZE:
        return NEED_DATA
    auth_id = data[:AUTH_SIZE]
    length_end = AUTH_SIZE + SEALED_LENGTH_SIZE
    nonce = data[length_end:AEAD_PREFIX_SIZE]
    length_cipher, length_nonce, header_cipher, header_nonce = _derive(cmd_key, auth_id, nonce)
    try:
        length = int.from_bytes(
            length_cipher.decrypt(length_nonce, data[AUTH_SIZE:length_end], auth_id), "big"
        )
    except InvalidTag:
        raise AuthenticationError("length: wrong tag", reason=Refusal.BAD_HEADER) from None
    if length > SEALED_HEADER_MAX:
        raise AuthenticationError(
            f"length: {length} is more than {SEALED_HEADER_MAX}", reason=Refusal.BAD_HEADER
        )
    end = AEAD_PREFIX_SIZE + length + AEAD_TAG_SIZE
    if len(data) < end:
        return NEED_DATA
    try:
        plain = header_cipher.decrypt(header_nonce, data[AEAD_PREFIX_SIZE:end], auth_id)
    except InvalidTag:
        raise AuthenticationError("header: wrong tag", reason=Refusal.BAD_HEADER) from None
    return plain, end


_LABELS: Final = (Label.LENGTH_KEY, Label.LENGTH_NONCE, Label.HEADER_KEY, Label.HEADER_NONCE)


def _derive(cmd_key: bytes, auth_id: bytes, nonce: bytes) -> tuple[Aead, bytes, Aead, bytes]:
    return build_header_ciphers(*kdf_each(_LABELS, cmd_key, auth_id, nonce))
