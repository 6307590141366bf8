"""What a flow reaches, scripted by the test: an outbound over memory streams.

With it, inbounds are tested against the real dispatcher and the real relay.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio
import trio.testing

from trio_vmess.contracts import Connected, PacketLink, StreamSide, Transport
from trio_vmess.core import Destination, Flow, Policy, parse_host
from trio_vmess.dispatch.access_log import AccessLog
from trio_vmess.dispatch.dispatcher import Dispatcher
from trio_vmess.dispatch.first_outbound import FirstOutbound
from trio_vmess.errors import DialError, DialFailure
from trio_vmess.relay import SharedBuffers
from trio_vmess.transport.trio_stream import StreamTransport

BOUND: Final = Destination(host=parse_host("192.0.2.7"), port=4711)
"""What the outbound gives as its local address."""

Script = Callable[[trio.abc.HalfCloseableStream], Awaitable[None]]
"""What a server does with a connection, which is closed afterwards."""


class TrackedTransport:
    """Wraps a transport; records that it was closed, and has a local address of its own."""

    def __init__(self, transport: Transport, *, local: Destination | None = None) -> None:
        self._transport = transport
        self.closed = self.aborted = False
        self.local = local
        self.remote: Destination | None = None
        self.is_reset = False

    def limit_receive_buffer(self, size: int | None, /) -> None:
        self._transport.limit_receive_buffer(size)

    def limit_unsent(self, size: int, /) -> None:
        self._transport.limit_unsent(size)

    async def receive_into(self, buffer: memoryview, /) -> int:
        return await self._transport.receive_into(buffer)

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        await self._transport.send_all(data)

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        await self._transport.send_eof(last)

    async def abort(self) -> None:
        self.aborted = self.closed = True
        await self._transport.abort()

    async def aclose(self) -> None:
        self.closed = True
        await self._transport.aclose()


async def echo(stream: trio.abc.HalfCloseableStream) -> None:
    """Send everything back, and end when the client does."""
    async for data in stream:
        await stream.send_all(data)
    await stream.send_eof()


class EchoLink:
    """A packet link whose remote end answers each datagram with `name: datagram`."""

    def __init__(self, name: str) -> None:
        self.closed = False
        self.batches: list[list[bytes]] = []
        self._prefix = f"{name}: ".encode()
        self._send, self._receive = trio.open_memory_channel[list[bytes]](64)

    async def receive(self) -> Sequence[bytes]:
        return await self._receive.receive()

    async def send(self, datagrams: Sequence[bytes], /) -> int:
        self.batches.append(list(datagrams))
        await self._send.send([self._prefix + datagram for datagram in datagrams])
        return 0

    async def aclose(self) -> None:
        self.closed = True


@attrs.define(eq=False)
class ScriptedOutbound:
    """An outbound that reaches whatever the test has written.

    Attributes:
        script: what servers do.
        failure: None, or what dialling comes to.
        flows: all that were requested.
        transports: our ends of the connections.
        links: our ends of the datagram flows.
    """

    nursery: trio.Nursery
    script: Script = echo
    failure: DialFailure | None = None
    tag: str = "scripted"
    flows: list[Flow] = attrs.field(factory=list)
    transports: list[TrackedTransport] = attrs.field(factory=list)
    links: list[EchoLink] = attrs.field(factory=list)

    async def connect(self, flow: Flow, /) -> Connected[StreamSide]:
        self._note(flow)
        ours, theirs = trio.testing.memory_stream_pair()
        transport = TrackedTransport(StreamTransport(ours), local=BOUND)
        self.transports.append(transport)
        self.nursery.start_soon(self._run, theirs)
        return Connected(self.tag, StreamSide(transport=transport))

    async def connect_packets(self, flow: Flow, /) -> Connected[PacketLink]:
        self._note(flow)
        link = EchoLink(str(flow.destination))
        self.links.append(link)
        return Connected(self.tag, link)

    def _note(self, flow: Flow) -> None:
        self.flows.append(flow)
        if self.failure is not None:
            raise DialError("as the test wants", reason=self.failure)

    async def _run(self, stream: trio.abc.HalfCloseableStream) -> None:
        async with stream:
            try:
                await self.script(stream)
            except trio.BrokenResourceError:
                return

    @property
    def all_closed(self) -> bool:
        """True if nothing that was opened here is still open."""
        streams = all(transport.closed for transport in self.transports)
        return streams and all(link.closed for link in self.links)


@attrs.define(eq=False)
class ScriptedRemote:
    """A dispatcher and the outbound behind it."""

    dispatch: Dispatcher
    outbound: ScriptedOutbound


@asynccontextmanager
async def open_remote(
    script: Script = echo,
    *,
    failure: DialFailure | None = None,
    policy: Policy | None = None,
) -> AsyncIterator[ScriptedRemote]:
    """Give a dispatcher whose only outbound follows a script; leaving the block ends all of it."""
    limits = Policy() if policy is None else policy
    async with trio.open_nursery() as nursery:
        outbound = ScriptedOutbound(nursery, script, failure)
        dispatch = Dispatcher(
            FirstOutbound([outbound]),
            policy_of=lambda _: limits,
            buffers=SharedBuffers(),
            observers=[AccessLog()],
        )
        yield ScriptedRemote(dispatch, outbound)
        nursery.cancel_scope.cancel()
