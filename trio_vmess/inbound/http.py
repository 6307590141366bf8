"""The HTTP proxy inbound: does the I/O for `core.http`.

CONNECT turns the connection into one stream for dispatch. Any other request is a stream of its own,
and the client's connection is kept alive for the next request. The flow of such a request runs in a
task of its own: after the response the client can go on, while the flow waits for the server to
close its connection.
"""

import contextlib
import logging
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import trio

from trio_vmess.contracts import Answer, Dispatch, StreamSide, Transport
from trio_vmess.core import NEED_DATA, Destination, Flow, Policy, User, format_endpoint
from trio_vmess.core.http import (
    Challenged,
    Connect,
    ConnectionClosed,
    Established,
    Failure,
    Forward,
    HttpProxyServer,
)
from trio_vmess.errors import DialFailure, LocalProtocolError, RemoteProtocolError
from trio_vmess.inbound.forward import ForwardTransport
from trio_vmess.transport import close_lingering

log: Final = logging.getLogger("trio_vmess.inbound.http")

READ_SIZE: Final = 4096
"""Bytes that one read of a request's head takes at most."""

REQUEST_PROTOCOL: Final = "http/1.1"
"""What rules see of a request that is no CONNECT, whatever its version.

Source:
    v2ray-core 4.34, proxy/http/server.go, handlePlainHTTP.
"""

FLOW_LINGER: Final = 2.0
"""Seconds that a flow may outlive its response, if the server does not close its connection."""


