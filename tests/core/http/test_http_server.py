"""Conversations with the HTTP proxy server, each as bytes in and events and bytes out."""

import base64
import ipaddress

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.engine import mutated
from tests.fuzz.fuzz_http import ACCOUNTS, SEEDS, Outcome, Shell, check, normalised
from tests.kit.vectors import for_each
from trio_vmess.core import NEED_DATA, Destination
from trio_vmess.core.http import (
    PAUSED,
    Challenged,
    Connect,
    ConnectionClosed,
    Data,
    EndOfMessage,
    Established,
    Failure,
    Forward,
    HttpProxyServer,
    ResponseData,
    ResponseEnd,
    ResponseHead,
)
from trio_vmess.core.http.connection import HEAD_SIZE_MAX, RECEIVE_LIMIT
from trio_vmess.core.http.server import CHALLENGE_COUNT_MAX, DISCARD_SIZE_MAX
from trio_vmess.errors import AuthenticationError, LocalProtocolError, RemoteProtocolError

GET = b"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n"
POST = b"POST http://example.com/ HTTP/1.1\r\nHost: example.com\r\n"
UPSTREAM_GET = b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"
UPSTREAM_POST = b"POST / HTTP/1.1\r\nHost: example.com\r\n"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def login(user: str, password: str) -> bytes:
    token = base64.b64encode(f"{user}:{password}".encode())
    return b"Proxy-Authorization: Basic " + token + b"\r\n"


@attrs.frozen(kw_only=True)
class Case:
    name: str
    client: bytes
    server: bytes = b""
    with_accounts: bool = False
    to_servers: list[bytes] = attrs.Factory(list)
    to_client: bytes
    trailing: bytes = b""


def refusal(status: bytes, text: str, *, body: bool = True) -> bytes:
    content = text.encode() + b"\n"
    head = b"HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
    tail = b"Connection: close\r\n\r\n" + (content if body else b"")
    return head % (status, len(content)) + tail


