"""What a sub-connection may cost the others of its carrier, and the node."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.inbound.mux.ends import (
    DNS,
    Destinations,
    Served,
    carried,
    lockstep_pair,
    make_inbound,
)
from tests.kit.remote_ends import memory_pair
from trio_vmess.contracts import Transport
from trio_vmess.core.mux import End, Keep
from trio_vmess.transport.layer import TransportLayer
from trio_vmess.transport.mux import (
    ANSWER_SIZE_MAX,
    BUSY_TURN_SIZE,
    CARRIER_READ_SIZE,
    CARRIER_UNREAD_SIZE_MAX,
    STALL_LIMIT,
    UNREAD_SIZE_MAX,
    MuxStream,
)

READ_SIZE = 512 * 1024


def unread(*sub_connections: Served) -> int:
    transports = [served.transport for served in sub_connections]
    return sum(each.unread_size for each in transports if isinstance(each, MuxStream))


async def test_one_that_takes_nothing_is_ended_and_the_others_go_on(
    autojump_clock: MockClock,
) -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        stalled_number = await client.open()
        stalled = await dispatch.next()
        number = await client.open()
        served = await dispatch.next()
        await client.send(stalled_number, bytes(4 * UNREAD_SIZE_MAX))
        await client.send(number, b"keystroke")
        await wait_all_tasks_blocked()
        assert UNREAD_SIZE_MAX < unread(stalled) <= UNREAD_SIZE_MAX + READ_SIZE
        assert await served.receive() == b"keystroke"
        assert STALL_LIMIT <= trio.current_time() < STALL_LIMIT + 1
        assert await client.receive() == End(stalled_number, is_error=True)
        assert unread(stalled) == 0
        with pytest.raises(trio.BrokenResourceError, match="took nothing"):
            await stalled.receive()
        stalled.let_go()
        served.let_go()


async def test_a_slow_one_is_not_ended(autojump_clock: MockClock) -> None:
    """It holds up the carrier, as nothing else can, but takes a little now and then."""
    dispatch, size = Destinations(), 3 * UNREAD_SIZE_MAX
    async with carried(make_inbound(dispatch)) as client:
        number = await client.open()
        served, received = await dispatch.next(), 0
        await client.send(number, bytes(size))
        while received < size:
            await trio.sleep(STALL_LIMIT - 1)
            received += len(await served.receive())
        assert client.mux.is_open(number)
        served.let_go()


async def test_many_that_take_nothing_cost_no_more_than_the_carriers_bound(
    autojump_clock: MockClock,
) -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        numbers = [await client.open() for _ in range(100)]
        sub_connections = [await dispatch.next() for _ in numbers]
        for number in numbers:
            await client.send(number, bytes(64 * 1024))
        last = await client.open(data=b"keystroke")
        await wait_all_tasks_blocked()
        assert unread(*sub_connections) <= CARRIER_UNREAD_SIZE_MAX + READ_SIZE
        served = await dispatch.next()
        assert await served.receive() == b"keystroke"
        assert trio.current_time() < STALL_LIMIT + 1
        assert unread(*sub_connections) <= CARRIER_UNREAD_SIZE_MAX + READ_SIZE
        assert client.mux.is_open(last)
        for each in [*sub_connections, served]:
            each.let_go()


async def test_a_keystroke_waits_for_one_turn_of_a_transfer() -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch), pair=lockstep_pair) as client:
        bulk = await client.open()
        bulky = await dispatch.next()
        keys = await client.open()
        typed = await dispatch.next()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bulky.transport.send_all, bytes(READ_SIZE))
            await wait_all_tasks_blocked()
            for _ in range(4):  # what was queued while nothing was under way
                assert await client.receive() == Keep(bulk, bytes(BUSY_TURN_SIZE))
            await wait_all_tasks_blocked()
            nursery.start_soon(typed.transport.send_all, b"k")
            await wait_all_tasks_blocked()
            turns = 0
            while await client.receive() != Keep(keys, b"k"):
                turns += 1
            assert turns <= 3  # under way, queued, and the one whose turn it was
            nursery.cancel_scope.cancel()
        bulky.let_go()
        typed.let_go()


async def test_a_carrier_is_read_in_pieces_so_that_others_of_the_node_run_between_them() -> None:
    dispatch, asked = Destinations(), set[int]()

    class Watched(TransportLayer):
        async def receive_into(self, buffer: memoryview, /) -> int:
            asked.add(len(buffer))
            return await super().receive_into(buffer)

    def watched_pair() -> tuple[Transport, Transport]:
        local, remote = memory_pair()
        return local, Watched(remote)

    async with carried(make_inbound(dispatch), pair=watched_pair) as client:
        number = await client.open()
        served = await dispatch.next()
        await client.send(number, bytes(READ_SIZE))
        await wait_all_tasks_blocked()
        assert unread(served) == READ_SIZE
        assert asked == {CARRIER_READ_SIZE}
        served.let_go()


async def test_transfers_take_turns() -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch), pair=lockstep_pair) as client:
        numbers = [await client.open() for _ in range(3)]
        sub_connections = [await dispatch.next() for _ in numbers]
        async with trio.open_nursery() as nursery:
            for served in sub_connections:
                nursery.start_soon(served.transport.send_all, bytes(READ_SIZE))
            frames = [await client.receive() for _ in range(60)]
            nursery.cancel_scope.cancel()
        counts = [
            sum(isinstance(frame, Keep) and frame.session_id == number for frame in frames)
            for number in numbers
        ]
        assert max(counts) - min(counts) <= 5
        for served in sub_connections:
            served.let_go()


async def test_a_client_that_takes_no_answers_is_not_read_from() -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch), pair=lockstep_pair) as client:
        sent = 0
        with trio.move_on_after(20):
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def ask_for_answers() -> None:
                    nonlocal sent
                    while True:
                        for session_id in range(2000):
                            client.mux._queued += b"\0\4" + session_id.to_bytes(2) + b"\2\0"
                        sent += client.mux.queued_size
                        await client.flush()

                await wait_all_tasks_blocked()
                assert ANSWER_SIZE_MAX <= sent < 4 * ANSWER_SIZE_MAX
                nursery.cancel_scope.cancel()


async def test_answers_by_udp_that_nobody_takes_are_dropped() -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch), pair=lockstep_pair) as client:
        await client.open(DNS, data=b"query")
        served = await dispatch.next()
        dropped = await served.datagrams.send([bytes(1000)] * 1000)
        assert 600 < dropped < 900
        served.let_go()


async def test_a_relay_reads_little_ahead_for_a_sub_connection() -> None:
    """Else 100 downloads that wait for their turn would hold 50 MiB."""
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        await client.open()
        served = await dispatch.next()
        assert served.side is not None
        assert served.side.turn_size == 64 * 1024
        served.let_go()
