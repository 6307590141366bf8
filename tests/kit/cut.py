"""A path between a client and a server on loopback that a test can cut."""

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import attrs
import trio

from tests.kit.names import IPV4_LOOPBACK

_READ_SIZE = 65_536


@attrs.define(eq=False)
class Cut:
    """The path.

    Attributes:
        port: where clients connect.
        is_reset: both ends see a reset; otherwise an end.
    """

    port: int
    is_reset: bool
    _scopes: list[trio.CancelScope] = attrs.field(factory=list[trio.CancelScope])

    @property
    def connection_count(self) -> int:
        """How many connections were carried so far."""
        return len(self._scopes)

    def now(self) -> None:
        """Cut all connections that there are; new ones are carried."""
        for scope in self._scopes:
            scope.cancel()

    async def carry(self, client: trio.SocketStream, server_port: int) -> None:
        """Carry one connection until either end has closed it, or it is cut."""
        server = await trio.open_tcp_stream(IPV4_LOOPBACK, server_port)
        async with client, server, trio.open_nursery() as nursery:
            self._scopes.append(nursery.cancel_scope)

            async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
                with suppress(trio.BrokenResourceError):
                    while data := await source.receive_some(_READ_SIZE):
                        await sink.send_all(data)
                    await sink.send_eof()

            nursery.start_soon(pump, client, server)
            await pump(server, client)


@asynccontextmanager
async def start_cut(server_port: int, *, is_reset: bool = True) -> AsyncIterator[Cut]:
    """Carry connections to a port of 127.0.0.1 for the length of the block."""
    (listener,) = await trio.open_tcp_listeners(0, host=IPV4_LOOPBACK)
    cut = Cut(listener.socket.getsockname()[1], is_reset)

    async def carry(client: trio.SocketStream) -> None:
        if is_reset:
            linger = struct.pack("ii", 1, 0)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await cut.carry(client, server_port)

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, carry, [listener])
        yield cut
        nursery.cancel_scope.cancel()
