"""Fuzz addresses: what programs ask for, and the codecs that carry it."""

from collections.abc import Callable
from typing import Final

from tests.fuzz.hosts import check_host
from trio_vmess.core import (
    Host,
    detect_proxy_protocol,
    parse_endpoint,
    parse_host,
)
from trio_vmess.core.destination import PORT_MAX
from trio_vmess.core.mixed import parse_requested_host

SEEDS: Final = (
    b"example.com:443",
    b"192.0.2.1:80",
    b"[2001:db8::1]:53",
    b"::ffff:192.0.2.1",
    b"[::1]",
    b"fe80::1%eth0",
    "bücher.example".encode(),
    "例え.テスト:80".encode(),
    b"xn--bcher-kva.example",
    b"a_b.example.",
    b"1.2.3",
    b"4a.example",
    b"0x7f.1",
    b"localhost",
    b"a" * 64 + b".example",
    b"\x05\x01\x00",
)
TOKENS: Final = (b"::ffff:", b"[", b"]:", b"%25", b"xn--", "\u3002".encode(), "ß".encode())


def check(data: bytes) -> None:
    """Raise where an invariant is broken.

    No exception but `ValueError` comes out; and a host that a program may ask for is written and
    read back alike as text, by VMess and by SOCKS.
    """
    if detect_proxy_protocol(data) is not detect_proxy_protocol(data[:1]):
        raise ValueError("one byte tells the protocol")
    text = data.decode("utf-8", "surrogateescape")
    requested = _parsed(parse_requested_host, text)
    if requested is not None:
        check_host(requested)
    for parse in (parse_host, _parse_host_before_port):
        host = _parsed(parse, text)
        if host is not None and parse_host(str(host)) != host:
            raise ValueError(f"{host!r} is another host when it is read again")


def _parsed(parse: Callable[[str], Host], text: str) -> Host | None:
    try:
        return parse(text)
    except ValueError:
        return None


def _parse_host_before_port(text: str) -> Host:
    host, port = parse_endpoint(text, default_port=0)
    if not 0 <= port <= PORT_MAX:
        raise TypeError(f"{port} cannot be a port")
    return host
