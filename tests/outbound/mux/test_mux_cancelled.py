"""What is cancelled or reset at any step harms nobody else, and leaves nothing in its carrier."""

import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.inbound.mux.ends import lockstep_pair
from tests.kit.cancel_sweep import Scenario, sweep_cancellations
from tests.kit.garbage import check_no_garbage
from tests.kit.pattern import pattern
from tests.kit.scripted_remote import TrackedTransport
from tests.outbound.mux.servers import CarrierEnd, Servers, open_stream, running
from tests.outbound.mux.test_mux_datagrams import DNS, NTP, Program
from trio_vmess.contracts import PacketLink, Transport
from trio_vmess.core import Destination, Network
from trio_vmess.core.mux import Frame, Keep, New
from trio_vmess.outbound import MuxOutbound

UPLOAD: Final = pattern(40_000)
"""More than a carrier that is busy takes in one turn."""


class EchoServers(Servers):
    """Servers that send everything back, over carriers that take nothing before it is read."""

    def __init__(self) -> None:
        super().__init__(lockstep_pair)
        self.ends: list[CarrierEnd] = []

    async def run(self) -> None:
        """Serve all carriers until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                end = await self.next()
                self.ends.append(end)
                nursery.start_soon(self._echo, end)

    async def _echo(self, end: CarrierEnd) -> None:
        try:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while (frame := await end.receive()) is not None:
                    await self._answer(end, frame)
        finally:
            await end.transport.abort()

    async def _answer(self, end: CarrierEnd, frame: Frame) -> None:
        match frame:
            case New(number, destination, bytes(data)):
                is_stream = destination.network is Network.TCP
                self._send_back(end, number, data, None if is_stream else destination)
            case Keep(number, bytes(data), peer):
                self._send_back(end, number, data, peer)
            case _:
                return
        await end.flush()

    def _send_back(
        self, end: CarrierEnd, number: int, data: bytes, peer: Destination | None
    ) -> None:
        if not end.mux.is_open(number):
            return
        if peer is None:
            end.mux.send_data(number, data)
        else:
            end.mux.send_datagram(number, data, peer)


async def read_exactly(stream: Transport, size: int) -> bytes:
    buffer, received = memoryview(bytearray(65_536)), bytearray()
    while len(received) < size:
        received += buffer[: await stream.receive_into(buffer)]
    return bytes(received)


async def exchange(stream: Transport) -> None:
    await stream.send_all(b"hello")
    assert await read_exactly(stream, 5) == b"hello"


async def use_a_stream(outbound: MuxOutbound) -> None:
    """Open a stream, use it in both directions, and close it as dispatch would."""
    stream = await open_stream(outbound)
    try:
        await stream.send_all(UPLOAD)
        assert await read_exactly(stream, len(UPLOAD)) == UPLOAD
        await stream.send_eof(b"bye")
        assert await read_exactly(stream, 3) == b"bye"
        await stream.aclose()
    finally:
        await stream.abort()


async def use_datagrams(outbound: MuxOutbound) -> None:
    """Send datagrams of one socket to two peers, and wait for their answers."""
    program, links = Program(), list[PacketLink]()
    try:
        for peer in (DNS, NTP):
            links.append(await program.link(outbound, peer))
        for link in links:
            await link.send([b"q" * 1000] * 3)
        for link in links:
            received = 0
            while received < 3:
                received += len(await link.receive())
    finally:
        for link in links:
            await link.aclose()


async def use_both(outbound: MuxOutbound) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(use_a_stream, outbound)
        nursery.start_soon(use_datagrams, outbound)


Use = Callable[[MuxOutbound], Awaitable[None]]
USES: Final[dict[str, tuple[Use, int]]] = {
    "stream": (use_a_stream, 30),
    "datagrams": (use_datagrams, 15),
    "both": (use_both, 40),
}
uses = pytest.mark.parametrize(("use", "least"), USES.values(), ids=USES)


async def check_carriers(
    outbound: MuxOutbound, servers: EchoServers, others: Sequence[Transport]
) -> None:
    """Require that carriers carry nothing but the others, and can be used."""
    await wait_all_tasks_blocked()
    for pool in (outbound._streams, outbound._datagrams):
        assert pool is not None
        assert not pool._dials
        for carrier in pool._carriers:
            assert not carrier.is_broken
            assert not carrier.is_held_up
            assert carrier.use_count == len(others)
    assert outbound.carrier_count <= 1
    if others:
        (end,) = servers.ends
        assert end.mux.session_count == len(others)
    for stream in others:
        await exchange(stream)
    await use_both(outbound)
    assert len(servers.ends) <= 2


def check_no_cycles() -> AbstractContextManager[None]:
    """Require that a sweep leaves no cycle, where that can be told.

    From Python 3.12 on, the frame of `__aexit__` in contextlib keeps the exception that passes
    through it, as it does through `running`: a cycle of its own.
    """
    return check_no_garbage(ends_runs=True) if sys.version_info < (3, 12) else nullcontext()


@pytest.mark.parametrize("has_company", [True, False], ids=["in company", "alone"])
@uses
def test_a_user_that_is_cancelled_leaves_nothing_and_harms_no_other(
    use: Use, least: int, has_company: bool
) -> None:
    def build() -> Scenario:
        scopes = list[trio.CancelScope]()

        async def run() -> None:
            servers = EchoServers()
            async with trio.open_nursery() as nursery, running(servers, concurrency=4) as outbound:
                nursery.start_soon(servers.run)
                others = list[Transport]()
                if has_company:
                    others.append(await open_stream(outbound))
                    await exchange(others[0])
                with trio.CancelScope() as scope:
                    scopes.append(scope)
                    await use(outbound)
                scopes.clear()
                await check_carriers(outbound, servers, others)
                for stream in others:
                    await stream.abort()
                nursery.cancel_scope.cancel()

        def cancel() -> None:
            for scope in scopes:
                scope.cancel()

        return Scenario(run=run, check=scopes.clear, interrupt=cancel)

    with check_no_cycles():
        assert sweep_cancellations(build) > least


@uses
def test_a_carrier_that_is_reset_leaves_nothing_and_is_replaced(use: Use, least: int) -> None:
    def build() -> Scenario:
        events = list[trio.Event]()

        async def run() -> None:
            servers = EchoServers()
            events.append(trio.Event())

            async def reset() -> None:
                for end in servers.ends:
                    await end.transport.abort()

            async def reset_when_told() -> None:
                await events[0].wait()
                await reset()

            async with trio.open_nursery() as nursery, running(servers, concurrency=4) as outbound:
                nursery.start_soon(servers.run)
                nursery.start_soon(reset_when_told)
                with suppress_broken():
                    await use(outbound)
                events.clear()
                # There may have been no carrier yet when it was told.
                await reset()
                await wait_all_tasks_blocked()
                servers.ends.clear()
                await check_carriers(outbound, servers, ())
                assert len(servers.ends) == 1
                nursery.cancel_scope.cancel()

        def interrupt() -> None:
            for event in events:
                event.set()

        return Scenario(run=run, check=events.clear, interrupt=interrupt)

    with check_no_cycles():
        assert sweep_cancellations(build) > least


@contextmanager
def suppress_broken() -> Iterator[None]:
    """Let pass that a carrier was reset, alone or in a group."""
    try:
        yield
    except* trio.BrokenResourceError:
        pass


@uses
def test_an_outbound_that_is_cancelled_leaves_nothing_open(use: Use, least: int) -> None:
    def build() -> Scenario:
        transports = list[TrackedTransport]()

        async def run() -> None:
            servers = EchoServers()
            servers.transports = transports
            async with trio.open_nursery() as nursery, running(servers, concurrency=4) as outbound:
                nursery.start_soon(servers.run)
                await use(outbound)
                nursery.cancel_scope.cancel()

        def check() -> None:
            assert all(transport.closed for transport in transports)

        return Scenario(run=run, check=check)

    with check_no_cycles():
        assert sweep_cancellations(build) > least
