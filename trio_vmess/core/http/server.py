"""The HTTP proxy's side: CONNECT tunnels, and requests with an absolute address.

Theory of operation. h11 parses and writes all HTTP; this module decides what becomes of it.
There is one parser for each state in which something is read from the client; in the others
`next_event` says `PAUSED`. The transitions are a table of their own, `state.TRANSITIONS`:

    HEAD -> CONNECT -> TUNNEL                            CONNECT host:port
    HEAD -> BODY -> RESPONSE -> HEAD or CLOSED           a body follows
    HEAD -> END --> RESPONSE -> HEAD or CLOSED           no body
    HEAD -> DISCARD -> HEAD                              407; the browser asks its user, tries again
    any --> REFUSED                                      the answer is in `data_to_send`

The shell loops on `receive_data`, `next_event` and `data_to_send`. After `Connect` it dials, sends
`Established` and copies bytes, `trailing_data` first. After `Forward` it dials and writes
`Forward.head` and then the payloads of `Data` and `EndOfMessage` to the new connection, while it
gives what comes back to `receive_origin_data` and writes the payloads from `next_origin_event` to
the client. The two directions belong into two tasks, in any interleaving: a server may answer
before it has the whole body, and with `Expect: 100-continue` the body waits for the answer. Only
when `ResponseEnd` says `keep_alive` does the shell go back to the client for the next request.
An end of stream is told by `receive_eof` and `receive_origin_eof`; after a reset the shell closes
the client instead, so that a truncated response is not taken for a whole one.

What is not done, on purpose: upgrades (the header is dropped, so the server answers in HTTP; a
websocket client behind a proxy uses CONNECT anyway), trailers (dropped), keep-alive for HTTP/1.0,
reuse of connections to an origin, Via, and Max-Forwards. Requests without a Host header are refused
in HTTP/1.1, as RFC 9112 section 3.2 demands.
"""

from collections.abc import Mapping
from typing import Final, assert_never

import h11

from trio_vmess.core.buffer import NEED_DATA, NeedData
from trio_vmess.core.http.answer import (
    CHALLENGE,
    CLOSE,
    ESTABLISHED,
    FOREIGN_FIRST_BYTES,
    NOT_A_WEB_SERVER,
    PASSWORD_NEEDED,
    answer,
    describe,
    shorten,
)
from trio_vmess.core.http.connection import BoundedConnection
from trio_vmess.core.http.events import (
    PAUSED,
    Challenged,
    ClientEvent,
    Connect,
    ConnectionClosed,
    Data,
    EndOfMessage,
    Established,
    Failure,
    Forward,
    OriginEvent,
    Paused,
    ResponseEnd,
)
from trio_vmess.core.http.message import (
    NotAbsoluteError,
    Target,
    check_request_framing,
    declares_body,
    expects_continue,
    parse_absolute_form,
    parse_basic_credentials,
    parse_destination,
    parse_origin_form,
)
from trio_vmess.core.http.origin import OriginSide
from trio_vmess.core.http.state import State, Step, advance
from trio_vmess.core.mixed import PasswordBook
from trio_vmess.errors import (
    AuthenticationError,
    LocalProtocolError,
    Refusal,
    RemoteProtocolError,
)

CHALLENGE_COUNT_MAX: Final = 8
"""Failed attempts in a row after which the connection is closed."""

DISCARD_SIZE_MAX: Final = 64 * 1024
"""Bytes of the body of a refused request that are swallowed to keep its connection."""


