"""Fuzz the HTTP proxy server, from its client's side and from its origins'.

An input is what the client sends, then `SEPARATOR`, then what every origin sends.
"""

from collections.abc import Iterator

import attrs
import h11

from tests.fuzz.hosts import check_host
from trio_vmess.core import NEED_DATA
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
from trio_vmess.errors import RemoteProtocolError

ACCOUNTS = {"ann": "secret", "bö": "wörd"}
SEPARATOR = b"\xff\xfe"
BODY_SIZE_MAX = 1 << 30
HOP_BY_HOP = {
    b"proxy-connection",
    b"proxy-authorization",
    b"proxy-authenticate",
    b"keep-alive",
    b"te",
    b"trailer",
    b"upgrade",
}

_GET = b"GET http://example.com/a?b HTTP/1.1\r\nHost: example.com\r\n"
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_POST = b"POST http://example.com:8080 HTTP/1.1\r\nHost: a\r\n"

SEEDS = (
    b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\nearly",
    b"CONNECT [2001:db8::1]:443 HTTP/1.0\r\n\r\n",
    _GET + b"\r\n" + SEPARATOR + _OK,
    _GET + b"\r\n" + _GET + b"Connection: close, X-A\r\nX-A: 1\r\n\r\n" + SEPARATOR + _OK,
    _GET + b"Upgrade: websocket\r\nConnection: upgrade\r\n\r\n" + SEPARATOR + _OK,
    _GET + b"Proxy-Authorization: Basic YW5uOnNlY3JldA==\r\n\r\n" + SEPARATOR + _OK,
    _GET + b"Proxy-Authorization: Basic YW5uOndyb25n\r\n\r\n" + _GET + b"\r\n",
    _POST + b"Content-Length: 3\r\n\r\nabc" + SEPARATOR + b"HTTP/1.0 200\r\n\r\nuntil close",
    _POST
    + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n"
    + SEPARATOR
    + b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    _POST
    + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx"
    + SEPARATOR
    + b"HTTP/1.1 100 Continue\r\n\r\n"
    + _OK,
    b"HEAD http://a/ HTTP/1.1\r\nHost: a\r\n\r\n" + SEPARATOR + _OK[:-2],
    b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n" + SEPARATOR + b"HTTP/1.1 304 X\r\n\r\n",
    b"GET http://a/ HTTP/1.0\r\n\r\n" + SEPARATOR + _OK,
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n" + SEPARATOR + b"HTTP/1.1 204 X\r\n\r\n",
    b"\x05\x01\x00",
    b"\x16\x03\x01",
)


@attrs.define(kw_only=True)
class Outcome:
    """All that can be seen of a connection, apart from how its bytes are cut into pieces."""

    seen: list[object] = attrs.Factory(list)
    to_client: bytes = b""
    to_servers: list[bytes] = attrs.Factory(list)
    trailing: bytes = b""
    error: str | None = None
    server_error: str | None = None