class HttpInbound:
    """An HTTP/1.1 proxy.

    Args:
        dispatch: gets every flow.
        tag: the inbound's name; may be empty.
        policy: the limits of `level`; `handshake` applies to the head of each further request.
        level: the policy level of all clients.
        accounts: user name to password; None for no authentication.
        allow_transparent: accept requests without an absolute URL, and use their Host header.
        has_attributes: give each flow what rules may ask of its request.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        *,
        tag: str,
        policy: Policy,
        level: int,
        accounts: Mapping[str, str] | None,
        allow_transparent: bool = False,
        has_attributes: bool = False,
    ) -> None:
        self.dispatch = dispatch
        self.policy = policy
        self._tag = tag
        self._anonymous = User(level=level)
        self._accounts = accounts
        self.allow_transparent = allow_transparent
        self._has_attributes = has_attributes

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        """See `Inbound.serve`."""
        server = HttpProxyServer(accounts=self._accounts, allow_transparent=self.allow_transparent)
        async with trio.open_nursery() as nursery:
            conversation = _Conversation(self, server, transport, source, deadline)
            try:
                await conversation.run(nursery)
            finally:
                await transport.aclose()

    def flow(self, request: Connect | Forward, source: str, transport: Transport) -> Flow:
        """Return the flow of a request.

        Args:
            request: the client's.
            source: where the client is.
            transport: the client's connection.
        """
        # What is taken by its Host header would come back, again and again, if that names us.
        local = transport.local if self.allow_transparent else None
        return Flow(
            destination=request.destination,
            source=source,
            inbound_tag=self._tag,
            user=self._user(request.user),
            request_protocol=REQUEST_PROTOCOL if isinstance(request, Forward) else "",
            attributes=_attributes_of(request) if self._has_attributes else None,
            looping_port=0 if local is None else local.port,
        )

    def _user(self, name: str | None) -> User:
        if not name:
            return self._anonymous
        return User(id=name.encode(), email=name, level=self._anonymous.level)


class _Conversation:
    """The requests of one client connection, one after the other."""

    def __init__(
        self,
        inbound: HttpInbound,
        server: HttpProxyServer,
        transport: Transport,
        source: str,
        deadline: float,
    ) -> None:
        self._inbound = inbound
        self._server = server
        self._transport = transport
        self._source = source
        self._deadline = deadline
        self._request_count = 0

    async def run(self, nursery: trio.Nursery) -> None:
        """Serve requests until no other can follow; the caller closes the connection.

        Args:
            nursery: runs the flows of forwarded requests.
        """
        while (request := await self._next_request()) is not None:
            self._request_count += 1
            if isinstance(request, Connect):
                await self._open_tunnel(request)
                return
            if not await self._forward(request, nursery):
                return
            self._deadline = trio.current_time() + self._inbound.policy.handshake

    # Requests -----------------------------------------------------------------------------------

    async def _next_request(self) -> Connect | Forward | None:
        """Read the head of a request; None if the connection ended or was refused."""
        reason = "no complete request before the handshake deadline"
        try:
            with trio.move_on_at(self._deadline) as limit:
                return await self._read_request(limit)
        except RemoteProtocolError as exc:
            log.warning("http.refused source=%s reason=%r", self._source, str(exc))
            await close_lingering(self._transport, self._server.data_to_send())
            return None
        except trio.BrokenResourceError:
            reason = "the connection was reset before the request"
        # Between requests a timeout or reset is normal for a kept-alive connection: not logged.
        if not self._request_count or self._server.trailing_data:
            log.info("http.refused source=%s reason=%r", self._source, reason)
        return None

    async def _read_request(self, limit: trio.CancelScope) -> Connect | Forward | None:
        """Read until a request is complete; None if the client closes the connection before that.

        Raises:
            RemoteProtocolError: the client is refused.
            trio.BrokenResourceError: the connection was reset.
        """
        buffer = memoryview(bytearray(READ_SIZE))
        while True:
            event = self._server.next_event()
            if event is NEED_DATA:
                size = await self._transport.receive_into(buffer)
                if size:
                    self._server.receive_data(buffer[:size])
                else:
                    self._server.receive_eof()
            elif isinstance(event, Connect | Forward):
                return event
            elif isinstance(event, Challenged):
                await self._transport.send_all(self._server.data_to_send())
                # A person may have to type the password: each attempt gets the full time.
                limit.deadline = trio.current_time() + self._inbound.policy.handshake
            elif isinstance(event, ConnectionClosed):
                return None
            else:
                raise LocalProtocolError(f"expected a request, not {event!r}")

    async def _close_lingering(self, reason: str) -> None:
        """Send pending bytes, or an error response if no response has begun; then linger."""
        data = self._server.data_to_send()
        if not data and not self._server.response_started:
            # The server refuses to send one if no request is waiting for a response.
            with contextlib.suppress(LocalProtocolError):
                data = self._server.send(Failure(reason=reason))
        await close_lingering(self._transport, data)

    # Tunnels and forwarded requests -------------------------------------------------------------

    async def _open_tunnel(self, request: Connect) -> None:
        side = StreamSide(transport=self._transport, early=self._server.trailing_data)
        answer = _TunnelAnswer(self._server, self._transport, request.destination)
        flow = self._inbound.flow(request, self._source, self._transport)
        await self._inbound.dispatch.stream(flow, side, answer)

    async def _forward(self, request: Forward, nursery: trio.Nursery) -> bool:
        """Serve one request; return whether the client may send another."""
        forward = ForwardTransport(self._server, self._transport)
        side = StreamSide(transport=forward, early=request.head)
        answer = _ForwardAnswer(forward)
        flow = self._inbound.flow(request, self._source, self._transport)
        scope = trio.CancelScope()
        nursery.start_soon(self._carry, flow, side, answer, scope, name="forwarded request")
        # From here on the client's connection is ours again; the flow may still be running.
        await forward.over.wait()
        scope.deadline = trio.current_time() + FLOW_LINGER
        if forward.keep_alive:
            return True
        if forward.has_begun and not forward.is_complete:
            # An orderly end would tell the client that this was the whole response.
            await self._transport.abort()
            return False
        reason = forward.failure or "the connection to the server ended without a response"
        await self._close_lingering(f"{_name(request.destination)}: {reason}.")
        return False

    async def _carry(
        self, flow: Flow, side: StreamSide, answer: Answer, scope: trio.CancelScope
    ) -> None:
        with scope:
            await self._inbound.dispatch.stream(flow, side, answer)


class _TunnelAnswer:
    """Answers a CONNECT: the HTTP response that opens the tunnel, or an error."""

    def __init__(
        self, server: HttpProxyServer, transport: Transport, destination: Destination
    ) -> None:
        self._server = server
        self._transport = transport
        self._destination = destination

    async def established(self, remote: StreamSide | None, /) -> None:
        """See `Answer.established`.

        Raises:
            trio.BrokenResourceError: the client's connection was reset.
        """
        await self._transport.send_all(self._server.send(Established()))

    async def refused(self, reason: DialFailure, /) -> None:
        """See `Answer.refused`."""
        failure = Failure(reason=f"{_name(self._destination)}: {reason.value}.")
        await close_lingering(self._transport, self._server.send(failure))


class _ForwardAnswer:
    """Answers a forwarded request if its server is not reached; otherwise the server does."""

    def __init__(self, forward: ForwardTransport) -> None:
        self._forward = forward

    async def established(self, remote: StreamSide | None, /) -> None:
        """See `Answer.established`; sends nothing, as the server's own response follows."""

    async def refused(self, reason: DialFailure, /) -> None:
        """See `Answer.refused`; the conversation sends the error when the flow has ended."""
        self._forward.failure = reason.value


def _attributes_of(request: Connect | Forward) -> Mapping[str, str] | None:
    """Return what rules may ask of a request; None for a tunnel, which has none.

    Source:
        v2ray-core, proxy/http/server.go, handlePlainHTTP: of a header that is there several times,
        the first; Host and what concerns this hop alone are left out.
    """
    if isinstance(request, Connect):
        return None
    attributes = {
        name.decode("latin-1").lower(): value.decode("latin-1")
        for name, value in reversed(request.headers)
    }
    for name in ("host", "connection"):
        attributes.pop(name, None)
    path = unquote(request.target.partition("?")[0])
    return attributes | {":method": request.method.upper(), ":path": path}


def _name(destination: Destination) -> str:
    return format_endpoint(destination.host, destination.port)
