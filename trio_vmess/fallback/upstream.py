"""A server that answers strangers in our place: their bytes are replayed there, then spliced."""

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from trio_vmess.contracts import StreamSide, Transport
from trio_vmess.core import Destination, Policy, parse_endpoint
from trio_vmess.core.carriage import NginxPage
from trio_vmess.core.carriage.site import answer_page, refusal_of
from trio_vmess.errors import DialError, DialFailure, RemoteProtocolError
from trio_vmess.fallback.requests import Requests
from trio_vmess.relay import Meter, SharedBuffers, relay_streams

LINGER: Final = 5.0
"""Seconds without a byte after which a client that has its whole answer is not read any more:
nginx's `lingering_timeout`."""

REPORT_PAUSE: Final = 60.0
"""Seconds between two lines of the log about a server that cannot be reached."""

EncodeProxyHeader = Callable[[Destination | None, Destination | None], bytes]
"""Writes a PROXY header for a client's address and the address that it has connected to."""

log: Final = logging.getLogger("trio_vmess.fallback.upstream")


@attrs.define(eq=False, kw_only=True)
class UpstreamFallback:
    """Passes strangers on to another server: a `Fallback`.

    Attributes:
        connect: connects to the server; raises `DialError`.
        name: the server's, for the log.
        encode_header: writes what the server wants to know first; None for nothing.
        buffers: shared by all relays of this Trio run.
        idle: seconds without a byte in either direction after which a connection is closed. A
            client that has ended its direction is not cut off sooner: the server may be thinking.
        clock: returns UTC seconds, for answers in place of the server.
    """

    connect: Callable[[], Awaitable[Transport]]
    name: str
    encode_header: EncodeProxyHeader | None = None
    buffers: SharedBuffers
    idle: float
    clock: Callable[[], int]
    _next_report: float = attrs.field(default=-math.inf, init=False)

    async def serve(self, transport: Transport, *, received: bytes, source: str) -> None:
        """See `Fallback.serve`."""
        remote = await self._connect()
        if isinstance(remote, NginxPage):
            try:
                await self._apologize(transport, received, source, remote)
            except (trio.BrokenResourceError, RemoteProtocolError) as exc:
                log.debug("fallback.reset source=%s reason=%r", source or "-", str(exc))
            return
        payload = self._header(transport, source) + received
        client = StreamSide(transport=transport, payload=payload)
        # The relay forgets it when it is sent.
        del payload, received
        await self._splice(client, StreamSide(transport=remote), source)

    async def _apologize(
        self, transport: Transport, received: bytes, source: str, failure: NginxPage
    ) -> None:
        """Answer in place of the server, until it is back.

        Raises:
            trio.BrokenResourceError: the connection was reset.
            RemoteProtocolError: TLS below was damaged.
        """
        buffer = self.buffers.received
        requests = Requests(transport, received=received, clock=self.clock, buffer=buffer)
        while (head := await requests.next_head()) is not None:
            if requests.count > 1:
                remote = await self._connect()
                if not isinstance(remote, NginxPage):
                    payload = self._header(transport, source) + requests.received
                    client = StreamSide(transport=transport, payload=payload)
                    await self._splice(client, StreamSide(transport=remote), source)
                    return
                failure = remote
            if not await requests.send(head, answer_page(head, refusal_of(head) or failure)):
                await requests.finish()
                return

    async def _connect(self) -> Transport | NginxPage:
        """Connect to the server, or return what nginx says if it is not there."""
        try:
            return await self.connect()
        except DialError as exc:
            self._report(exc)
            is_late = exc.reason is DialFailure.TIMED_OUT
            return NginxPage.GATEWAY_TIMEOUT if is_late else NginxPage.BAD_GATEWAY

    async def _splice(self, client: StreamSide, server: StreamSide, source: str) -> None:
        """Let the server serve a client to the end."""
        meter = Meter()
        policy = Policy(
            connection_idle=self.idle, downlink_only=self.idle, uplink_only=min(LINGER, self.idle)
        )
        try:
            reason, fault = await relay_streams(
                client, server, buffers=self.buffers, policy=policy, meter=meter, on_start=_ignore
            )
        finally:
            await _close(server)
            if not client.is_ended:
                # What breaks off must not look as if it were complete.
                await client.transport.abort()
        log.debug(
            "fallback.closed source=%s server=%s up=%d down=%d reason=%r",
            source or "-",
            self.name,
            meter.uplink,
            meter.downlink,
            fault or reason.value,
        )

    def _header(self, transport: Transport, source: str) -> bytes:
        if self.encode_header is None:
            return b""
        client = None
        if source:
            host, port = parse_endpoint(source, default_port=0)
            client = Destination(host=host, port=port)
        return self.encode_header(client, transport.local)

    def _report(self, exc: DialError) -> None:
        now = trio.current_time()
        if now < self._next_report:
            return
        self._next_report = now + REPORT_PAUSE
        log.warning(
            "fallback.unreachable server=%s reason=%r hint=%r",
            self.name,
            str(exc),
            "strangers are told 502 as by nginx; is the server of `fallback` running?",
        )


async def _close(side: StreamSide) -> None:
    if side.is_ended:
        await side.transport.aclose()
    else:
        await side.transport.abort()


def _ignore(_scope: trio.CancelScope) -> None:
    """Nobody ends such a relay from outside."""
