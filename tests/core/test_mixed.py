"""What the SOCKS and HTTP inbounds share."""

import ipaddress

import pytest

from trio_vmess.core import NEED_DATA
from trio_vmess.core.mixed import (
    PasswordBook,
    ProxyProtocol,
    detect_proxy_protocol,
    parse_requested_host,
)


@pytest.mark.parametrize(
    ("first_bytes", "verdict"),
    [
        (b"", NEED_DATA),
        (b"\x04", ProxyProtocol.SOCKS),
        (b"\x05\x01", ProxyProtocol.SOCKS),
        (b"G", ProxyProtocol.HTTP),
        (b"CONNECT ", ProxyProtocol.HTTP),
        (b"\x16\x03", ProxyProtocol.HTTP),
    ],
)
def test_detect_proxy_protocol(first_bytes: bytes, verdict: object) -> None:
    assert detect_proxy_protocol(first_bytes) is verdict


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("example.com", "example.com"),
        ("under_score-1.example.", "under_score-1.example."),
        ("127.0.0.1", ipaddress.IPv4Address("127.0.0.1")),
        ("[::1]", ipaddress.IPv6Address("::1")),
        ("::ffff:127.0.0.1", ipaddress.IPv4Address("127.0.0.1")),
    ],
)
def test_requested_host(text: str, host: object) -> None:
    assert parse_requested_host(text) == host


@pytest.mark.parametrize(
    "text", ["", "a b", "a/b", "a@b", "a%20b", "fe80::1%eth0", "a\r\nb", "é\n"]
)
def test_requested_host_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"host|name|address|bytes"):
        parse_requested_host(text)


@pytest.mark.parametrize(
    ("user", "password", "found"),
    [
        (b"ann", b"secret", "ann"),
        (b"ann", b"Secret", None),
        (b"ann", b"", None),
        (b"eve", b"secret", None),
        (b"eve", b"", None),
        (b"", b"", None),
        ("bö".encode(), "wörd".encode(), "bö"),
        ("bö".encode("latin-1"), "wörd".encode("latin-1"), "bö"),
        (b"\xff", b"\xff", None),
        ("日本".encode(), "語".encode(), "日本"),
    ],
)
def test_password_book(user: bytes, password: bytes, found: str | None) -> None:
    book = PasswordBook({"ann": "secret", "bö": "wörd", "日本": "語"})
    assert book.find(user, password) == found


def test_passwords_are_not_printed() -> None:
    assert "secret" not in repr(PasswordBook({"ann": "secret"}))
