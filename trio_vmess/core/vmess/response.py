"""The response header: its plain layout, and how it is sealed under an AEAD.

Layout: 1 response authentication V | 1 options | 1 command | 1 length m | m content of the command.

Legacy headers are encrypted with the response's CFB stream, which a CFB body then continues; so
that is done where the stream is kept.

Source: v2ray-core, proxy/vmess/encoding/server.go, EncodeResponseHeader; client.go.
"""

from typing import Final

import attrs

from trio_vmess.core.buffer import NEED_DATA, NeedData
from trio_vmess.core.crypto import AEAD_TAG_SIZE, Aead, InvalidTag
from trio_vmess.core.vmess.command import (
    SwitchAccount,
    decode_switch_account,
    encode_switch_account,
)
from trio_vmess.core.vmess.constants import (
    RESPONSE_HEADER_MAX,
    RESPONSE_NO_COMMAND,
    RESPONSE_SWITCH_ACCOUNT,
    Label,
)
from trio_vmess.core.vmess.dialect import Dialect
from trio_vmess.core.vmess.kdf import build_header_ciphers, kdf_each
from trio_vmess.core.vmess.security import BodyKeys
from trio_vmess.errors import RemoteProtocolError

RESPONSE_FIXED_SIZE: Final = 4


@attrs.frozen(kw_only=True)
class ResponseHeader:
    """What a server answers, decoded.

    Attributes:
        response_auth: the byte of the request.
        options: V2Ray and Xray write 0, sing-box repeats the request's; no client reads it.
        switch_account: the dynamic-port command, if there is one.
    """

    response_auth: int = attrs.field(repr=False)
    options: int = 0
    switch_account: SwitchAccount | None = None


def encode_response_header(header: ResponseHeader, dialect: Dialect) -> bytes:
    """Write a header in plain.

    Raises:
        LocalProtocolError: the command has no legal form.
    """
    if header.switch_account is None:
        return bytes((header.response_auth, header.options, RESPONSE_NO_COMMAND, 0))
    content = encode_switch_account(header.switch_account, dialect)
    return (
        bytes((header.response_auth, header.options, RESPONSE_SWITCH_ACCOUNT, len(content)))
        + content
    )


def response_header_size(fixed: bytes) -> int:
    """Return how long the plain header is that begins with these 4 bytes."""
    return RESPONSE_FIXED_SIZE + fixed[3]


def decode_response_header(plain: bytes, response_auth: int, dialect: Dialect) -> ResponseHeader:
    """Read a whole plain header.

    An unknown command, or one that is not well formed, is skipped; so is what follows the command.

    Args:
        plain: at least 4 bytes and the command's content.
        response_auth: the byte that the request carried.
        dialect: how the command is laid out.

    Raises:
        RemoteProtocolError: the answer is not to our request, or it is too short.
    """
    if len(plain) < RESPONSE_FIXED_SIZE or len(plain) < response_header_size(plain):
        raise RemoteProtocolError(f"response header: {len(plain)} bytes are too short")
    if plain[0] != response_auth:
        raise RemoteProtocolError("response authentication: this is not the answer to our request")
    command = None
    if plain[2] == RESPONSE_SWITCH_ACCOUNT:
        command = decode_switch_account(
            plain[RESPONSE_FIXED_SIZE : response_header_size(plain)], dialect
        )
    return ResponseHeader(response_auth=response_auth, options=plain[1], switch_account=command)


_SEALED_LENGTH_SIZE: Final = 2 + AEAD_TAG_SIZE
AEAD_RESPONSE_MAX: Final = _SEALED_LENGTH_SIZE + RESPONSE_HEADER_MAX + AEAD_TAG_SIZE


def seal_response_header(plain: bytes, keys: BodyKeys) -> bytes:
    """Seal a plain header with keys derived from the response's.

    Layout: 18 sealed length | header, 16 tag. There is no associated data.
    """
    length_cipher, length_nonce, header_cipher, header_nonce = _derive(keys)
    size = len(plain).to_bytes(2, "big")
    return length_cipher.encrypt(length_nonce, size, None) + header_cipher.encrypt(
        header_nonce, plain, None
    )


def open_response_header(data: bytes, keys: BodyKeys) -> tuple[bytes, int] | NeedData:
    """Open a header that `seal_response_header` made, from the front of `data`.

    Returns:
        The plain header and how many bytes it took, or NEED_DATA.

    Raises:
        RemoteProtocolError: a tag does not match, or the length is not plausible.
    """
    if len(data) < _SEALED_LENGTH_SIZE:
        return NEED_DATA
    length_cipher, length_nonce, header_cipher, header_nonce = _derive(keys)
    try:
        length = int.from_bytes(
            length_cipher.decrypt(length_nonce, data[:_SEALED_LENGTH_SIZE], None), "big"
        )
        if not RESPONSE_FIXED_SIZE <= length <= RESPONSE_HEADER_MAX:
            raise RemoteProtocolError(f"response header length: {length} is not plausible")
        end = _SEALED_LENGTH_SIZE + length + AEAD_TAG_SIZE
        if len(data) < end:
            return NEED_DATA
        plain = header_cipher.decrypt(header_nonce, data[_SEALED_LENGTH_SIZE:end], None)
    except InvalidTag:
        raise RemoteProtocolError("response header: wrong tag; it is not from our server") from None
    return plain, end


_KEY_LABELS: Final = (Label.RESPONSE_LENGTH_KEY, Label.RESPONSE_HEADER_KEY)
_NONCE_LABELS: Final = (Label.RESPONSE_LENGTH_NONCE, Label.RESPONSE_HEADER_NONCE)


def _derive(keys: BodyKeys) -> tuple[Aead, bytes, Aead, bytes]:
    length_key, header_key = kdf_each(_KEY_LABELS, keys.key)
    length_nonce, header_nonce = kdf_each(_NONCE_LABELS, keys.iv)
    return build_header_ciphers(length_key, length_nonce, header_key, header_nonce)
