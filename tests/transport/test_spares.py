"""Spare connections: when they are opened, taken, closed; and that nobody gets a dead one."""

import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.kit.cancel_sweep import Scenario, sweep_cancellations
from tests.kit.scripted_remote import TrackedTransport
from tests.kit.sockets import reset, tcp_pair
from trio_vmess.contracts import Transport
from trio_vmess.core import Host
from trio_vmess.errors import DialError, DialFailure, RemoteProtocolError
from trio_vmess.transport import SocketTransport, StreamTransport
from trio_vmess.transport.spares import SpareConnections

HOST: Final = "server.example"
PORT: Final = 443
KEEP: Final = 3.0


@attrs.define(eq=False)
class Servers:
    """What is dialled.

    Attributes:
        failure: what the next dials raise; None for success.
        delay: seconds that a dial takes.
        dialled: host and port of all dials, in order.
        clients: our ends of the connections, in order.
        streams: their other ends.
    """

    failure: Exception | None = None
    delay: float = 0.0
    dialled: list[tuple[Host, int]] = attrs.Factory(list)
    clients: list[TrackedTransport] = attrs.Factory(list)
    streams: list[trio.abc.HalfCloseableStream] = attrs.Factory(list)

    async def connect(self, host: Host, port: int) -> Transport:
        self.dialled.append((host, port))
        await trio.sleep(self.delay)
        if self.failure is not None:
            raise self.failure
        ours, theirs = memory_stream_pair()
        client = TrackedTransport(StreamTransport(ours))
        self.clients.append(client)
        self.streams.append(theirs)
        return client

    @property
    def open_count(self) -> int:
        return sum(not each.closed for each in self.clients)


@asynccontextmanager
async def running(
    servers: Servers, *, count: int = 2, keep: float = KEEP
) -> AsyncIterator[SpareConnections]:
    spares = SpareConnections(servers.connect, count=count, keep=keep, tag="proxy")
    async with trio.open_nursery() as nursery:
        await nursery.start(spares.run)
        yield spares
        nursery.cancel_scope.cancel()


async def check_works(servers: Servers, transport: Transport) -> None:
    """Require that bytes go both ways, and nothing was lost while nobody asked."""
    stream = servers.streams[servers.clients.index(transport)]  # type: ignore[arg-type]
    await transport.send_all(b"request")
    assert await stream.receive_some() == b"request"
    await stream.send_all(b"answer")
    buffer = memoryview(bytearray(100))
    assert bytes(buffer[: await transport.receive_into(buffer)]) == b"answer"


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name.endswith("spares")]


# Opening and taking -----------------------------------------------------------------------------


async def test_nothing_is_dialled_before_somebody_asks(autojump_clock: MockClock) -> None:
    servers = Servers()
    async with running(servers):
        await trio.sleep(3600)
    assert servers.dialled == []


async def test_the_first_one_dials_and_the_next_takes_a_spare() -> None:
    servers = Servers()
    async with running(servers) as spares:
        first = await spares.connect(HOST, PORT)
        assert first is servers.clients[0]
        await wait_all_tasks_blocked()
        assert (len(servers.dialled), spares.ready_count) == (3, 2)
        servers.failure = DialError("nobody there", reason=DialFailure.REFUSED)
        for expected in servers.clients[1:]:
            taken = await spares.connect(HOST, PORT)
            assert taken is expected
            await check_works(servers, taken)
        assert spares.ready_count == 0
        await check_works(servers, first)


async def test_one_that_is_taken_is_replaced() -> None:
    servers = Servers()
    async with running(servers, count=1) as spares:
        for number in range(5):
            await spares.connect(HOST, PORT)
            await wait_all_tasks_blocked()
            assert (len(servers.dialled), spares.ready_count) == (number + 2, 1)


async def test_there_are_never_more_than_the_bound(autojump_clock: MockClock) -> None:
    servers = Servers(delay=1.0)
    async with running(servers, count=3) as spares, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(spares.connect, HOST, PORT)
        await trio.sleep(1.5)
        # All have dialled themselves; three more are on their way.
        assert len(servers.dialled) == 23
        await trio.sleep(1)
        assert spares.ready_count == 3
        for _ in range(20):
            nursery.start_soon(spares.connect, HOST, PORT)
        await wait_all_tasks_blocked()
        assert spares.ready_count == 0
        assert len(servers.dialled) == 23 + 17 + 3


async def test_every_server_has_its_own() -> None:
    servers = Servers()
    async with running(servers, count=1) as spares:
        for port in (1, 2):
            await spares.connect(HOST, port)
            await wait_all_tasks_blocked()
        assert servers.dialled == [(HOST, 1), (HOST, 1), (HOST, 2), (HOST, 2)]
        assert await spares.connect(HOST, 2) is servers.clients[3]
        assert await spares.connect(HOST, 1) is servers.clients[1]


