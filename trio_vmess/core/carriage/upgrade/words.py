"""What both ends of an upgrade say. RFC 9110 section 7.8, RFC 6455 section 4."""

import base64
import binascii
import enum
from collections.abc import Iterable
from typing import Final

from trio_vmess.core.crypto import sha1

PROTOCOL: Final = "websocket"
VERSION: Final = "13"

_KEY_SIZE: Final = 16
_ACCEPT_SUFFIX: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class UpgradeKind(enum.Enum):
    """What the connection is to become."""

    WEBSOCKET = "websocket"
    HTTP_UPGRADE = "httpupgrade"


def encode_key(nonce: bytes) -> str:
    """Return the Sec-WebSocket-Key of 16 random bytes."""
    if len(nonce) != _KEY_SIZE:
        raise ValueError(f"a key has {_KEY_SIZE} bytes, not {len(nonce)}")
    return base64.b64encode(nonce).decode("ascii")


def is_key(text: str) -> bool:
    """Tell whether this can be a Sec-WebSocket-Key."""
    try:
        return len(base64.b64decode(text, validate=True)) == _KEY_SIZE
    except (ValueError, binascii.Error):
        return False


def accept_of(key: str) -> str:
    """Return the Sec-WebSocket-Accept that answers a key. RFC 6455 section 4.2.2."""
    return base64.b64encode(sha1(key.encode("latin-1") + _ACCEPT_SUFFIX)).decode("ascii")


def has_token(values: Iterable[str], token: str) -> bool:
    """Look for a member of comma-separated headers; case does not count."""
    return any(member.strip().lower() == token for value in values for member in value.split(","))
