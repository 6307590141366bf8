"""Servers at the other end of a client's carriers, which tests drive by hand."""

import functools
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from tests.kit.entropy import SeededEntropy
from tests.kit.mux_client import MuxEnd
from tests.kit.remote_ends import TransportPair, memory_pair
from tests.kit.scripted_remote import TrackedTransport
from trio_vmess.contracts import Connected, PacketLink, StreamSide, Transport
from trio_vmess.core import Destination, Flow
from trio_vmess.core.mux import MuxServer
from trio_vmess.errors import DialError, DialFailure
from trio_vmess.outbound import CarrierPool, MuxOutbound

WEB: Final = Flow(destination=Destination(host="example.com", port=443))


@attrs.define(eq=False)
class CarrierEnd(MuxEnd):
    """The server's end of a carrier."""

    mux: MuxServer = attrs.field(factory=MuxServer)


class Servers:
    """What carriers are opened with: a `CarrierSource`.

    Attributes:
        failure: what the next dials raise; None for success.
        dial_count: how many carriers were asked for.
        may_answer: dials wait until it is set.
        transports: our ends of all carriers.
    """

    tag = "proxy"

    def __init__(self, pair: TransportPair = memory_pair) -> None:
        self.transports: list[TrackedTransport] = []
        self._pair = pair
        self.failure: DialError | None = None
        self.dial_count = 0
        self.may_answer = trio.Event()
        self.may_answer.set()
        self._send, self._opened = trio.open_memory_channel[CarrierEnd](math.inf)

    async def next(self) -> CarrierEnd:
        """Return the server's end of the next carrier."""
        return await self._opened.receive()

    async def connect_carrier(self) -> StreamSide:
        """See `CarrierSource.connect_carrier`."""
        self.dial_count += 1
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        local, remote = self._pair()
        tracked = TrackedTransport(local)
        self.transports.append(tracked)
        self._send.send_nowait(CarrierEnd(remote))
        return StreamSide(transport=tracked)

    async def connect(self, flow: Flow, /) -> Connected[StreamSide]:
        """See `Outbound.connect`."""
        raise DialError("no streams here", reason=DialFailure.UNSUPPORTED)

    async def connect_packets(self, flow: Flow, /) -> Connected[PacketLink]:
        """See `Outbound.connect_packets`."""
        raise DialError("no datagrams here", reason=DialFailure.UNSUPPORTED)


@asynccontextmanager
async def running(
    servers: Servers, *, concurrency: int = 2, is_xudp: bool = False, quic: bool | None = None
) -> AsyncIterator[MuxOutbound]:
    """Run an outbound for the length of the block."""
    make = functools.partial(
        CarrierPool,
        servers,
        entropy=SeededEntropy(1),
        buffer=memoryview(bytearray(512 * 1024)),
    )
    streams = make(concurrency=concurrency)
    datagrams = make(concurrency=1, is_xudp=True) if is_xudp else streams
    outbound = MuxOutbound(
        servers, streams=streams, datagrams=datagrams, quic=quic, entropy=SeededEntropy(2)
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(outbound.run)
        yield outbound
        nursery.cancel_scope.cancel()


async def open_stream(outbound: MuxOutbound, flow: Flow = WEB) -> Transport:
    """Return a sub-connection."""
    return (await outbound.connect(flow)).remote.transport