async def test_without_the_service_everybody_dials() -> None:
    servers = Servers()
    spares = SpareConnections(servers.connect, count=2, keep=KEEP)
    for _ in range(3):
        await spares.connect(HOST, PORT)
    assert len(servers.dialled) == 3


async def test_two_who_ask_at_once_get_different_ones() -> None:
    servers = Servers()
    found: list[Transport] = []

    async def ask() -> None:
        found.append(await spares.connect(HOST, PORT))

    async with running(servers, count=2) as spares:
        await spares.connect(HOST, PORT)
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
        assert len(set(map(id, found))) == 3
        assert {id(each) for each in servers.clients[1:3]} < set(map(id, found))


# Dying ------------------------------------------------------------------------------------------


async def test_unused_ones_are_closed_in_time_and_not_replaced(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="trio_vmess.transport.spares")
    servers = Servers(delay=0.5)
    async with running(servers) as spares:
        await spares.connect(HOST, PORT)
        await trio.sleep(KEEP - 0.1)
        assert spares.ready_count == 2
        # The time begins with the dial: servers may count from then on.
        await trio.sleep(0.2)
        assert (spares.ready_count, servers.open_count) == (0, 1)
        await trio.sleep(3600)
        assert len(servers.dialled) == 3
        assert spares._servers == {}
    assert messages(caplog) == [
        "spare.opened tag=proxy server=server.example:443 ready=1",
        "spare.opened tag=proxy server=server.example:443 ready=2",
        "spare.closed tag=proxy reason='unused' server=server.example:443 ready=0",
        "spare.closed tag=proxy reason='unused' server=server.example:443 ready=0",
    ]


@pytest.mark.parametrize("how", ["closed", "sent something"])
async def test_one_that_the_server_ends_is_closed_at_once(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="trio_vmess.transport.spares")
    servers = Servers()
    async with running(servers, count=1) as spares:
        await spares.connect(HOST, PORT)
        await wait_all_tasks_blocked()
        if how == "closed":
            await servers.streams[1].aclose()
        else:
            await servers.streams[1].send_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        await wait_all_tasks_blocked()
        assert (spares.ready_count, servers.open_count) == (0, 1)
        assert await spares.connect(HOST, PORT) is servers.clients[2]
    assert f"the server has {how}" in messages(caplog)[1]


@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_an_end_that_has_just_arrived_is_noticed_by_who_takes(how: str) -> None:
    """The system knows it, and no task of ours has run since."""
    peers = []

    async def connect(host: Host, port: int) -> Transport:
        ours, theirs = tcp_pair()
        peers.append(theirs)
        return SocketTransport(ours)

    spares = SpareConnections(connect, count=1, keep=KEEP)
    async with trio.open_nursery() as nursery:
        await nursery.start(spares.run)
        for _ in range(20):
            await (await spares.connect(HOST, PORT)).aclose()
            await wait_all_tasks_blocked()
            number = len(peers)
            if how == "closed":
                peers[-1].close()
            else:
                reset(peers[-1])
            assert spares.ready_count == 1
            taken = await spares.connect(HOST, PORT)
            assert len(peers) > number
            await taken.send_all(b"x")
            assert peers[number].recv(9) == b"x"
            await taken.aclose()
            await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_a_damaged_layer_ends_a_spare(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="trio_vmess.transport.spares")

    class Damaged(TrackedTransport):
        async def receive_into(self, buffer: memoryview, /) -> int:
            raise RemoteProtocolError("TLS: bad record mac")

    async def connect(host: Host, port: int) -> Transport:
        return Damaged(StreamTransport(memory_stream_pair()[0]))

    spares = SpareConnections(connect, count=1, keep=KEEP)
    async with trio.open_nursery() as nursery:
        await nursery.start(spares.run)
        await spares.connect(HOST, PORT)
        await wait_all_tasks_blocked()
        assert spares.ready_count == 0
        nursery.cancel_scope.cancel()
    assert "reason='TLS: bad record mac'" in messages(caplog)[-1]


async def test_a_spare_that_cannot_be_opened_harms_nobody(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="trio_vmess.transport.spares")
    servers = Servers(delay=0.1)
    async with running(servers, count=1) as spares:
        await spares.connect(HOST, PORT)
        servers.failure = DialError("nobody there", reason=DialFailure.REFUSED)
        await trio.sleep(1)
        with pytest.raises(DialError, match="nobody there"):
            await spares.connect(HOST, PORT)
        servers.failure, servers.delay = None, KEEP + 1
        await spares.connect(HOST, PORT)
        await trio.sleep(KEEP + 0.1)
        # It takes longer to open than a spare may be old.
        assert (len(servers.dialled), spares.ready_count) == (5, 0)
        servers.delay = 0.1
        await check_works(servers, await spares.connect(HOST, PORT))
    reasons = [line.split("'")[1] for line in messages(caplog) if "closed" in line]
    assert reasons == ["nobody there", "it could not be opened in time"]


