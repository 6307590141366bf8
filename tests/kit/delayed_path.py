"""A path between a client and a server on loopback that takes time, and counts round trips.

    python -m tests.kit.delayed_path PORT SERVER_PORT MILLISECONDS

carries connections to a port until it is ended. What TCP's own handshake would take is taken from
the first bytes: on loopback, a client is connected at once, and what it sends then waits here for
as long as the handshake would have lasted.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, Literal

import attrs
import trio

from tests.kit.names import IPV4_LOOPBACK

Event = Literal["open", "up", "down"]

_READ_SIZE: Final = 65_536
_PIECES_IN_FLIGHT: Final = 4096


@attrs.define(eq=False)
class PathConnection:
    """One connection.

    Attributes:
        events: what was seen of it: that it was opened, and then in which direction there were
            bytes, in turns; a test may clear them.
        in_flight: pieces that are on their way.
    """

    events: list[Event] = attrs.field(factory=lambda: list[Event](["open"]))
    in_flight: int = 0

    def note(self, event: Event) -> None:
        """Note the direction of some bytes."""
        if self.events[-1:] != [event]:
            self.events.append(event)

    @property
    def trips(self) -> int:
        """For how many round trips the client has waited, if each byte up was answered."""
        return sum(each != "down" for each in self.events)


@attrs.define(eq=False)
class DelayedPath:
    """The path.

    Attributes:
        port: where clients connect.
        delay: seconds for each direction.
        connections: all that were opened, in order.
    """

    port: int
    delay: float
    connections: list[PathConnection] = attrs.field(factory=list[PathConnection])

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is on its way."""
        return not any(each.in_flight for each in self.connections)

    async def carry(self, client: trio.SocketStream, server_port: int) -> None:
        """Carry one connection until both ends have ended it, or one has reset it."""
        connection = PathConnection()
        self.connections.append(connection)
        open_at = trio.current_time() + 2 * self.delay
        try:
            server = await trio.open_tcp_stream(IPV4_LOOPBACK, server_port)
        except OSError:
            await client.aclose()
            return
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, nursery, connection, "up", client, server, open_at)
            nursery.start_soon(self._pump, nursery, connection, "down", server, client, open_at)
        connection.in_flight = 0

    async def _pump(
        self,
        nursery: trio.Nursery,
        connection: PathConnection,
        direction: Event,
        source: trio.SocketStream,
        sink: trio.SocketStream,
        open_at: float,
    ) -> None:
        send, receive = trio.open_memory_channel[tuple[float, bytes]](_PIECES_IN_FLIGHT)
        nursery.start_soon(_deliver, nursery, connection, receive, sink)
        try:
            async with send:
                while data := await source.receive_some(_READ_SIZE):
                    connection.note(direction)
                    connection.in_flight += 1
                    due = max(trio.current_time(), open_at) + self.delay
                    await send.send((due, bytes(data)))
                # The end takes as long as the bytes do.
                await trio.sleep(self.delay)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            nursery.cancel_scope.cancel()


async def _deliver(
    nursery: trio.Nursery,
    connection: PathConnection,
    receive: trio.MemoryReceiveChannel[tuple[float, bytes]],
    sink: trio.SocketStream,
) -> None:
    with suppress(trio.ClosedResourceError):
        try:
            async for due, data in receive:
                await trio.sleep_until(due)
                await sink.send_all(data)
                connection.in_flight -= 1
            await sink.send_eof()
        except trio.BrokenResourceError:
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def start_delayed_path(
    server_port: int, *, delay: float = 0.005, port: int = 0
) -> AsyncIterator[DelayedPath]:
    """Carry connections to a port of 127.0.0.1 for the length of the block.

    Args:
        server_port: where they lead.
        delay: seconds for each direction.
        port: where clients connect; 0 for any.
    """
    (listener,) = await trio.open_tcp_listeners(port, host=IPV4_LOOPBACK)
    path = DelayedPath(listener.socket.getsockname()[1], delay)

    async def carry(client: trio.SocketStream) -> None:
        await path.carry(client, server_port)

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, carry, [listener])
        yield path
        nursery.cancel_scope.cancel()


async def _run(milliseconds: float, port: int, server_port: int) -> None:
    async with start_delayed_path(server_port, delay=milliseconds / 1000, port=port):
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(_run, float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
