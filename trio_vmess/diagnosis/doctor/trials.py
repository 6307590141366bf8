"""Single connections through an outbound: requests, sessions of mux, datagrams, downloads."""

import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from trio_vmess.config import OutboundSettings
from trio_vmess.contracts import Outbound, PacketLink, Resolve, StreamSide
from trio_vmess.core import Destination, Flow, IPAddress, parse_host
from trio_vmess.core.mux import MuxClient
from trio_vmess.diagnosis.doctor.observation import Observation
from trio_vmess.dns import Answer, DatagramServer, Query
from trio_vmess.errors import DialError, RemoteProtocolError
from trio_vmess.node import Assembler, FlowDialer, LayerBuilder
from trio_vmess.outbound import VMessOutbound
from trio_vmess.transport import SideTransport

_READ_SIZE: Final = 64 * 1024

DOWNLOAD_MAX: Final = 256 * 1024 * 1024

NOWHERE: Final = Destination(host=parse_host("127.0.0.1"), port=1)
"""Where a server connects to in vain, at once: its own port 1."""

_FAULTS: Final = (DialError, RemoteProtocolError, trio.BrokenResourceError)


@attrs.frozen(kw_only=True)
class Means:
    """What connections are made with.

    Attributes:
        file: the name of the configuration file; empty for none.
        resolve: finds the addresses of the server.
        clock: returns UTC seconds.
        limit: seconds for each part of a connection.
    """

    file: str
    resolve: Resolve
    clock: Callable[[], int]
    limit: float


@attrs.define(eq=False)
class Trial:
    """One connection, and what became of it.

    Attributes:
        observation: of its layers.
        answer: the first bytes that came back through the proxy.
        is_ended: the proxy has passed on an end without any bytes.
        fault: why there is no answer; empty if there is one, or if nobody has said anything.
        answered_at: when the answer came, on Trio's clock.
    """

    observation: Observation
    answer: bytes = b""
    is_ended: bool = False
    fault: str = ""
    answered_at: float = 0.0

    @property
    def is_authenticated(self) -> bool:
        """Whether the server has sent what only one that knows the user can."""
        return bool(self.answer) or self.is_ended


@asynccontextmanager
async def _outbound(
    means: Means, settings: OutboundSettings, observation: Observation
) -> AsyncGenerator[Outbound, None]:
    """Build an outbound as a node does, and run what belongs to it.

    Raises:
        ConfigError: a certificate cannot be used, or this system lacks an option of sockets.
    """
    layers = LayerBuilder(file=means.file, observe=observation.observe)
    assembler = Assembler.without_node(layers, resolve=means.resolve, clock=means.clock)
    outbound = assembler.outbound(settings)
    async with trio.open_nursery() as nursery:
        for service in (*layers.services, *assembler.services):
            await nursery.start(service.run, name=type(service).__name__)
        yield outbound
        nursery.cancel_scope.cancel()


def check_settings(means: Means, settings: OutboundSettings) -> None:
    """Build an outbound to find out whether that is possible.

    Raises:
        ConfigError: a certificate cannot be used, or this system lacks an option of sockets.
    """
    layers = LayerBuilder(file=means.file)
    Assembler.without_node(layers, resolve=means.resolve, clock=means.clock).outbound(settings)


async def try_request(
    means: Means, settings: OutboundSettings, destination: Destination, request: bytes
) -> Trial:
    """Send a request to a destination, and wait for the first bytes of the answer."""
    trial = Trial(Observation(means.clock))
    async with _outbound(means, settings, trial.observation) as outbound:
        with trio.move_on_after(means.limit) as scope:
            _follow(trial.observation, scope, means.limit)
            try:
                side = (await outbound.connect(Flow(destination=destination))).remote
                await _exchange(trial, side, request)
            except _FAULTS as exc:
                trial.fault = str(exc)
    return trial


