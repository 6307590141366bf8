"""The client's end: connections that many streams share."""

import logging
from typing import Final, NoReturn

import attrs
import trio

from trio_vmess.contracts import Connect, Transport
from trio_vmess.core import Entropy, Host, format_endpoint
from trio_vmess.core.carriage.http2 import DEFAULT_LIMITS, Http2Connection, Limits, Tunnel
from trio_vmess.transport.background import Background
from trio_vmess.transport.http2.carrier import Carrier
from trio_vmess.transport.http2.keep_alive import KeepAlive
from trio_vmess.transport.http2.server import Wrap
from trio_vmess.transport.http2.stream import Http2Stream

CLIENT_KEEP_ALIVE: Final = KeepAlive()

log: Final = logging.getLogger("trio_vmess.transport.http2")


@attrs.define(eq=False)
class _Route:
    """The carriers to one server, and the lock of whoever dials another."""

    carriers: list[Carrier] = attrs.Factory(list[Carrier])
    dialling: trio.Lock = attrs.Factory(trio.Lock)

    def find(self) -> Carrier | None:
        """Return a carrier that takes one more stream."""
        return next((each for each in self.carriers if each.can_open), None)


class Http2Client:
    """Opens streams to servers, on as few connections as their limits allow: a `Service`.

    Args:
        connect: opens the connections.
        tunnel: what a request looks like.
        entropy: for choices in requests.
        buffer: where what is received goes first; may be shared by everything in a Trio run.
        wrap: a layer around each stream.
        keep_alive: the times of a connection.
        limits: what servers may do.
    """

    def __init__(
        self,
        connect: Connect,
        tunnel: Tunnel,
        *,
        entropy: Entropy,
        buffer: memoryview,
        wrap: Wrap | None = None,
        keep_alive: KeepAlive = CLIENT_KEEP_ALIVE,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._connect = connect
        self._tunnel = tunnel
        self._entropy = entropy
        self._buffer = buffer
        self._wrap = wrap
        self._keep_alive = keep_alive
        self._limits = limits
        self._routes: dict[tuple[Host, int], _Route] = {}
        self._background = Background("the client of HTTP/2 does not run")

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Run the connections until cancelled; see `Service.run`."""
        await self._background.run(task_status=task_status)

    async def connect(self, host: Host, port: int) -> Transport:
        """Open a stream; a `Connect`.

        It does not wait for the server's answer: a refusal shows at the first read.

        Raises:
            DialError: there is no connection to the server, and none can be made.
            RuntimeError: the service does not run.
        """
        self._background.check_running()
        route = self._routes.setdefault((host, port), _Route())
        carrier = route.find()
        if carrier is None:
            # Others wait for the same connection, unless it turns out to be too small for all.
            async with route.dialling:
                carrier = route.find()
                if carrier is None:
                    carrier = await self._dial(route, host, port)
        request = self._tunnel.request(host, port, self._entropy)
        stream = Http2Stream(carrier, carrier.open(request), is_client=True)
        return stream if self._wrap is None else self._wrap(stream)

    async def _dial(self, route: _Route, host: Host, port: int) -> Carrier:
        transport = await self._connect(host, port)
        try:
            nursery = self._background.nursery  # it may have ended meanwhile
        except RuntimeError:
            await transport.aclose()
            raise
        carrier = Carrier(
            transport,
            Http2Connection(is_client=True, limits=self._limits),
            self._tunnel,
            buffer=self._buffer,
            keep_alive=self._keep_alive,
        )
        route.carriers.append(carrier)
        server = format_endpoint(host, port)
        nursery.start_soon(self._run, route, carrier, server, name="http2 carrier")
        return carrier

    async def _run(self, route: _Route, carrier: Carrier, server: str) -> None:
        try:
            reason = await carrier.run()
            log.debug("http2.closed server=%s reason=%r", server, reason)
        finally:
            route.carriers.remove(carrier)