class Shell:
    """What drives the server: a client that sends `data`, and servers that send `response`.

    Args:
        data: what the client sends before it ends its stream.
        response: what each server sends before it ends its stream.
        step: how many bytes arrive at a time.
        with_accounts: whether a password is asked for.
    """

    def __init__(self, data: bytes, response: bytes, *, step: int, with_accounts: bool) -> None:
        self.server = HttpProxyServer(accounts=ACCOUNTS if with_accounts else None)
        self._incoming = _pieces(data, step)
        self._response = response
        self._step = step
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Go on until one side has had enough."""
        try:
            while self._client_turn():
                pass
        except RemoteProtocolError as exc:
            self.outcome.error = str(exc)
        self.outcome.to_client += self.server.data_to_send()
        return self.outcome

    def _client_turn(self) -> bool:
        event = self.server.next_event()
        self.outcome.to_client += self.server.data_to_send()
        match event:
            case Forward(head=head):
                self.outcome.seen.append(attrs.evolve(event, head=b""))
                self.outcome.to_servers.append(head)
            case Data(payload=payload):
                self.outcome.to_servers[-1] += payload
            case EndOfMessage(payload=payload):
                self.outcome.to_servers[-1] += payload
                return self._server_turn()
            case Connect():
                self.outcome.seen.append(event)
                self.outcome.to_client += self.server.send(Established())
                self.outcome.trailing = self.server.trailing_data + b"".join(self._incoming)
                return False
            case Challenged():
                self.outcome.seen.append(event)
            case ConnectionClosed():
                return False
            case _ if event is NEED_DATA:
                piece = next(self._incoming, b"")
                if piece:
                    self.server.receive_data(piece)
                else:
                    self.server.receive_eof()
            case _:
                if event is not PAUSED:
                    raise TypeError(f"what is {event}?")
                return False
        return True

    def _server_turn(self) -> bool:
        pieces = _pieces(self._response, self._step)
        try:
            while True:
                event = self.server.next_origin_event()
                match event:
                    case ResponseHead(payload=payload) | ResponseData(payload=payload):
                        self.outcome.to_client += payload
                    case ResponseEnd(payload=payload, keep_alive=keep_alive):
                        self.outcome.to_client += payload
                        return keep_alive
                    case _:
                        piece = next(pieces, b"")
                        if piece:
                            self.server.receive_origin_data(piece)
                        else:
                            self.server.receive_origin_eof()
        except RemoteProtocolError as exc:
            self.outcome.server_error = str(exc)
        if not self.server.response_started:
            self.outcome.to_client += self.server.send(Failure(reason="the origin failed"))
        return False


def _pieces(data: bytes, step: int) -> Iterator[bytes]:
    return (data[start : start + step] for start in range(0, len(data), step))


def parse_request(data: bytes) -> tuple[h11.Request, bytes, bool]:
    """Return what a server makes of `data`: the head, the body, and whether it is whole."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=BODY_SIZE_MAX)
    connection.receive_data(data)
    request = connection.next_event()
    if not isinstance(request, h11.Request):
        raise TypeError(f"{data!r} is no request")
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    if connection.trailing_data[0]:
        raise ValueError(f"{data!r} holds more than one request")
    return request, body, isinstance(event, h11.EndOfMessage)


def dechunk(data: bytes, methods: list[str]) -> list[object]:
    """Return the responses that a client finds in `data`, up to where they end or break off."""
    found: list[object] = []
    for method in methods:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=BODY_SIZE_MAX)
        connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        connection.send(h11.EndOfMessage())
        connection.receive_data(data)
        connection.receive_data(b"")
        body = b""
        try:
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                match event:
                    case h11.InformationalResponse() | h11.Response():
                        found.append((event.status_code, list(event.headers)))
                    case h11.Data():
                        body += event.data
                    case _:
                        return [*found, body, "ended"]
        except h11.RemoteProtocolError:
            return [*found, body, "broken off"]
        found.append(body)
        data = connection.trailing_data[0]
    return [*found, data]


def normalised(outcome: Outcome) -> list[object]:
    """Return the outcome with the chunks of both sides joined."""
    methods = [event.method if isinstance(event, Forward) else "GET" for event in outcome.seen]
    requests = [parse_request(data) for data in outcome.to_servers]
    return [
        outcome.seen,
        outcome.trailing,
        outcome.error,
        # The text is h11's, and it calls a bad status line by two names.
        outcome.server_error is None,
        [(request.method, request.target, body, whole) for request, body, whole in requests],
        dechunk(outcome.to_client, [*methods, "GET"]),
    ]


def check(data: bytes) -> None:
    """Raise where an invariant is broken.

    No exception but `RemoteProtocolError` comes out; how the bytes are split changes nothing; every
    host that can be asked for can be passed on; and what goes to an origin is one well-formed
    request each, free of what concerns the proxy alone.
    """
    client, _, response = data.partition(SEPARATOR)
    for with_accounts in (False, True):
        whole = Shell(client, response, step=1 << 16, with_accounts=with_accounts).run()
        for event in whole.seen:
            if isinstance(event, Connect | Forward):
                check_host(event.destination.host)
        for sent in whole.to_servers:
            request, _, _ = parse_request(sent)
            names = {name for name, _ in request.headers}
            if names & HOP_BY_HOP or (b"connection", b"close") not in list(request.headers):
                raise ValueError(f"a hop-by-hop header went to the origin: {sent!r}")
            if not request.target.startswith(b"/") and request.target != b"*":
                raise ValueError(f"not an origin form: {sent!r}")
        expected = normalised(whole)
        for step in (1, 3):
            split = Shell(client, response, step=step, with_accounts=with_accounts).run()
            if normalised(split) != expected:
                raise ValueError(f"the split matters: {whole} and {split}")
