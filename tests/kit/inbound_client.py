"""A client in front of an inbound: a memory stream whose other end the inbound serves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio
import trio.testing

from tests.kit.scripted_remote import TrackedTransport
from trio_vmess.contracts import Inbound
from trio_vmess.core import Destination, parse_host
from trio_vmess.transport.trio_stream import StreamTransport

SOURCE: Final = "127.0.0.1:50000"
HANDSHAKE: Final = 60.0
"""Seconds from the connection to the deadline that inbounds are given."""

LOCAL: Final = Destination(host=parse_host("127.0.0.1"), port=1080)


@attrs.define(eq=False)
class InboundClient:
    """A client's connection.

    Attributes:
        stream: the client's end.
        transport: the inbound's end.
        returned: set when the inbound has returned.
    """

    stream: trio.abc.HalfCloseableStream
    transport: TrackedTransport
    returned: trio.Event = attrs.field(factory=trio.Event)
    _ahead: bytes = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def receive(self, size: int) -> bytes:
        """Read exactly `size` bytes, or fewer where the stream ends."""
        while len(self._ahead) < size and (data := await self.stream.receive_some(65536)):
            self._ahead += data
        taken, self._ahead = self._ahead[:size], self._ahead[size:]
        return taken

    async def receive_until(self, mark: bytes) -> bytes:
        """Read up to and with `mark`, or to the end."""
        while mark not in self._ahead and (data := await self.stream.receive_some(65536)):
            self._ahead += data
        end = self._ahead.find(mark)
        return await self.receive(len(self._ahead) if end < 0 else end + len(mark))

    async def receive_rest(self) -> bytes:
        """Read to the end."""
        return await self.receive(1 << 30)


@asynccontextmanager
async def open_client(
    inbound: Inbound,
    *,
    source: str = SOURCE,
    handshake: float = HANDSHAKE,
    reached: Destination = LOCAL,
) -> AsyncIterator[InboundClient]:
    """Connect a client to an inbound.

    When the block is left, the client closes, and the inbound has to end by itself.
    """
    local, remote = trio.testing.memory_stream_pair()
    client = InboundClient(local, TrackedTransport(StreamTransport(remote), local=reached))

    async def serve() -> None:
        deadline = trio.current_time() + handshake
        await inbound.serve(client.transport, source=source, deadline=deadline)
        client.returned.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        async with local:
            yield client
        await client.returned.wait()
    assert client.transport.closed