CASES = [
    Case(
        name="connect, early data",
        client=b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n\x16\x03early",
        to_client=ESTABLISHED,
        trailing=b"\x16\x03early",
    ),
    Case(
        name="connect in HTTP/1.0 without a host header",
        client=b"CONNECT example.com:443 HTTP/1.0\r\n\r\n",
        to_client=ESTABLISHED,
    ),
    Case(
        name="get",
        client=GET + b"\r\n",
        server=OK,
        to_servers=[UPSTREAM_GET],
        to_client=OK,
    ),
    Case(
        name="two requests on one connection",
        client=GET + b"\r\n" + GET + b"\r\n",
        server=OK,
        to_servers=[UPSTREAM_GET, UPSTREAM_GET],
        to_client=OK + OK,
    ),
    Case(
        name="empty lines before requests",
        client=b"\r\n" + GET + b"\r\n\r\n\r\n" + GET + b"\r\n",
        server=OK,
        to_servers=[UPSTREAM_GET, UPSTREAM_GET],
        to_client=OK + OK,
    ),
    Case(
        name="the client closes after one",
        client=GET + b"Connection: close\r\n\r\n" + GET + b"\r\n",
        server=OK,
        to_servers=[UPSTREAM_GET],
        to_client=OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
    ),
    Case(
        name="the client closes after one, in the words of old browsers",
        client=GET + b"Proxy-Connection: close\r\n\r\n" + GET + b"\r\n",
        server=OK,
        to_servers=[UPSTREAM_GET],
        to_client=OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
    ),
    Case(
        name="the server closes, which concerns the client not",
        client=GET + b"Proxy-Connection: keep-alive\r\n\r\n" + GET + b"\r\n",
        server=OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        to_servers=[UPSTREAM_GET, UPSTREAM_GET],
        to_client=OK + OK,
    ),
    Case(
        name="hop-by-hop headers of a request",
        client=GET
        + b"Keep-Alive: 5\r\nTE: trailers\r\nTrailer: x\r\nUpgrade: websocket\r\nX-Private: 1\r\n"
        + b"Proxy-Authenticate: a\r\nConnection: upgrade, X-Private\r\nX-Public: 2\r\n"
        + login("ann", "secret")
        + b"\r\n",
        server=OK,
        to_servers=[UPSTREAM_GET.replace(b"Conn", b"X-Public: 2\r\nConn")],
        to_client=OK,
    ),
    Case(
        name="hop-by-hop headers of a response",
        client=GET + b"\r\n",
        server=b"HTTP/1.1 200 OK\r\nConnection: X-Private, keep-alive\r\nX-Private: 1\r\n"
        b"Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-Public: 2\r\n"
        b"Content-Length: 2\r\n\r\nok",
        to_servers=[UPSTREAM_GET],
        to_client=OK.replace(b"Content", b"X-Public: 2\r\nContent"),
    ),
    Case(
        name="a Connection header cannot take away framing",
        client=POST + b"Connection: content-length, host\r\nContent-Length: 3\r\n\r\nabc",
        server=OK,
        to_servers=[UPSTREAM_POST + b"Content-Length: 3\r\nConnection: close\r\n\r\n" + b"abc"],
        to_client=OK,
    ),
    Case(
        name="the host header is made from the address",
        client=b"GET http://b.example:8080/?q HTTP/1.1\r\nHost: a.example\r\n\r\n",
        server=OK,
        to_servers=[
            b"GET /?q HTTP/1.1\r\nHost: b.example:8080\r\nConnection: close\r\n\r\n",
        ],
        to_client=OK,
    ),
    Case(
        name="chunked upload, trailer dropped",
        client=POST + CHUNKED + b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n",
        server=OK,
        to_servers=[
            UPSTREAM_POST
            + b"Transfer-Encoding: chunked\r\n"
            + b"Connection: close\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        ],
        to_client=OK,
    ),
    Case(
        name="chunked response",
        client=GET + b"\r\n" + GET + b"Connection: close\r\n\r\n",
        server=b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"2\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n",
        to_servers=[UPSTREAM_GET, UPSTREAM_GET],
        to_client=b"HTTP/1.1 200 OK\r\n"
        + CHUNKED
        + b"2\r\nok\r\n0\r\n\r\n"
        + b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        + b"2\r\nok\r\n0\r\n\r\n",
    ),
    Case(
        name="response until close becomes chunks",
        client=GET + b"\r\n" + GET + b"\r\n",
        server=b"HTTP/1.0 200 OK\r\n\r\nok",
        to_servers=[UPSTREAM_GET, UPSTREAM_GET],
        to_client=2 * (b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"2\r\nok\r\n0\r\n\r\n"),
    ),
    Case(
        name="response until close for HTTP/1.0",
        client=b"GET http://example.com HTTP/1.0\r\n\r\n",
        server=b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"2\r\nok\r\n0\r\n\r\n",
        to_servers=[UPSTREAM_GET],
        to_client=b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok",
    ),
    Case(
        name="both lengths in a response: the chunks count",
        client=GET + b"\r\n",
        server=b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n" + CHUNKED + b"2\r\nok\r\n0\r\n\r\n",
        to_servers=[UPSTREAM_GET],
        to_client=b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"2\r\nok\r\n0\r\n\r\n",
    ),
    Case(
        name="head",
        client=GET.replace(b"GET", b"HEAD") + b"\r\n" + GET + b"\r\n",
        server=b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        to_servers=[UPSTREAM_GET.replace(b"GET", b"HEAD"), UPSTREAM_GET],
        to_client=b"HTTP/1.1 204 No Content\r\n\r\n" * 2,
    ),
    Case(
        name="head keeps the length of what it is not sending",
        client=GET.replace(b"GET", b"HEAD") + b"\r\n",
        server=b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        to_servers=[UPSTREAM_GET.replace(b"GET", b"HEAD")],
        to_client=b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    ),
    Case(
        name="not modified",
        client=GET + b"\r\n",
        server=b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        to_servers=[UPSTREAM_GET],
        to_client=b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    ),
    Case(
        name="100 and 103 pass",
        client=POST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
        server=b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK,
        to_servers=[
            UPSTREAM_POST
            + b"Expect: 100-continue\r\nContent-Length: 1\r\n"
            + b"Connection: close\r\n\r\nx"
        ],
        to_client=b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK,
    ),
    Case(
        name="100 does not pass to HTTP/1.0",
        client=POST.replace(b"1.1", b"1.0") + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
        server=b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        to_servers=[UPSTREAM_POST + b"Content-Length: 1\r\nConnection: close\r\n\r\n" + b"x"],
        to_client=OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
    ),
    Case(
        name="an upgrade nobody asked for",
        client=GET + b"\r\n",
        server=b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        to_servers=[UPSTREAM_GET],
        to_client=refusal(b"503 Service Unavailable", "the origin failed"),
    ),
    Case(
        name="the server says nothing",
        client=GET + b"\r\n",
        to_servers=[UPSTREAM_GET],
        to_client=refusal(b"503 Service Unavailable", "the origin failed"),
    ),
    Case(
        name="the server says nothing to a head",
        client=GET.replace(b"GET", b"HEAD") + b"\r\n",
        to_servers=[UPSTREAM_GET.replace(b"GET", b"HEAD")],
        to_client=refusal(b"503 Service Unavailable", "the origin failed", body=False),
    ),
    Case(
        name="the server breaks off",
        client=GET + b"\r\n" + GET + b"\r\n",
        server=OK[:-1],
        to_servers=[UPSTREAM_GET],
        to_client=OK[:-1],
    ),
    Case(
        name="http/2",
        client=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        to_client=refusal(
            b"505 HTTP Version Not Supported", "HTTP/2.0 is not supported: use HTTP/1.1"
        ),
    ),
    Case(
        name="connect with a body",
        client=b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 1\r\n\r\nx",
        to_client=refusal(b"400 Bad Request", "a CONNECT request cannot have a body"),
    ),
    Case(
        name="two framings",
        client=POST + b"Content-Length: 1\r\n" + CHUNKED + b"0\r\n\r\n",
        to_client=refusal(
            b"400 Bad Request", "a request cannot have both Content-Length and Transfer-Encoding"
        ),
    ),
    Case(
        name="chunks in HTTP/1.0",
        client=POST.replace(b"1.1", b"1.0") + CHUNKED + b"0\r\n\r\n",
        to_client=refusal(b"400 Bad Request", "HTTP/1.0 does not have Transfer-Encoding"),
    ),
    Case(
        name="an encoding nobody knows",
        client=POST + b"Transfer-Encoding: gzip\r\n\r\n",
        to_client=refusal(b"501 Not Implemented", "Only Transfer-Encoding: chunked is supported"),
    ),
]

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def play(case: Case, step: int = 1 << 16) -> Outcome:
    return Shell(case.client, case.server, step=step, with_accounts=case.with_accounts).run()


@every_case
def test_conversation(case: Case) -> None:
    outcome = play(case)
    assert outcome.to_servers == case.to_servers
    assert outcome.to_client == case.to_client
    assert outcome.trailing == case.trailing


@pytest.mark.parametrize("step", [1, 2, 3, 7, 50])
@for_each(CASES, name=lambda case: case.name)
def test_the_split_does_not_matter(case: Case, step: int) -> None:
    assert normalised(play(case, step)) == normalised(play(case))


def test_a_malformed_request_behind_a_head_is_answered_with_a_body() -> None:
    case = Case(
        name="",
        client=GET.replace(b"GET", b"HEAD") + b"\r\nnonsense\r\n\r\n",
        server=OK[:-2],
        to_client=OK[:-2] + refusal(b"400 Bad Request", "illegal request line"),
    )
    assert play(case).to_client == case.to_client


@for_each([case for case in CASES if case.to_servers or case.trailing], name=lambda c: c.name)
def test_no_prefix_raises(case: Case) -> None:
    for end in range(len(case.client)):
        server = HttpProxyServer()
        server.receive_data(case.client[:end])
        while server.next_event() not in (NEED_DATA, PAUSED):
            assert server.data_to_send() == b""


@given(mutated(SEEDS))
def test_invariants_of_the_fuzz_target(data: bytes) -> None:
    check(data)


@pytest.mark.parametrize("seed", SEEDS)
def test_invariants_hold_for_the_seeds(seed: bytes) -> None:
    check(seed)


# Destinations ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authority", "host", "port"),
    [
        ("example.com:443", "example.com", 443),
        ("127.0.0.1:80", ipaddress.IPv4Address("127.0.0.1"), 80),
        ("[2001:db8::1]:443", ipaddress.IPv6Address("2001:db8::1"), 443),
        ("[::ffff:127.0.0.1]:1", ipaddress.IPv4Address("127.0.0.1"), 1),
    ],
)
def test_connect(
    authority: str, host: ipaddress.IPv4Address | ipaddress.IPv6Address | str, port: int
) -> None:
    server = HttpProxyServer()
    server.receive_data(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
    assert server.next_event() == Connect(destination=Destination(host=host, port=port))
    assert server.next_event() is PAUSED


@pytest.mark.parametrize(
    "authority",
    [
        "example.com",
        "example.com:",
        "example.com:0",
        "example.com:65536",
        "example.com:" + "9" * 5000,
        ":443",
        "2001:db8::1:443",
        "[fe80::1%25eth0]:443",
        "[example.com]:443",
        "user:secret@example.com:443",
        "a/b:443",
        "http://example.com/",
        "a" * 256 + ":443",
    ],
)
def test_connect_refuses(authority: str) -> None:
    server = HttpProxyServer()
    server.receive_data(f"CONNECT {authority} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    with pytest.raises(RemoteProtocolError) as excinfo:
        server.next_event()
    assert "secret" not in str(excinfo.value)
    assert len(str(excinfo.value)) < 400
    assert server.data_to_send().startswith(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.parametrize(
    ("method", "address", "destination", "target", "host"),
    [
        ("GET", "http://a.example/x?y#z", "tcp:a.example:80", "/x?y", "a.example"),
        ("GET", "http://a.example", "tcp:a.example:80", "/", "a.example"),
        ("GET", "http://a.example:/x", "tcp:a.example:80", "/x", "a.example"),
        ("GET", "HTTP://A.example?y", "tcp:A.example:80", "/?y", "A.example"),
        ("GET", "http://a.example#z", "tcp:a.example:80", "/", "a.example"),
        ("GET", "https://a.example/", "tcp:a.example:443", "/", "a.example"),
        ("GET", "http://[::1]:81/", "tcp:[::1]:81", "/", "[::1]:81"),
        ("GET", "http://a.example//b", "tcp:a.example:80", "//b", "a.example"),
        ("GET", "http://a.example/@b:c", "tcp:a.example:80", "/@b:c", "a.example"),
        ("OPTIONS", "http://a.example", "tcp:a.example:80", "*", "a.example"),
        ("OPTIONS", "http://a.example/", "tcp:a.example:80", "/", "a.example"),
    ],
)
def test_absolute_form(method: str, address: str, destination: str, target: str, host: str) -> None:
    server = HttpProxyServer()
    server.receive_data(f"{method} {address} HTTP/1.1\r\nHost: other\r\n\r\n".encode())
    event = server.next_event()
    assert isinstance(event, Forward)
    assert (str(event.destination), event.method, event.target) == (destination, method, target)
    assert dict(event.headers)[b"Host"] == host.encode()
    assert event.head.startswith(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n".encode())


@pytest.mark.parametrize("target", ["/", "/index.html", "*", "example.com:80", "x"])
def test_a_request_for_a_web_server_is_explained(target: str) -> None:
    server = HttpProxyServer()
    server.receive_data(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    with pytest.raises(RemoteProtocolError, match="port of an HTTP proxy"):
        server.next_event()
    sent = server.data_to_send()
    assert sent.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"not a web server" in sent
    with pytest.raises(RemoteProtocolError):
        server.next_event()
    assert server.data_to_send() == b""


@pytest.mark.parametrize(
    "address",
    ["ftp://a/", "ws://a/", "http:///x", "http://u:secret@a/", "http://a:x/", "http://a%0d/"],
)
def test_absolute_form_refuses(address: str) -> None:
    server = HttpProxyServer()
    server.receive_data(f"GET {address} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    with pytest.raises(RemoteProtocolError) as excinfo:
        server.next_event()
    assert "secret" not in str(excinfo.value)
    assert server.data_to_send().startswith(b"HTTP/1.1 400 Bad Request\r\n")


# Foreign and malformed bytes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "hint"),
    [(b"\x05\x01\x00", "set to SOCKS"), (b"\x04\x01", "set to SOCKS"), (b"\x16\x03", "TLS")],
)
def test_foreign_protocols(data: bytes, hint: str) -> None:
    server = HttpProxyServer()
    server.receive_data(data)
    with pytest.raises(RemoteProtocolError, match=hint):
        server.next_event()
    assert server.data_to_send() == b""


@pytest.mark.parametrize(
    "head",
    [
        b"GET http://a/ HTTP/1.1\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX: a\rb: c\r\n\r\n",
        b"GET http://a/\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://a/ b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\n Host: a\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"\x00",
    ],
)
def test_malformed(head: bytes) -> None:
    server = HttpProxyServer()
    server.receive_data(head)
    with pytest.raises(RemoteProtocolError):
        server.next_event()
    assert server.data_to_send().startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_a_malformed_header_is_not_quoted() -> None:
    server = HttpProxyServer()
    server.receive_data(b"GET http://a/ HTTP/1.1\r\nProxy-Authorization : Basic c2VjcmV0\r\n\r\n")
    with pytest.raises(RemoteProtocolError, match="illegal header line") as excinfo:
        server.next_event()
    assert "c2VjcmV0" not in str(excinfo.value)
    assert b"c2VjcmV0" not in server.data_to_send()


@pytest.mark.parametrize("step", [1 << 20, 1000])
def test_the_head_is_bounded(step: int) -> None:
    start = GET + b"X: "
    for size, fits in ((HEAD_SIZE_MAX, True), (HEAD_SIZE_MAX + 1, False)):
        head = start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"
        assert len(head) == size
        outcome = Shell(head, OK, step=step, with_accounts=False).run()
        assert (len(outcome.to_servers) == 1) is fits
        status = b"HTTP/1.1 200 OK" if fits else b"HTTP/1.1 431 "
        assert outcome.to_client.startswith(status)


def test_unparsed_bytes_are_bounded() -> None:
    server = HttpProxyServer()
    server.receive_data(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert isinstance(server.next_event(), Connect)
    server.receive_data(bytes(RECEIVE_LIMIT))
    assert len(server.trailing_data) == RECEIVE_LIMIT
    with pytest.raises(RemoteProtocolError, match="limit"):
        server.receive_data(b"x")


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_nothing_can_be_smuggled_into_a_head(name: bytes, value: bytes) -> None:
    outcome = Shell(
        GET + name + b": " + value + b"\r\n\r\n", OK, step=1 << 16, with_accounts=False
    ).run()
    normalised(outcome)
    for sent in outcome.to_servers:
        assert sent.count(b"HTTP/1.1\r\n") == 1
        assert sent.endswith(b"Connection: close\r\n\r\n")
        assert b"\n" not in sent.replace(b"\r\n", b"")


# Authentication ----------------------------------------------------------------------------------


def events(server: HttpProxyServer, data: bytes) -> list[object]:
    server.receive_data(data)
    found = []
    while (event := server.next_event()) not in (NEED_DATA, PAUSED):
        found.append(event)
    return found


def test_a_browser_is_asked_and_tries_again() -> None:
    server = HttpProxyServer(accounts=ACCOUNTS)
    assert events(server, GET + b"\r\n") == [Challenged(tried=False)]
    sent = server.data_to_send()
    assert sent.startswith(b"HTTP/1.1 407 Proxy Authentication Required\r\n")
    assert b'\r\nProxy-Authenticate: Basic realm="proxy"\r\n' in sent
    assert b"close" not in sent
    assert events(server, GET + login("ann", "wrong") + b"\r\n") == [Challenged(tried=True)]
    server.data_to_send()
    forward, end = events(server, GET + login("ann", "secret") + b"\r\n")
    assert isinstance(forward, Forward)
    assert forward.user == "ann"
    assert forward.head == UPSTREAM_GET
    assert end == EndOfMessage(payload=b"")
    assert server.data_to_send() == b""


def test_connect_is_asked_and_tries_again() -> None:
    server = HttpProxyServer(accounts=ACCOUNTS)
    connect = b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n"
    assert events(server, connect + b"\r\n") == [Challenged(tried=False)]
    assert events(server, connect + login("bö", "wörd") + b"\r\n") == [
        Connect(destination=Destination(host="a", port=1), user="bö")
    ]


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Proxy-Authorization: Basic\r\n",
        b"Proxy-Authorization: Basic !!!\r\n",
        b"Proxy-Authorization: Basic YW5u\r\n",
        b"Proxy-Authorization: Bearer YW5uOnNlY3JldA==\r\n",
        b"Authorization: Basic YW5uOnNlY3JldA==\r\n",
        login("ann", "") + login("ann", "secret"),
        login("ann", "secret") + login("ann", ""),
        login("", ""),
        login("ann", "secret "),
    ],
)
def test_bad_credentials(header: bytes) -> None:
    server = HttpProxyServer(accounts=ACCOUNTS)
    (event,) = events(server, GET + header + b"\r\n")
    assert isinstance(event, Challenged)


def test_the_body_of_a_refused_request_is_swallowed() -> None:
    server = HttpProxyServer(accounts=ACCOUNTS)
    post = POST + CHUNKED + b"5\r\nHello\r\n0\r\n\r\n"
    good = GET + login("ann", "secret") + b"\r\n"
    challenged, forward, _ = events(server, post + good)
    assert challenged == Challenged(tried=False)
    assert isinstance(forward, Forward)


def test_a_huge_body_of_a_refused_request_is_not_swallowed() -> None:
    server = HttpProxyServer(accounts=ACCOUNTS)
    size = DISCARD_SIZE_MAX + 1
    server.receive_data(POST + b"Content-Length: %d\r\n\r\n" % size + bytes(size))
    assert server.next_event() == Challenged(tried=False)
    with pytest.raises(RemoteProtocolError, match="too long"):
        server.next_event()


@pytest.mark.parametrize(
    "request_bytes",
    [
        GET + b"Connection: close\r\n\r\n",
        GET.replace(b"1.1", b"1.0") + b"\r\n",
        POST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n",
    ],
)
def test_a_connection_that_cannot_be_kept_is_closed_with_the_challenge(
    request_bytes: bytes,
) -> None:
    server = HttpProxyServer(accounts=ACCOUNTS)
    server.receive_data(request_bytes)
    with pytest.raises(AuthenticationError, match="no password"):
        server.next_event()
    sent = server.data_to_send()
    assert sent.startswith(b"HTTP/1.1 407 ")
    assert b"\r\nConnection: close\r\n" in sent


def test_password_attempts_are_bounded() -> None:
    server = HttpProxyServer(accounts=ACCOUNTS)
    guess = GET + login("ann", "guess") + b"\r\n"
    for _ in range(CHALLENGE_COUNT_MAX - 1):
        assert events(server, guess) == [Challenged(tried=True)]
    server.data_to_send()
    server.receive_data(guess)
    with pytest.raises(AuthenticationError, match="wrong"):
        server.next_event()
    assert b"\r\nConnection: close\r\n" in server.data_to_send()


def test_a_success_forgives_earlier_failures() -> None:
    server = HttpProxyServer(accounts=ACCOUNTS)
    for _ in range(3):
        for _ in range(CHALLENGE_COUNT_MAX - 1):
            assert events(server, GET + b"\r\n") == [Challenged(tried=False)]
        assert len(events(server, GET + login("ann", "secret") + b"\r\n")) == 2
        assert origin_events(server, OK)[-1] == ResponseEnd(payload=b"", keep_alive=True)


# Two directions at once --------------------------------------------------------------------------


def forwarded(data: bytes) -> HttpProxyServer:
    server = HttpProxyServer()
    server.receive_data(data)
    assert isinstance(server.next_event(), Forward)
    return server


def origin_events(server: HttpProxyServer, data: bytes) -> list[object]:
    server.receive_origin_data(data)
    found = []
    while (event := server.next_origin_event()) is not NEED_DATA:
        found.append(event)
        if isinstance(event, ResponseEnd):
            break
    return found


def test_the_body_waits_for_100_continue() -> None:
    server = HttpProxyServer()
    server.receive_data(POST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    event = server.next_event()
    assert isinstance(event, Forward)
    assert event.expects_continue
    assert event.has_body
    assert server.next_event() is NEED_DATA
    head = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert origin_events(server, head) == [ResponseHead(status=100, payload=head)]
    assert not server.response_started
    assert events(server, b"x") == [Data(payload=b"x"), EndOfMessage(payload=b"")]
    assert origin_events(server, OK)[-1] == ResponseEnd(payload=b"", keep_alive=True)


def test_an_answer_before_the_whole_body_ends_the_connection() -> None:
    server = forwarded(POST + b"Content-Length: 3\r\n\r\n")
    head, body = OK[:-2], OK[-2:]
    assert origin_events(server, OK) == [
        ResponseHead(status=200, payload=head),
        ResponseData(payload=body),
        ResponseEnd(payload=b"", keep_alive=False),
    ]
    assert server.response_started
    assert server.next_event() is PAUSED


def test_an_answer_that_overtakes_the_body_does_not_end_the_connection() -> None:
    server = forwarded(POST + b"Content-Length: 3\r\n\r\n")
    assert len(origin_events(server, OK[:-1])) == 2
    assert events(server, b"abc") == [Data(payload=b"abc"), EndOfMessage(payload=b"")]
    assert origin_events(server, OK[-1:])[-1] == ResponseEnd(payload=b"", keep_alive=True)
    assert server.next_event() is NEED_DATA


def test_a_response_may_end_before_the_end_of_an_empty_request_is_asked_for() -> None:
    server = forwarded(GET + b"\r\n")
    assert origin_events(server, OK)[-1] == ResponseEnd(payload=b"", keep_alive=True)
    assert server.next_event() is NEED_DATA


def test_nothing_is_read_from_the_client_during_a_response() -> None:
    server = forwarded(GET + b"\r\n")
    assert server.next_event() == EndOfMessage(payload=b"")
    assert events(server, GET + b"\r\n") == []
    assert server.next_event() is PAUSED
    assert origin_events(server, OK)[-1] == ResponseEnd(payload=b"", keep_alive=True)
    assert isinstance(server.next_event(), Forward)


def test_a_malformed_body_is_refused() -> None:
    server = forwarded(POST + CHUNKED + b"zz\r\n")
    with pytest.raises(RemoteProtocolError, match="illegal chunk header"):
        server.next_event()
    assert server.data_to_send().startswith(b"HTTP/1.1 400 Bad Request\r\n")
    server.receive_origin_data(OK)
    with pytest.raises(RemoteProtocolError, match="cannot be passed on"):
        server.next_origin_event()


def test_a_malformed_body_is_refused_in_silence_during_a_response() -> None:
    server = forwarded(POST + CHUNKED)
    origin_events(server, OK[:-1])
    server.receive_data(b"zz\r\n")
    with pytest.raises(RemoteProtocolError, match="illegal chunk header"):
        server.next_event()
    assert server.data_to_send() == b""


def test_a_truncated_body_is_refused() -> None:
    server = forwarded(POST + b"Content-Length: 3\r\n\r\nab")
    assert server.next_event() == Data(payload=b"ab")
    server.receive_eof()
    with pytest.raises(RemoteProtocolError, match="without sending complete message body"):
        server.next_event()


@pytest.mark.parametrize("explicitly", [True, False])
def test_a_truncated_response_is_an_error(explicitly: bool) -> None:
    server = forwarded(GET + b"\r\n")
    assert len(origin_events(server, OK[:-1])) == 2
    if explicitly:
        server.receive_origin_eof()
    else:
        server.receive_origin_data(b"")
    with pytest.raises(LocalProtocolError, match="ended"):
        server.receive_origin_data(OK[-1:])
    with pytest.raises(RemoteProtocolError, match="malformed"):
        server.next_origin_event()
    with pytest.raises(LocalProtocolError):
        server.send(Failure(reason="too late"))


# What the shell may do when ----------------------------------------------------------------------


def test_failure_after_connect() -> None:
    server = HttpProxyServer()
    server.receive_data(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")
    server.next_event()
    sent = server.send(Failure(status=502, reason="no route\r\nX: y"))
    assert sent.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert sent.endswith(b"\r\n\r\nno route\r\nX: y\n")
    assert server.next_event() is PAUSED
    with pytest.raises(LocalProtocolError):
        server.send(Established())


def test_illegal_sends() -> None:
    server = HttpProxyServer()
    with pytest.raises(LocalProtocolError):
        server.send(Established())
    with pytest.raises(LocalProtocolError):
        server.send(Failure(reason="nobody asked"))
    with pytest.raises(LocalProtocolError):
        server.receive_origin_data(b"x")
    with pytest.raises(LocalProtocolError):
        server.next_origin_event()
    server = forwarded(GET + b"\r\n")
    with pytest.raises(LocalProtocolError):
        server.send(Established())


@pytest.mark.parametrize("status", [200, 399, 600])
def test_a_failure_needs_an_error_status(status: int) -> None:
    with pytest.raises(ValueError, match="status"):
        Failure(status=status, reason="")


def test_an_unusual_status_has_no_phrase() -> None:
    server = forwarded(GET + b"\r\n")
    assert server.send(Failure(status=499, reason="x")).startswith(b"HTTP/1.1 499 \r\n")


@pytest.mark.parametrize("explicitly", [True, False])
def test_the_end_between_requests(explicitly: bool) -> None:
    server = HttpProxyServer()
    assert server.next_event() is NEED_DATA
    if explicitly:
        server.receive_eof()
    else:
        server.receive_data(b"")
    assert server.next_event() == ConnectionClosed()
    assert server.next_event() is PAUSED
    with pytest.raises(LocalProtocolError):
        server.receive_data(b"x")


def test_the_end_after_a_pipelined_request() -> None:
    server = forwarded(GET + b"\r\n" + GET + b"\r\n")
    server.receive_eof()
    assert server.next_event() == EndOfMessage(payload=b"")
    origin_events(server, OK)
    assert isinstance(server.next_event(), Forward)
    assert server.next_event() == EndOfMessage(payload=b"")
    assert origin_events(server, OK)[-1] == ResponseEnd(payload=b"", keep_alive=True)
    assert server.next_event() == ConnectionClosed()


def test_secrets_and_contents_are_not_printed() -> None:
    server = HttpProxyServer(accounts=ACCOUNTS)
    server.receive_data(
        POST + login("ann", "secret") + b"Cookie: secret\r\nContent-Length: 6\r\n\r\nsecret"
    )
    for _ in range(3):
        assert "secret" not in repr(server.next_event())
