"""A client of Mux.Cool that tests drive by hand, over any transport or through a VMess server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import time
from typing import Final

import attrs
import trio

from tests.kit.entropy import SeededEntropy
from tests.kit.names import IPV4_LOOPBACK
from tests.kit.pair import request
from tests.kit.peer_specs import USER_ID
from trio_vmess.contracts import StreamSide, Transport
from trio_vmess.core import Destination, PrefixedCodec
from trio_vmess.core.mux import Frame, Keep, MuxClient, MuxServer
from trio_vmess.core.vmess import (
    MUX_DESTINATION,
    Account,
    ClientConnection,
    Command,
    StreamBody,
    parse_user_id,
)
from trio_vmess.transport import SideTransport, StreamTransport

WEB: Final = Destination(host="example.com", port=443)


@attrs.define(eq=False)
class MuxEnd:
    """One end of a carrier.

    Attributes:
        transport: carries the frames.
    """

    transport: Transport
    mux: MuxClient | MuxServer = attrs.field(init=False)
    _frames: list[Frame] = attrs.field(factory=list[Frame], init=False)

    async def flush(self) -> None:
        """Send what is queued."""
        await self.transport.send_all(self.mux.data_to_send())

    async def send(self, number: int, data: bytes) -> None:
        """Send bytes of a stream."""
        self.mux.send_data(number, data)
        await self.flush()

    async def end(self, number: int, *, is_error: bool = False) -> None:
        """End a session."""
        self.mux.end(number, is_error=is_error)
        await self.flush()

    async def receive(self) -> Frame | None:
        """Return the next frame; None at the carrier's end."""
        buffer = memoryview(bytearray(65_536))
        while not self._frames:
            size = await self.transport.receive_into(buffer)
            if not size:
                return None
            self._frames += self.mux.receive_data(buffer[:size])
        return self._frames.pop(0)

    async def receive_data(self, size: int) -> bytes:
        """Return bytes of a stream while nothing else comes."""
        received = b""
        while len(received) < size:
            frame = await self.receive()
            assert isinstance(frame, Keep)
            received += frame.data or b""
        return received


@attrs.define(eq=False)
class MuxCaller(MuxEnd):
    """The client's end of a carrier.

    Attributes:
        mux: makes and reads the frames.
        returned: set when the server has returned.
    """

    mux: MuxClient = attrs.field(factory=MuxClient)
    returned: trio.Event = attrs.field(factory=trio.Event)

    async def open(self, destination: Destination = WEB, data: bytes | None = None) -> int:
        """Open a session; return its number."""
        number = self.mux.open(destination, data=data)
        await self.flush()
        return number

    async def send_datagram(
        self, number: int, datagram: bytes, peer: Destination | None = None
    ) -> None:
        """Send a datagram."""
        self.mux.send_datagram(number, datagram, peer)
        await self.flush()


@asynccontextmanager
async def open_carrier(server_port: int, *, seed: int = 0) -> AsyncIterator[MuxCaller]:
    """Open a carrier to a VMess server on loopback that knows `USER_ID`.

    Args:
        server_port: its port.
        seed: of the request's random bytes: each carrier of a server needs its own.
    """
    stream = await trio.open_tcp_stream(IPV4_LOOPBACK, server_port)
    connection = ClientConnection(entropy=SeededEntropy(seed), jitter=0)
    user = Account(user_id=parse_user_id(USER_ID))
    header = connection.send(
        request(user, command=Command.MUX, destination=MUX_DESTINATION, timestamp=int(time()))
    )
    body = connection.hand_over_early(lambda _response: None)
    assert isinstance(body, StreamBody)
    side = StreamSide(
        transport=StreamTransport(stream),
        opener=body.opener,
        sealer=PrefixedCodec(header, body.sealer),
    )
    caller = MuxCaller(SideTransport(side))
    try:
        yield caller
    finally:
        await caller.transport.aclose()
