"""Asking another HTTP proxy for a tunnel: as bytes, and with our own server."""

import ipaddress

import pytest

from trio_vmess.core import NEED_DATA, Destination
from trio_vmess.core.http import (
    Connect,
    Established,
    Failure,
    HttpConnectClient,
    HttpProxyServer,
    TunnelRefused,
)
from trio_vmess.errors import LocalProtocolError, RemoteProtocolError

TARGET = Destination(host="example.com", port=443)
V6 = Destination(host=ipaddress.ip_address("2001:db8::1"), port=443)


def test_the_request() -> None:
    client = HttpConnectClient(destination=TARGET)
    expected = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"
    assert client.data_to_send() == expected
    assert client.data_to_send() == b""


def test_the_request_with_a_password() -> None:
    client = HttpConnectClient(destination=V6, user="ann", password="sec:ret")
    assert client.data_to_send() == (
        b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\n"
        b"Host: [2001:db8::1]:443\r\n"
        b"Proxy-Authorization: Basic YW5uOnNlYzpyZXQ=\r\n\r\n"
    )


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize(
    ("received", "answer", "trailing"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nearly", Established(), b"early"),
        (b"HTTP/1.0 200 Connection established\r\n\r\n", Established(), b""),
        # RFC 9110 section 9.3.6: no body follows, whatever the server says.
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nearly", Established(), b"early"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 X\r\n\r\n", Established(), b""),
        (
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            TunnelRefused(status=403, reason="Forbidden"),
            b"",
        ),
        (
            b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
            TunnelRefused(status=302, reason="Found"),
            b"",
        ),
    ],
)
def test_answers(received: bytes, answer: object, trailing: bytes, step: int) -> None:
    client = HttpConnectClient(destination=TARGET)
    events = []
    for start in range(0, len(received), step):
        client.receive_data(received[start : start + step])
        if (event := client.next_event()) is not NEED_DATA:
            events.append(event)
    assert events == [answer]
    assert client.trailing_data == trailing


@pytest.mark.parametrize("received", [b"", b"HTTP/1.1 200 OK\r\n"])
def test_an_end_instead_of_an_answer(received: bytes) -> None:
    client = HttpConnectClient(destination=TARGET)
    if received:
        client.receive_data(received)
    assert client.next_event() is NEED_DATA
    client.receive_eof()
    with pytest.raises(LocalProtocolError, match="ended"):
        client.receive_data(b"\r\n")
    with pytest.raises(RemoteProtocolError, match="without an answer"):
        client.next_event()


@pytest.mark.parametrize(
    "received", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000]
)
def test_an_answer_that_is_not_http_is_an_error(received: bytes) -> None:
    client = HttpConnectClient(destination=TARGET)
    client.receive_data(received)
    with pytest.raises(RemoteProtocolError, match="malformed"):
        client.next_event()


@pytest.mark.parametrize("target", [TARGET, V6])
def test_with_our_own_server(target: Destination) -> None:
    server = HttpProxyServer(accounts={"ann": "secret"})
    client = HttpConnectClient(destination=target, user="ann", password="secret")
    server.receive_data(client.data_to_send())
    assert server.next_event() == Connect(destination=target, user="ann")
    client.receive_data(server.send(Established()) + b"data")
    assert client.next_event() == Established()
    assert client.trailing_data == b"data"


def test_refused_by_our_own_server() -> None:
    server = HttpProxyServer()
    client = HttpConnectClient(destination=TARGET)
    server.receive_data(client.data_to_send())
    server.next_event()
    client.receive_data(server.send(Failure(reason="no")))
    assert client.next_event() == TunnelRefused(status=503, reason="Service Unavailable")


def test_a_request_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(ValueError, match="colon"):
        HttpConnectClient(destination=TARGET, user="a:b", password="c")
    with pytest.raises(ValueError, match="cannot be requested"):
        HttpConnectClient(destination=Destination(host="a\r\nX: y", port=1))
