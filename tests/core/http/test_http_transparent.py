"""Requests as web servers get them, which a transparent proxy takes by their Host header."""

import ipaddress

import pytest

from trio_vmess.core import Destination
from trio_vmess.core.http import Challenged, Connect, Forward, HttpProxyServer
from trio_vmess.errors import RemoteProtocolError


def server(**settings: object) -> HttpProxyServer:
    accounts = {"ann": "secret"} if settings.get("accounts") else None
    return HttpProxyServer(accounts=accounts, allow_transparent=True)


@pytest.mark.parametrize(
    ("target", "host", "destination"),
    [
        ("/a?b", "example.com", Destination(host="example.com", port=80)),
        ("/", "example.com:8080", Destination(host="example.com", port=8080)),
        ("/", "192.0.2.1", Destination(host=ipaddress.ip_address("192.0.2.1"), port=80)),
        ("/", "[2001:db8::1]:1", Destination(host=ipaddress.ip_address("2001:db8::1"), port=1)),
        ("*", "example.com", Destination(host="example.com", port=80)),
    ],
)
def test_a_transparent_request_goes_to_its_host_header(
    target: str, host: str, destination: Destination
) -> None:
    proxy = server()
    proxy.receive_data(f"OPTIONS {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    event = proxy.next_event()
    assert isinstance(event, Forward)
    assert (event.destination, event.target) == (destination, target)
    head = f"OPTIONS {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert event.head == head.encode()


def test_proxy_requests_still_work_where_transparent_ones_are_allowed() -> None:
    proxy = server()
    proxy.receive_data(b"GET http://a/b HTTP/1.1\r\nHost: example.com\r\n\r\n")
    event = proxy.next_event()
    assert isinstance(event, Forward)
    assert event.destination == Destination(host="a", port=80)
    proxy = server()
    proxy.receive_data(b"CONNECT a:1 HTTP/1.1\r\nHost: b\r\n\r\n")
    assert proxy.next_event() == Connect(destination=Destination(host="a", port=1))


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", b"not a web server"),
        (b"GET / HTTP/1.1\r\nHost: \r\n\r\n", b"not a web server"),
        (b"GET a HTTP/1.1\r\nHost: example.com\r\n\r\n", b"not a web server"),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", b"domain name"),
        (b"GET / HTTP/1.1\r\nHost: u@example.com\r\n\r\n", b"user name"),
        (b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n", b""),
    ],
)
def test_refused(head: bytes, told: bytes) -> None:
    proxy = server()
    proxy.receive_data(head)
    with pytest.raises(RemoteProtocolError):
        proxy.next_event()
    answer = proxy.data_to_send()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert told in answer


def test_transparent_requests_need_a_password_too() -> None:
    proxy = server(accounts=True)
    proxy.receive_data(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
    assert proxy.next_event() == Challenged(tried=False)


def test_transparent_requests_are_refused_by_default() -> None:
    proxy = HttpProxyServer()
    proxy.receive_data(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
    with pytest.raises(RemoteProtocolError, match="not a web server"):
        proxy.next_event()