async def try_session(means: Means, settings: OutboundSettings) -> Trial:
    """Ask the server for a session of mux that must fail at once: it has to answer that.

    So whether it accepts the user can be told from whether it reaches anything.
    """
    trial = Trial(Observation(means.clock))
    async with _outbound(means, settings, trial.observation) as outbound:
        if not isinstance(outbound, VMessOutbound):
            raise TypeError("these settings share connections")
        with trio.move_on_after(means.limit) as scope:
            _follow(trial.observation, scope, means.limit)
            mux = MuxClient()
            mux.open(NOWHERE)
            try:
                side = await outbound.connect_carrier()
                await _exchange(trial, side, bytes(mux.data_to_send()))
            except _FAULTS as exc:
                trial.fault = str(exc)
    return trial


async def try_name(
    means: Means, settings: OutboundSettings, server: tuple[IPAddress, int], name: str
) -> tuple[Trial, Answer | None]:
    """Ask a name server by UDP; an error in its answer is an answer, too."""
    trial = Trial(Observation(means.clock))
    answer: Answer | None = None
    async with _outbound(means, settings, trial.observation) as outbound:
        dialer = _CountingDialer(outbound)
        asked = DatagramServer(*server, dialer=dialer)
        with trio.move_on_after(means.limit) as scope:
            _follow(trial.observation, scope, means.limit)
            try:
                answer = await asked.ask(Query(name, socket.AF_INET))
            except _FAULTS as exc:
                trial.fault = str(exc)
        trial.answer = dialer.received
    return trial, answer


async def try_download(
    means: Means, settings: OutboundSettings, destination: Destination, request: bytes
) -> tuple[Trial, int, float]:
    """Send a request, and read for as long as a part of a connection may take.

    Returns:
        The connection, the bytes behind the first ones, and the seconds that they took.
    """
    trial = Trial(Observation(means.clock))
    size, seconds = 0, 0.0
    async with _outbound(means, settings, trial.observation) as outbound:
        with trio.move_on_after(means.limit) as scope:
            _follow(trial.observation, scope, means.limit)
            try:
                side = (await outbound.connect(Flow(destination=destination))).remote
                transport = SideTransport(side)
                try:
                    await transport.send_all(request)
                    buffer = memoryview(bytearray(_READ_SIZE))
                    trial.answer = bytes(buffer[: await transport.receive_into(buffer)])
                    scope.deadline = trio.current_time() + means.limit
                    began = trio.current_time()
                    while size < DOWNLOAD_MAX and (more := await transport.receive_into(buffer)):
                        size += more
                        seconds = trio.current_time() - began
                finally:
                    await transport.aclose()
            except _FAULTS as exc:
                trial.fault = str(exc)
    return trial, size, seconds


async def _exchange(trial: Trial, side: StreamSide, data: bytes) -> None:
    """Send, and read once.

    Raises:
        RemoteProtocolError: what came is not VMess, or the connection ended without an answer.
        trio.BrokenResourceError: the connection was reset.
    """
    transport = SideTransport(side)
    try:
        await transport.send_all(data)
        buffer = memoryview(bytearray(_READ_SIZE))
        size = await transport.receive_into(buffer)
        trial.answer, trial.is_ended = bytes(buffer[:size]), not size
        trial.answered_at = trio.current_time()
    finally:
        await transport.aclose()


def _follow(observation: Observation, scope: trio.CancelScope, limit: float) -> None:
    """Give each part of a connection the whole limit."""

    def move() -> None:
        scope.deadline = trio.current_time() + limit

    observation.on_progress = move


class _CountingDialer(FlowDialer):
    """A `DnsDialer` that leads through one outbound, and remembers what has come."""

    def __init__(self, outbound: Outbound) -> None:
        async def choose(_flow: Flow) -> Outbound:
            await trio.lowlevel.checkpoint()
            return outbound

        super().__init__(choose)
        self.received = b""

    async def packets(self, destination: Destination, /) -> PacketLink:
        """See `DnsDialer.packets`."""
        return _CountingLink(await super().packets(destination), self)


@attrs.frozen(eq=False)
class _CountingLink:
    _link: PacketLink
    _dialer: _CountingDialer

    async def receive(self) -> Sequence[bytes]:
        datagrams = await self._link.receive()
        self._dialer.received += b"".join(datagrams)[:1]
        return datagrams

    async def send(self, datagrams: Sequence[bytes], /) -> int:
        return await self._link.send(datagrams)

    async def aclose(self) -> None:
        await self._link.aclose()
