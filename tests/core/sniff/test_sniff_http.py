"""HTTP: names in request lines and Host headers, and the rest of the table of stream protocols."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_vmess.core import NEED_DATA
from trio_vmess.core.sniff import SNIFF_SIZE_MAX, Sniffed, sniff


@pytest.mark.parametrize(
    ("head", "domain"),
    [
        ("GET / HTTP/1.1\r\nHost: example.com\r\n", "example.com"),
        ("GET / HTTP/1.0\nHost: example.com\n", "example.com"),
        ("get /a?b HTTP/1.1\r\nUser-Agent: x\r\nhOST:   Example.COM:8080  \r\n", "example.com"),
        ("OPTIONS * HTTP/1.1\r\nHOST:\texample.com.\r\n", "example.com"),
        ("POST / HTTP/1.1\r\nno header\r\n: empty\r\n x\r\nHost: a.example\r\n", "a.example"),
        ("PUT / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n", "a.example"),
        ("GET http://user@A.example:81/x HTTP/1.1\r\n", "a.example"),
        ("GET http://a.example?x HTTP/1.1\r\nHost: b.example\r\n", "a.example"),
        ("CONNECT a.example:443 HTTP/1.1\r\n", "a.example"),
        ("DELETE / HTTP/1.1\r\nHost: localhost\r\n", "localhost"),
        ("HEAD / HTTP/1.1\r\nHost: under_score.example\r\n", "under_score.example"),
        ("PATCH / HTTP/1.1\r\nHost: xn--bcher-kva.example\r\n", "xn--bcher-kva.example"),
        ("TRACE / HTTP/1.1\r\nHost: 1.example\r\n", "1.example"),
        ("GET / HTTP/1.1\r\nHost: 192.0.2.1:80\r\n", None),
        ("GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\n", None),
        ("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n", None),
        ("GET / HTTP/1.1\r\nHost: 2001:db8::1\r\n", None),
        ("GET http://[::1]:80/ HTTP/1.1\r\n", None),
        ("GET / HTTP/1.1\r\nHost: 127.1\r\n", None),
        ("GET / HTTP/1.1\r\nHost: 2130706433\r\n", None),
        ("GET / HTTP/1.1\r\nHost: 0x7f000001\r\n", None),
        ("GET / HTTP/1.1\r\nHost: a..example\r\n", None),
        ("GET / HTTP/1.1\r\nHost: .\r\n", None),
        ("GET / HTTP/1.1\r\nHost:\r\n", None),
        ("GET / HTTP/1.1\r\nHost: a b\r\n", None),
        ("GET / HTTP/1.1\r\nHost: " + "a" * 254 + "\r\n", None),
        ("GET / HTTP/1.1\r\nHost: bücher.example\r\n", None),
        ("GET / HTTP/1.1\r\nAccept: */*\r\n\r\nHost: a.example\r\n", None),
        ("GET / HTTP/1.0\n\n", None),
    ],
)
def test_a_request(head: str, domain: str | None) -> None:
    data = head.encode()
    found = Sniffed(protocol="http1", domain=domain)
    verdicts = [sniff(data[:size]) for size in range(len(data) + 1)]
    # Nothing is known before the end of a line, and nothing that follows changes the verdict.
    known = verdicts.index(found)
    assert data[known - 1 : known] == b"\n"
    assert set(verdicts[:known]) == {NEED_DATA}
    assert set(verdicts[known:]) == {found}
    assert sniff(data + b"Host: other.example\r\n\r\n") == found


@pytest.mark.parametrize(
    "data",
    [
        "GETS / HTTP/1.1\r\nHost: a.example\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
        "GET / HTTP/2.0\r\n",
        "GET /\r\n",
        "GET / b HTTP/1.1\r\n",
        "OPTIONS rtsp://a.example/x RTSP/1.0\r\n",
        "OPTIONS sip:a@b SIP/2.0\r\n",
        "EHLO a.example\r\n",
        "SSH-2.0-x\r\n",
        "\x05\x01\x00",
        "CONNECTX",
    ],
)
def test_no_request(data: str) -> None:
    assert sniff(data.encode()) is None


def test_a_head_has_a_limit() -> None:
    name = b"Host: a.example\r\n"
    head = b"GET / HTTP/1.1\r\nCookie: "
    filling = SNIFF_SIZE_MAX - len(head) - len(name) - 2
    assert sniff(head + b"x" * filling + b"\r\n" + name) == Sniffed(
        protocol="http1", domain="a.example"
    )
    assert sniff(head + b"x" * filling + b"\r\n" + name[:-1]) is NEED_DATA
    assert sniff(head + b"x" * (filling + 1) + b"\r\n" + name) is None
    assert sniff(b"GET / HTTP/1.1\r\n", limit=16) is None


@given(st.binary(max_size=80))
def test_no_bytes_raise(data: bytes) -> None:
    sniff(data)
    sniff(b"GET / HTTP/1.1\r\nHost:" + data)
    sniff(b"GET " + data + b" HTTP/1.1\r\n\r\n")


# BitTorrent -------------------------------------------------------------------------------------

GREETING = b"\x13BitTorrent protocol"


def test_bittorrent() -> None:
    assert sniff(GREETING + bytes(48)) == Sniffed(protocol="bittorrent")
    assert {sniff(GREETING[:size]) for size in range(len(GREETING))} == {NEED_DATA}
    assert sniff(GREETING[:-1] + b"x") is None
