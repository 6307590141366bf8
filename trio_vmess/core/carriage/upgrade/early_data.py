"""The first bytes of a stream inside the request that opens it, which saves a round trip.

They are base64url, in a header that browsers can set, too, or behind the path.
"""

import base64
import binascii
from typing import Final
from urllib.parse import unquote

EARLY_DATA_HEADER: Final = "Sec-WebSocket-Protocol"
"""The header that all clients use unless they are told otherwise."""

_SIZE_KEY: Final = "ed"
_FROM_URL: Final = str.maketrans("-_", "+/")


def encode_early_data(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_early_data(text: str) -> bytes | None:
    """Read base64 in either alphabet, with padding or without; None if it is not base64.

    V2Ray 5 pads it in HTTPUpgrade, and some clients use the other alphabet.
    """
    bare = text.rstrip("=").translate(_FROM_URL)
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (ValueError, binascii.Error):
        return None


def split_early_data_size(path: str) -> tuple[str, int]:
    """Take `ed=2048` out of the query of a path, where Xray's settings and share links have it.

    Returns:
        The path as it is requested, and how many bytes may be sent early: 0 where none are named.

    Raises:
        ValueError: the number is not one.
    """
    bare, _, query = path.partition("?")
    size = 0
    others: list[str] = []
    for member in query.split("&") if query else ():
        name, _, value = member.partition("=")
        if unquote(name) != _SIZE_KEY:
            others.append(member)
        elif value.isascii() and value.isdigit():
            size = int(value)
        else:
            raise ValueError(f"{path!r}: {_SIZE_KEY} must be a number of bytes, not {value!r}")
    return bare + "?" + "&".join(others) if others else bare, size