async def test_after_a_dial_that_failed_there_are_no_spares() -> None:
    servers = Servers(failure=DialError("nobody there", reason=DialFailure.REFUSED))
    async with running(servers) as spares:
        with pytest.raises(DialError):
            await spares.connect(HOST, PORT)
        await wait_all_tasks_blocked()
        assert len(servers.dialled) == 1
        assert spares._servers == {}


async def test_a_bug_in_a_dial_is_logged_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    servers = Servers()
    async with running(servers, count=1) as spares:
        await spares.connect(HOST, PORT)
        servers.failure = ValueError("a bug")
        await wait_all_tasks_blocked()
        servers.failure = None
        await check_works(servers, await spares.connect(HOST, PORT))
    (record,) = (each for each in caplog.records if each.levelno == logging.ERROR)
    assert record.getMessage() == "spare.bug tag=proxy server=server.example:443"


async def test_spares_of_a_server_outlive_the_end_of_its_earlier_ones() -> None:
    """While one is being closed, the others of its server are not forgotten."""
    closing, may_close = trio.Event(), trio.Event()

    class Slow(TrackedTransport):
        async def aclose(self) -> None:
            closing.set()
            await may_close.wait()
            await super().aclose()

    servers = Servers()

    async def connect(host: Host, port: int) -> Transport:
        transport = await servers.connect(host, port)
        if len(servers.clients) == 2:
            servers.clients[1] = Slow(transport)
            return servers.clients[1]
        return transport

    spares = SpareConnections(connect, count=1, keep=KEEP)
    async with trio.open_nursery() as nursery:
        await nursery.start(spares.run)
        await spares.connect(HOST, PORT)
        await wait_all_tasks_blocked()
        await servers.streams[1].aclose()
        await closing.wait()
        await spares.connect(HOST, PORT)
        await wait_all_tasks_blocked()
        may_close.set()
        await wait_all_tasks_blocked()
        assert spares.ready_count == 1
        assert await spares.connect(HOST, PORT) is servers.clients[3]
        nursery.cancel_scope.cancel()


# Ends of everything -----------------------------------------------------------------------------


async def test_the_end_of_the_service_closes_all_but_the_taken_ones() -> None:
    servers = Servers()
    async with running(servers) as spares:
        await spares.connect(HOST, PORT)
        await wait_all_tasks_blocked()
        await spares.connect(HOST, PORT)
        await wait_all_tasks_blocked()
        assert servers.open_count == 4
    assert [each.closed for each in servers.clients] == [False, False, True, True]
    assert (spares.ready_count, spares._servers) == (0, {})
    await check_works(servers, await spares.connect(HOST, PORT))


async def use(spares: SpareConnections) -> None:
    for _ in range(4):
        transport = await spares.connect(HOST, PORT)
        try:
            await trio.sleep(0.2)
        finally:
            await transport.aclose()


async def cancel_with_me(scope: trio.CancelScope) -> None:
    try:
        await trio.sleep_forever()
    finally:
        scope.cancel()


@pytest.mark.parametrize("who", ["all", "taker", "service"])
def test_a_cancellation_at_any_step_leaves_nothing_open(who: str) -> None:
    def build() -> Scenario:
        servers = Servers(delay=0.1)
        spares = SpareConnections(servers.connect, count=2, keep=KEEP)

        async def run_all() -> None:
            async with trio.open_nursery() as nursery:
                await nursery.start(spares.run)
                await use(spares)
                nursery.cancel_scope.cancel()

        async def run_one() -> None:
            """Have one of the two cancelled; the other one goes on to its own end."""
            taker, service = trio.CancelScope(), trio.CancelScope()

            async def run_service() -> None:
                with service:
                    await spares.run()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_with_me, taker if who == "taker" else service)
                with trio.CancelScope(shield=True):
                    async with trio.open_nursery() as inner:
                        inner.start_soon(run_service)
                        await trio.lowlevel.checkpoint()
                        with taker:
                            await use(spares)
                        service.cancel()
                nursery.cancel_scope.cancel()

        def check() -> None:
            assert servers.open_count == 0

        return Scenario(run=run_all if who == "all" else run_one, check=check)

    assert sweep_cancellations(build) > 10


async def test_spares_leave_no_cycles_behind(autojump_clock: MockClock) -> None:
    servers = Servers()
    count = 50
    async with running(servers, count=2) as spares:
        await spares.connect(HOST, PORT)
        await wait_all_tasks_blocked()
        gc.collect()
        gc.disable()
        try:
            for number in range(count):
                await (await spares.connect(HOST, PORT)).aclose()
                if number % 10 == 0:
                    await trio.sleep(KEEP + 1)
                await wait_all_tasks_blocked()
            assert gc.collect() < count
        finally:
            gc.enable()