class HttpProxyServer:
    """One client's connection to the proxy.

    Args:
        accounts: user name to password. None requires no password; a mapping requires one from
            every client.
        allow_transparent: take requests as web servers get them, by their Host header. For
            connections that are led here without the client's knowledge.
    """

    def __init__(
        self, *, accounts: Mapping[str, str] | None = None, allow_transparent: bool = False
    ) -> None:
        self._allow_transparent = allow_transparent
        self._passwords = None if accounts is None else PasswordBook(accounts)
        self._client = BoundedConnection(h11.SERVER)
        self._origin: OriginSide | None = None
        self._outgoing = bytearray()
        self._state = State.HEAD
        self._refusal: RemoteProtocolError | None = None
        self._first_byte_seen = False
        self._challenge_count = 0
        self._discarded_size = 0
        self._request: h11.Request | None = None

    # The client's side ------------------------------------------------------------------------

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Store what the client sent; no bytes mean the same as `receive_eof`.

        Raises:
            RemoteProtocolError: more than a mebibyte waits.
            LocalProtocolError: the stream has ended before.
        """
        self._client.receive_data(data)

    def receive_eof(self) -> None:
        """Note that the client has ended its stream."""
        self._client.receive_eof()

    def next_event(self) -> ClientEvent | NeedData | Paused:
        """Parse the client's next event.

        Returns:
            An event; `NEED_DATA`; or `PAUSED` while nothing is to be read from the client.

        Raises:
            RemoteProtocolError: the client is refused. `data_to_send` holds what it is to be told,
                if anything; then its connection is to be closed. Each further call raises it again.
            AuthenticationError: the same, where a wrong password is not asked for again.
        """
        if self._refusal is not None:
            raise self._refusal.copy()
        try:
            while (event := self._parse()) is None:
                pass
        except h11.RemoteProtocolError as exc:
            raise self._refuse(exc.error_status_hint, describe(exc)) from None
        return event

    def data_to_send(self) -> bytes:
        """Take what this server itself has to say to the client; often nothing."""
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    def send(self, event: Established | Failure) -> bytes:
        """Answer the request.

        Raises:
            LocalProtocolError: there is no request of this kind, or its response has begun.
        """
        match event:
            case Established():
                self._advance(Step.TUNNEL_OPENED)
                return ESTABLISHED
            case Failure():
                if self.response_started:
                    raise LocalProtocolError("the response has begun: close the connection instead")
                self._advance(Step.FAILED)
                self._origin = None
                return self._answer(event.status, event.reason, CLOSE)
            case _:
                assert_never(event)

    @property
    def trailing_data(self) -> bytes:
        """What the client sent behind its CONNECT: the first bytes of the tunnel."""
        return self._client.unparsed

    @property
    def response_started(self) -> bool:
        """True once the client has a final status; a failure can then only be told by a close."""
        return not self._client.may_respond

    # The origin's side ----------------------------------------------------------------------

    def receive_origin_data(self, data: bytes | bytearray | memoryview) -> None:
        """Store what the origin sent; no bytes mean the same as `receive_origin_eof`.

        Raises:
            RemoteProtocolError: more than a mebibyte waits.
            LocalProtocolError: no request was forwarded, or the stream has ended before.
        """
        self._require_origin().receive_data(data)

    def receive_origin_eof(self) -> None:
        """Note that the origin has ended its stream.

        Raises:
            LocalProtocolError: no request was forwarded.
        """
        self._require_origin().receive_eof()

    def next_origin_event(self) -> OriginEvent | NeedData:
        """Parse the origin's next event.

        Raises:
            RemoteProtocolError: the server broke the protocol. Unless `response_started`, a
                `Failure` tells the client; otherwise its connection is to be closed.
            LocalProtocolError: no request was forwarded.
        """
        event = self._require_origin().next_event()
        if isinstance(event, ResponseEnd):
            self._origin = None
            if event.keep_alive:
                self._client.start_next_cycle()
                self._advance(Step.RESPONSE_ENDED)
            else:
                self._advance(Step.LAST_RESPONSE_ENDED)
        return event

    def _require_origin(self) -> OriginSide:
        if self._origin is None:
            raise LocalProtocolError(f"no request was forwarded (state {self._state.name})")
        return self._origin

    def _advance(self, step: Step) -> None:
        self._state = advance(self._state, step)

    # One parser for each state ----------------------------------------------------------------

    def _parse(self) -> ClientEvent | NeedData | Paused | None:
        """Parse one event; None says that the state has changed and the next one can be tried."""
        match self._state:
            case State.HEAD:
                return self._read_head()
            case State.DISCARD:
                return self._discard_body()
            case State.BODY:
                return self._read_body()
            case State.END:
                return self._end_request()
            case State.RESPONSE | State.CONNECT | State.TUNNEL | State.CLOSED | State.REFUSED:
                return PAUSED
            case _:
                assert_never(self._state)

    def _read_head(self) -> ClientEvent | NeedData | None:
        if not self._first_byte_seen and (first := self._client.first_byte):
            self._first_byte_seen = True
            foreign = FOREIGN_FIRST_BYTES.get(first[0])
            if foreign is not None:
                raise self._refuse_silently(foreign)
        self._request = None
        event = self._client.next_event()
        if event is NEED_DATA:
            return NEED_DATA
        if not isinstance(event, h11.Request):
            self._advance(Step.CLIENT_LEFT)
            return ConnectionClosed()
        self._request = event
        try:
            return self._dispatch(event)
        except NotAbsoluteError:
            raise self._refuse(400, NOT_A_WEB_SERVER) from None
        except ValueError as exc:
            raise self._refuse(400, str(exc)) from None

    def _dispatch(self, request: h11.Request) -> Connect | Forward | Challenged:
        """Decide what a request is.

        Raises:
            NotAbsoluteError: it is for a web server.
            ValueError: it cannot be served.
        """
        if request.http_version not in (b"1.0", b"1.1"):
            version = request.http_version.decode("ascii")
            raise self._refuse(505, f"HTTP/{version} is not supported: use HTTP/1.1")
        check_request_framing(request)
        method, written = request.method.decode("ascii"), request.target.decode("ascii")
        if method == "CONNECT":
            if declares_body(request):
                raise ValueError("a CONNECT request cannot have a body")
            target, destination = None, parse_destination(written)
        else:
            target = self._parse_target(request, written, method)
            destination = target.destination
        user = None
        if self._passwords is not None:
            credentials = parse_basic_credentials(request)
            user = None if credentials is None else self._passwords.find(*credentials)
            if user is None:
                return self._challenge(request, tried=credentials is not None)
        self._challenge_count = 0
        if target is None:
            self._advance(Step.TUNNEL_REQUESTED)
            return Connect(destination=destination, user=user)
        return self._forward(request, target, user)

    def _parse_target(self, request: h11.Request, written: str, method: str) -> Target:
        try:
            return parse_absolute_form(written, method)
        except NotAbsoluteError:
            if not self._allow_transparent:
                raise
        host = dict(request.headers).get(b"host", b"")
        return parse_origin_form(written, host.decode("ascii"))

    def _forward(self, request: h11.Request, target: Target, user: str | None) -> Forward:
        self._origin = OriginSide(request, target, self._client)
        has_body = declares_body(request)
        if has_body:
            self._advance(Step.FORWARDED_WITH_BODY)
        else:
            # h11 has the end at once; taking it now leaves the client's side done, whatever the
            # order in which the shell asks for the end and for the response.
            self._client.next_event()
            self._advance(Step.FORWARDED_WITHOUT_BODY)
        return Forward(
            destination=target.destination,
            method=request.method.decode("ascii"),
            target=target.origin_form,
            headers=self._origin.headers,
            has_body=has_body,
            expects_continue=has_body and expects_continue(request),
            head=self._origin.head,
            user=user,
        )

    def _challenge(self, request: h11.Request, *, tried: bool) -> Challenged:
        self._challenge_count += 1
        # A client that waits for a 100 may send its body after the 407 or leave it out: nobody can
        # tell where its next request begins.
        final = self._challenge_count >= CHALLENGE_COUNT_MAX or expects_continue(request)
        headers = [CHALLENGE, CLOSE] if final else [CHALLENGE]
        self._outgoing += self._answer(407, PASSWORD_NEEDED, *headers)
        if self._client.must_close:
            self._advance(Step.REFUSED)
            message = "the user name or the password is wrong" if tried else "no password was sent"
            self._refusal = AuthenticationError(message, reason=Refusal.UNKNOWN_USER)
            raise self._refusal.copy()
        self._discarded_size = 0
        self._advance(Step.CHALLENGED)
        return Challenged(tried=tried)

    def _discard_body(self) -> NeedData | None:
        event = self._client.next_event()
        if event is NEED_DATA:
            return NEED_DATA
        if isinstance(event, h11.Data):
            self._discarded_size += len(event.data)
            if self._discarded_size > DISCARD_SIZE_MAX:
                raise self._refuse_silently("the body of a refused request is too long")
        else:
            self._client.start_next_cycle()
            self._advance(Step.BODY_DISCARDED)
        return None

    def _read_body(self) -> ClientEvent | NeedData:
        event = self._client.next_event()
        if event is NEED_DATA:
            return NEED_DATA
        if isinstance(event, h11.Data):
            return Data(payload=self._require_origin().send_data(event.data))
        return self._end_request()

    def _end_request(self) -> EndOfMessage:
        self._advance(Step.REQUEST_ENDED)
        return EndOfMessage(payload=self._require_origin().send_end())

    # Answers of our own -----------------------------------------------------------------------

    def _refuse_silently(self, message: str) -> RemoteProtocolError:
        self._advance(Step.REFUSED)
        self._refusal = RemoteProtocolError(message)
        return self._refusal.copy()

    def _refuse(self, status: int, message: str) -> RemoteProtocolError:
        if self._client.may_respond:
            self._outgoing += self._answer(status, message, CLOSE)
        return self._refuse_silently(shorten(message))

    def _answer(self, status: int, text: str, *headers: tuple[bytes, bytes]) -> bytes:
        with_body = self._request is None or self._request.method != b"HEAD"
        return self._client.send(*answer(status, text, headers, with_body=with_body))
