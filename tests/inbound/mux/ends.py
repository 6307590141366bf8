"""A client of Mux.Cool in front of the server's carriers, and destinations behind them."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import trio
import trio.testing

from tests.kit.entropy import SeededEntropy
from tests.kit.mux_client import WEB, MuxCaller
from tests.kit.remote_ends import TransportPair, memory_pair
from trio_vmess.contracts import Answer, PacketLink, StreamSide, Transport
from trio_vmess.core import Destination, Flow, Network, User
from trio_vmess.inbound.mux import GlobalIds, MuxInbound
from trio_vmess.transport import StreamTransport

DNS = Destination(host="dns.example", port=53, network=Network.UDP)
NTP = Destination(host="ntp.example", port=123, network=Network.UDP)
ANN = User(id=b"a" * 16, email="ann@example.com")
BOB = User(id=b"b" * 16, email="bob@example.com")
SOURCE = "192.0.2.9:5000"


@attrs.define(eq=False)
class Served:
    """A sub-connection that has come to dispatch.

    Attributes:
        flow: what it is.
        side: the client's side; None for datagrams.
        link: the client's link; None for streams.
    """

    flow: Flow
    side: StreamSide | None = None
    link: PacketLink | None = None
    _let_go: trio.Event = attrs.field(factory=trio.Event)

    @property
    def transport(self) -> Transport:
        assert self.side is not None
        return self.side.transport

    @property
    def datagrams(self) -> PacketLink:
        assert self.link is not None
        return self.link

    async def receive(self, size: int = 65_536) -> bytes:
        """Read once."""
        buffer = memoryview(bytearray(size))
        return bytes(buffer[: await self.transport.receive_into(buffer)])

    async def wait(self) -> None:
        """Run until the test ends it."""
        await self._let_go.wait()

    def let_go(self) -> None:
        """Let dispatch end it."""
        self._let_go.set()


@attrs.define
class CountedFiles:
    """Files that sub-connections may open."""

    left: int = 100_000

    def take(self) -> bool:
        if not self.left:
            return False
        self.left -= 1
        return True

    def give_back(self) -> None:
        self.left += 1


class Destinations:
    """A dispatch whose sub-connections the test drives by hand."""

    def __init__(self) -> None:
        self._send, self._opened = trio.open_memory_channel[Served](math.inf)
        self.running = 0

    async def next(self) -> Served:
        """Return the next sub-connection."""
        return await self._opened.receive()

    async def stream(self, flow: Flow, client: StreamSide, answer: Answer, /) -> None:
        await self._run(Served(flow, side=client), client.transport.aclose)

    async def packets(self, flow: Flow, client: PacketLink, /) -> None:
        await self._run(Served(flow, link=client), client.aclose)

    async def _run(self, served: Served, close: Callable[[], Awaitable[None]]) -> None:
        self.running += 1
        try:
            self._send.send_nowait(served)
            await served.wait()
        finally:
            self.running -= 1
            await close()


@asynccontextmanager
async def carried(
    inbound: MuxInbound,
    *,
    user: User = ANN,
    pair: TransportPair = memory_pair,
    may_open: Callable[[], bool] = lambda: True,
) -> AsyncIterator[MuxCaller]:
    """Open a carrier; at the end of the block the client closes it, and the server has to end."""
    local, remote = pair()
    caller = MuxCaller(local)
    flow = Flow(destination=WEB, source=SOURCE, inbound_tag="in", user=user, is_remote=True)

    async def serve() -> None:
        await inbound.serve(StreamSide(transport=remote), flow, may_open=may_open)
        caller.returned.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        yield caller
        await caller.transport.aclose()


def make_inbound(
    dispatch: Destinations,
    *,
    global_ids: GlobalIds | None = None,
    files: CountedFiles | None = None,
) -> MuxInbound:
    """Return what serves carriers; those that are given the same ids are ports of one inbound."""
    buffer = memoryview(bytearray(512 * 1024))
    # Without an inbound's connections, its ids are empty, and so False.
    ids = GlobalIds() if global_ids is None else global_ids
    return MuxInbound(
        dispatch,
        entropy=SeededEntropy(3),
        buffer=buffer,
        global_ids=ids,
        files=CountedFiles() if files is None else files,
    )


def lockstep_pair() -> tuple[StreamTransport, StreamTransport]:
    """Return two transports without a buffer between them."""
    local, remote = trio.testing.lockstep_stream_pair()
    return StreamTransport(local), StreamTransport(remote)
