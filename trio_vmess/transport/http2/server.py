"""The server's end: a connection of HTTP/2 whose requests are connections to somebody else."""

import logging
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Final, Protocol

import trio

from trio_vmess.contracts import Transport
from trio_vmess.core.carriage.http2 import (
    DEFAULT_LIMITS,
    ErrorCode,
    Http2Connection,
    Limits,
    Request,
    Response,
    Stream,
    Tunnel,
)
from trio_vmess.transport.http2.carrier import Carrier
from trio_vmess.transport.http2.keep_alive import KeepAlive
from trio_vmess.transport.http2.stream import Http2Stream

SERVER_KEEP_ALIVE: Final = KeepAlive(idle_timeout=900.0)
"""A server is more patient than a client: who closes first does not meet a stream under way."""

log: Final = logging.getLogger("trio_vmess.transport.http2")

Respond = Callable[[Request], Awaitable[Response]]
"""Answers a request that is for something else than our streams."""

Wrap = Callable[[Transport], Transport]
"""Puts a layer around each stream."""


class Handler(Protocol):
    """Serves streams as if they were connections; `Inbound.serve` is one."""

    def __call__(self, transport: Transport, *, source: str, deadline: float) -> Awaitable[None]:
        """Serve one stream until it ends, and close it; see `Inbound.serve`."""
        ...


async def respond_not_found(_request: Request) -> Response:
    """Answer that nothing is there, in as few words as most servers do."""
    return Response(status=404, fields=((b"content-length", b"0"),))


class Http2Server:
    """Serves the streams of HTTP/2 connections.

    Args:
        handler: called for each stream of ours.
        tunnel: tells these from other requests, and how to answer them.
        handshake: seconds from a stream's beginning to the deadline that its handler gets.
        now: returns UTC seconds, for the field `date`.
        buffer: where what is received goes first; may be shared by everything in a Trio run.
        respond: answers all other requests.
        wrap: a layer around each stream.
        source_of: returns where a request comes from; by default the source of the connection.
        keep_alive: the times of a connection.
        limits: what clients may do.
    """

    def __init__(
        self,
        handler: Handler,
        tunnel: Tunnel,
        *,
        handshake: float,
        now: Callable[[], float],
        buffer: memoryview,
        respond: Respond = respond_not_found,
        wrap: Wrap | None = None,
        source_of: Callable[[Request, str], str] = lambda _request, source: source,
        keep_alive: KeepAlive = SERVER_KEEP_ALIVE,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._handler = handler
        self._tunnel = tunnel
        self._handshake = handshake
        self._now = now
        self._buffer = buffer
        self._respond = respond
        self._wrap = wrap
        self._source_of = source_of
        self._keep_alive = keep_alive
        self._limits = limits

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        """Serve one connection until it and all of its streams have ended; see `Inbound.serve`.

        Args:
            transport: behind TLS if there is any.
            source: the client's address, for handlers and the log.
            deadline: on Trio's clock, for the first request.
        """
        async with trio.open_nursery() as nursery:
            running = 0

            async def serve_stream(stream: Http2Stream) -> None:
                nonlocal running
                try:
                    await self._serve_stream(carrier, stream, source)
                finally:
                    running -= 1

            def start(stream: Stream) -> None:
                nonlocal running
                # A stream that was reset does not count as open any more, but what serves it may
                # still be busy: a peer must not get around the limit by resetting all the time.
                if running >= self._limits.stream_count:
                    carrier.connection.reset_stream(stream, ErrorCode.REFUSED_STREAM)
                else:
                    running += 1
                    transport = Http2Stream(carrier, stream, is_client=False)
                    nursery.start_soon(serve_stream, transport, name="stream")

            carrier = Carrier(
                transport,
                Http2Connection(is_client=False, limits=self._limits),
                self._tunnel,
                buffer=self._buffer,
                keep_alive=self._keep_alive,
                first_stream_by=deadline,
            )
            reason = await carrier.run(start)
            log.debug("http2.closed source=%s reason=%r", source or "-", reason)

    async def _serve_stream(self, carrier: Carrier, stream: Http2Stream, source: str) -> None:
        try:
            request = stream.stream.request
            if why := self._tunnel.why_not(request):
                log.info("http2.other_request source=%s reason=%r", source or "-", why)
                await self._answer(carrier, stream, await self._respond(request))
                return
            date = formatdate(self._now(), usegmt=True)
            carrier.connection.respond(stream.stream, self._tunnel.response(date))
            carrier.wake_sender()
            transport: Transport = stream if self._wrap is None else self._wrap(stream)
            deadline = trio.current_time() + self._handshake
            source = self._source_of(request, source)
            await self._handler(transport, source=source, deadline=deadline)
        except Exception:
            # The error boundary of one stream: the others go on.
            log.exception("http2.bug source=%s", source or "-")
            await stream.abort()
        finally:
            await stream.aclose()

    async def _answer(self, carrier: Carrier, stream: Http2Stream, response: Response) -> None:
        body = b"" if stream.stream.request.method == "HEAD" else response.body
        carrier.connection.respond(stream.stream, response, is_last=not body)
        carrier.wake_sender()
        if body:
            try:
                with trio.move_on_after(self._handshake):
                    await stream.send_all(body)
            except trio.BrokenResourceError:
                return  # it is the client's loss
