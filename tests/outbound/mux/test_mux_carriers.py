"""How many carriers there are, when new ones are opened, and when they end."""

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.outbound.mux.servers import WEB, Servers, open_stream, running
from trio_vmess.core import Destination
from trio_vmess.errors import DialError, DialFailure
from trio_vmess.outbound.mux.carrier import IDLE_LIMIT, OPENED_COUNT_MAX


async def test_no_carrier_has_more_than_the_concurrency() -> None:
    servers = Servers()
    async with running(servers, concurrency=3) as outbound:
        streams = [await open_stream(outbound) for _ in range(7)]
        assert outbound.carrier_count == 3
        await streams[0].abort()
        await open_stream(outbound)
        await open_stream(outbound)
        assert outbound.carrier_count == 3
        await open_stream(outbound)
        await open_stream(outbound)
        assert outbound.carrier_count == 4


async def test_those_that_come_at_once_wait_for_as_few_carriers() -> None:
    servers = Servers()
    servers.may_answer = trio.Event()
    async with running(servers, concurrency=4) as outbound, trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(open_stream, outbound)
        await wait_all_tasks_blocked()
        assert servers.dial_count == 3
        servers.may_answer.set()
        await wait_all_tasks_blocked()
        assert servers.dial_count == outbound.carrier_count == 3


async def test_a_dial_that_fails_fails_all_who_wait_for_it_and_no_other() -> None:
    servers = Servers()
    servers.may_answer = trio.Event()
    servers.failure = DialError("nobody there", reason=DialFailure.PARENT_PROXY)

    async def fail() -> None:
        with pytest.raises(DialError, match="nobody there"):
            await open_stream(outbound)

    async with running(servers) as outbound:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(fail)
            await wait_all_tasks_blocked()
            servers.may_answer.set()
        assert servers.dial_count == 1
        servers.failure = None
        await open_stream(outbound)
        assert outbound.carrier_count == 1


async def test_one_who_gives_up_waiting_leaves_the_carrier_to_others() -> None:
    servers = Servers()
    servers.may_answer = trio.Event()
    async with running(servers, concurrency=1) as outbound:
        with trio.move_on_after(0):
            await open_stream(outbound)
        servers.may_answer.set()
        await open_stream(outbound)
        assert servers.dial_count == 1


async def test_a_carrier_opens_no_more_than_its_share() -> None:
    servers = Servers()
    async with running(servers) as outbound:
        for _ in range(OPENED_COUNT_MAX):
            await (await open_stream(outbound)).aclose()
        assert servers.dial_count == 1
        await open_stream(outbound)
        assert servers.dial_count == 2


async def test_an_idle_carrier_ends_with_an_end(autojump_clock: MockClock) -> None:
    servers = Servers()
    async with running(servers) as outbound:
        used, unused = [await open_stream(outbound) for _ in range(2)]
        await used.send_all(b"x")
        await unused.aclose()
        server = await servers.next()
        await server.receive()
        await trio.sleep(2 * IDLE_LIMIT)
        assert outbound.carrier_count == 1
        await used.aclose()
        await server.receive()
        assert await server.receive() is None
        assert 2.8 * IDLE_LIMIT < trio.current_time() < 3.5 * IDLE_LIMIT
        await wait_all_tasks_blocked()
        assert outbound.carrier_count == 0


@pytest.mark.parametrize("how", ["closed", "reset", "nonsense"])
async def test_a_carrier_that_ends_fails_what_it_carries(how: str) -> None:
    servers = Servers()
    async with running(servers) as outbound:
        opened, unopened = await open_stream(outbound), await open_stream(outbound)
        await opened.send_all(b"x")
        server = await servers.next()
        await server.receive()
        if how == "nonsense":
            await server.transport.send_all(b"\0\0\0\0")
        elif how == "closed":
            await server.transport.send_eof()
        else:
            await server.transport.abort()
        for stream in (opened, unopened):
            with pytest.raises(trio.BrokenResourceError, match="carrier has ended"):
                await stream.receive_into(memoryview(bytearray(9)))
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b"x")
        await wait_all_tasks_blocked()
        assert outbound.carrier_count == 0
        await open_stream(outbound)
        assert servers.dial_count == 2


async def test_a_name_that_frames_cannot_carry_is_refused() -> None:
    servers = Servers()
    flow = attrs.evolve(WEB, destination=Destination(host="a" * 300, port=80))
    async with running(servers) as outbound:
        with pytest.raises(DialError) as caught:
            await outbound.connect(flow)
        assert caught.value.reason is DialFailure.UNSUPPORTED
        assert servers.dial_count == 0


async def test_an_outbound_that_does_not_run_says_so() -> None:
    servers = Servers()
    async with running(servers) as outbound:
        pass
    with pytest.raises(RuntimeError, match="do not run"):
        await outbound.connect(WEB)
