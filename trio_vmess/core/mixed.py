"""What the SOCKS and HTTP proxies share.

How to tell them apart on one port, which users may use them, and which hosts can be requested.
"""

import enum
import re
from collections.abc import Mapping
from typing import Final

from trio_vmess.core.buffer import NEED_DATA, NeedData
from trio_vmess.core.crypto import equal
from trio_vmess.core.destination import Host, parse_host

SOCKS4_FIRST_BYTE: Final = 0x04
SOCKS5_FIRST_BYTE: Final = 0x05
TLS_FIRST_BYTE: Final = 0x16

_DOMAIN: Final = re.compile(r"[0-9A-Za-z._-]+")


class ProxyProtocol(enum.Enum):
    """The protocol of a program on a mixed port."""

    SOCKS = "socks"
    HTTP = "http"


def detect_proxy_protocol(first_bytes: bytes) -> ProxyProtocol | NeedData:
    """Tell the two protocols apart by the first byte.

    SOCKS begins with its version, 4 or 5; an HTTP request begins with a letter. Anything else
    is given to HTTP, whose answer a person can read.

    Args:
        first_bytes: what has come so far; one byte suffices.

    Returns:
        The protocol, or `NEED_DATA` before the first byte.
    """
    if not first_bytes:
        return NEED_DATA
    if first_bytes[0] in (SOCKS4_FIRST_BYTE, SOCKS5_FIRST_BYTE):
        return ProxyProtocol.SOCKS
    return ProxyProtocol.HTTP


def parse_requested_host(text: str) -> Host:
    """Read a host that a program requests, as strictly as VMess servers will.

    Args:
        text: an IP address (IPv6 in brackets or not) or a domain name.

    Raises:
        ValueError: it is neither. A name may contain letters, digits, `-`, `.` and `_` only; one in
            another script is turned into punycode first.

    Source:
        v2ray-core, common/protocol/address.go, isValidDomain.
    """
    if "%" in text:
        raise ValueError(f"{text!r}: a host cannot contain an escape or a zone")
    host = parse_host(text)
    if isinstance(host, str) and _DOMAIN.fullmatch(host) is None:
        raise ValueError(
            f"{text!r} is not a valid domain name: "
            "only letters, digits, '-', '.' and '_' are allowed"
        )
    return host


class PasswordBook:
    """Who may use a proxy: user names and their passwords.

    Programs write both as UTF-8, older ones as Latin-1; either is accepted, and other bytes match
    nothing.

    Args:
        accounts: user name to password. An empty mapping admits no user.
    """

    def __init__(self, accounts: Mapping[str, str]) -> None:
        self._passwords: dict[bytes, tuple[str, tuple[bytes, ...]]] = {}
        for user, password in accounts.items():
            for name in _encodings(user):
                self._passwords[name] = (user, _encodings(password))

    def find(self, user: bytes, password: bytes) -> str | None:
        """Return the user's name as configured, or None if the pair is wrong."""
        known = self._passwords.get(user)
        # An unknown user costs a comparison too, so that the time does not tell which users exist.
        name, expected = known if known is not None else ("", (b"",))
        matches = [equal(password, each) for each in expected]
        return name if known is not None and any(matches) else None


def _encodings(text: str) -> tuple[bytes, ...]:
    encoded = text.encode()
    try:
        return tuple({encoded, text.encode("latin-1")})
    except UnicodeEncodeError:
        return (encoded,)
