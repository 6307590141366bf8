"""Refused connections: how fast they are read, and how many of them are held."""

import pytest
import trio
from trio.testing import MockClock

from tests.kit.remote_ends import memory_pair
from tests.kit.scripted_remote import TrackedTransport
from trio_vmess.contracts import Transport
from trio_vmess.inbound.refused import (
    FREE_SIZE,
    READ_PAUSE,
    READ_SIZE,
    RECEIVE_BUFFER_SIZE,
    RefusedConnections,
    SlowReader,
    source_key,
)

BUFFER = memoryview(bytearray(64 * 1024))


class CountingTransport(TrackedTransport):
    """A transport that remembers when how much was read, and what the kernel was asked for."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self.reads: list[tuple[float, int]] = []
        self.limit: int | None = 0

    def limit_receive_buffer(self, size: int | None, /) -> None:
        self.limit = size

    async def receive_into(self, buffer: memoryview, /) -> int:
        size = await super().receive_into(buffer)
        self.reads.append((trio.current_time(), size))
        return size


def pair() -> tuple[CountingTransport, Transport]:
    ours, theirs = memory_pair()
    return CountingTransport(ours), theirs


async def test_the_first_bytes_are_read_at_once_and_the_rest_slowly(
    autojump_clock: MockClock,
) -> None:
    transport, peer = pair()
    await peer.send_all(bytes(FREE_SIZE + 10 * READ_SIZE))
    await peer.send_eof()
    await RefusedConnections().hold(SlowReader(transport), "192.0.2.1:5000", BUFFER)
    assert sum(size for _, size in transport.reads) == FREE_SIZE + 10 * READ_SIZE
    assert sum(size for at, size in transport.reads if at == 0) <= FREE_SIZE + READ_SIZE
    # The pause comes after a read that was too much; the end is seen when its turn comes.
    assert trio.current_time() == pytest.approx(10 * READ_PAUSE)
    assert transport.limit == RECEIVE_BUFFER_SIZE


async def test_a_change_of_hands_gives_no_free_bytes_and_takes_no_time(
    autojump_clock: MockClock,
) -> None:
    transport, peer = pair()
    await peer.send_all(bytes(FREE_SIZE + 10 * READ_SIZE))
    await peer.send_eof()
    reader = SlowReader(transport)
    for _ in range(3):
        with trio.move_on_after(0.6):
            while await reader.receive_into(BUFFER):
                pass
    await RefusedConnections().hold(reader, "192.0.2.1:5000", BUFFER)
    assert sum(size for at, size in transport.reads if at == 0) <= FREE_SIZE + READ_SIZE
    assert trio.current_time() == pytest.approx(10 * READ_PAUSE)


async def test_an_end_behind_few_bytes_is_seen_at_once(autojump_clock: MockClock) -> None:
    """A prober that sends less than any header has cannot tell refusals by their delay."""
    refused = RefusedConnections()
    transport, peer = pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refused.hold, SlowReader(transport), "192.0.2.1:5000", BUFFER)
        for _ in range(4):
            await peer.send_all(bytes(4000))
            await trio.sleep(0.01)
        await peer.send_eof()
        await trio.testing.wait_all_tasks_blocked()
        assert len(refused) == 0
        assert trio.current_time() == pytest.approx(0.04)


async def test_a_source_holds_so_many_and_its_oldest_goes(autojump_clock: MockClock) -> None:
    refused = RefusedConnections(held_max=100, held_per_source_max=3)
    ended: list[int] = []

    async def hold(number: int, source: str) -> None:
        transport, _ = pair()
        await refused.hold(SlowReader(transport), source, BUFFER)
        ended.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(hold, number, f"192.0.2.1:{number}")
            await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(hold, 5, "192.0.2.2:1")
        await trio.testing.wait_all_tasks_blocked()
        assert ended == [0, 1]
        assert len(refused) == 4
        nursery.cancel_scope.cancel()
    assert len(refused) == 0
    assert not refused._by_source


async def test_beyond_the_number_in_all_the_oldest_goes(autojump_clock: MockClock) -> None:
    refused = RefusedConnections(held_max=3, held_per_source_max=2)
    ended: list[int] = []

    async def hold(number: int) -> None:
        transport, _ = pair()
        await refused.hold(SlowReader(transport), f"192.0.2.{number}:1", BUFFER)
        ended.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(hold, number)
            await trio.testing.wait_all_tasks_blocked()
        assert ended == [0, 1, 2]
        assert len(refused) == 3
        nursery.cancel_scope.cancel()
    assert not refused._by_source


async def test_a_deadline_or_a_reset_gives_the_place_back(autojump_clock: MockClock) -> None:
    refused = RefusedConnections()
    transport, peer = pair()
    with trio.move_on_after(3) as deadline:
        await refused.hold(SlowReader(transport), "192.0.2.1:5000", BUFFER)
    assert deadline.cancelled_caught
    assert len(refused) == 0

    class Reset(CountingTransport):
        async def receive_into(self, buffer: memoryview, /) -> int:
            raise trio.BrokenResourceError

    with pytest.raises(trio.BrokenResourceError):
        await refused.hold(SlowReader(Reset(peer)), "192.0.2.1:5000", BUFFER)
    assert len(refused) == 0


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ("192.0.2.1:5000", "192.0.2.1"),
        ("[2001:db8:1:2:3:4:5:6]:5000", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::9]:1", "2001:db8:1:2::/64"),
        ("", ""),
    ],
)
def test_a_source_is_an_address_or_a_network(source: str, key: str) -> None:
    assert source_key(source) == key
