"""How much a relay reads at a time, alone and beside others that exchange little things."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.kit.remote_ends import memory_pair
from tests.relay.running import running
from trio_vmess.contracts import StreamSide
from trio_vmess.core.policy import Policy
from trio_vmess.relay import SharedBuffers
from trio_vmess.relay.buffers import READ_SIZE
from trio_vmess.relay.pace import HOLD, LITTLE_SIZE, SHORT_READ_SIZE
from trio_vmess.transport.layer import TransportLayer

LITTLE = LITTLE_SIZE - 1
POLICY = Policy(connection_idle=1e6, uplink_only=1e6, downlink_only=1e6)


class Source(TransportLayer):
    """What the test has arrive, and how much was asked for; what is sent to it gets lost."""

    def __init__(self) -> None:
        super().__init__(memory_pair()[0])
        self.asked = 0
        self._sizes, self._arrived = trio.open_memory_channel[int](0)

    async def receive_into(self, buffer: memoryview, /) -> int:
        self.asked = len(buffer)
        return await self._arrived.receive()

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        pass

    async def arrive(self, size: int) -> Self:
        """Have the relay read so many bytes, and ask for more."""
        await self._sizes.send(size)
        await wait_all_tasks_blocked()
        return self


@asynccontextmanager
async def relayed(
    buffers: SharedBuffers, *, policy: Policy = POLICY, turn_size: int | None = None
) -> AsyncIterator[tuple[Source, Source]]:
    """Run a relay; yield its client and its remote."""
    client, remote = Source(), Source()
    client_side = StreamSide(transport=client, turn_size=turn_size)
    async with running(client_side, StreamSide(transport=remote), policy=policy, buffers=buffers):
        await wait_all_tasks_blocked()
        yield client, remote


async def type_keys(source: Source, count: int = 2) -> None:
    """Have little things arrive: the first one might be the rest of something."""
    for _ in range(count):
        await source.arrive(LITTLE)


async def test_a_relay_alone_reads_as_much_as_it_may() -> None:
    async with relayed(SharedBuffers()) as (_, download):
        for _ in range(5):
            assert download.asked == READ_SIZE
            await download.arrive(READ_SIZE)


async def test_reads_are_short_beside_keystrokes_and_large_after_them(
    mock_clock: MockClock,
) -> None:
    buffers = SharedBuffers()
    async with relayed(buffers) as (_, download), relayed(buffers) as (keys, _):
        await type_keys(keys)
        assert download.asked == READ_SIZE  # this read had begun
        await download.arrive(READ_SIZE)
        for _ in range(5):
            assert download.asked == SHORT_READ_SIZE
            await download.arrive(SHORT_READ_SIZE)
        mock_clock.jump(HOLD / 2)
        await type_keys(keys)
        await download.arrive(SHORT_READ_SIZE)
        mock_clock.jump(HOLD * 0.9)
        await download.arrive(SHORT_READ_SIZE)
        assert download.asked == SHORT_READ_SIZE  # the second keystroke counted anew
        mock_clock.jump(HOLD)
        await download.arrive(SHORT_READ_SIZE)
        assert download.asked == READ_SIZE


async def test_answers_to_keystrokes_count_like_keystrokes() -> None:
    buffers = SharedBuffers()
    async with relayed(buffers) as (_, download), relayed(buffers) as (_, answers):
        await type_keys(answers)
        assert (await download.arrive(READ_SIZE)).asked == SHORT_READ_SIZE


async def test_what_was_exchanged_before_a_relay_began_does_not_count() -> None:
    buffers = SharedBuffers()
    async with relayed(buffers) as (keys, _):
        await type_keys(keys, 9)
        async with relayed(buffers) as (_, download):
            assert (await download.arrive(READ_SIZE)).asked == READ_SIZE


async def test_a_relays_own_little_reads_do_not_count() -> None:
    async with relayed(SharedBuffers()) as (acknowledgements, download):
        for _ in range(3):
            await type_keys(acknowledgements)
            assert (await download.arrive(READ_SIZE)).asked == READ_SIZE


async def test_anothers_little_reads_count_among_a_relays_own() -> None:
    buffers = SharedBuffers()
    async with (
        relayed(buffers) as (acknowledgements, download),
        relayed(buffers) as (keys, _),
    ):
        await type_keys(acknowledgements)
        await type_keys(keys)
        await type_keys(acknowledgements)
        assert (await download.arrive(READ_SIZE)).asked == SHORT_READ_SIZE


async def test_the_rests_of_large_reads_do_not_count() -> None:
    buffers = SharedBuffers()
    async with relayed(buffers) as (_, first), relayed(buffers) as (_, second):
        for _ in range(5):
            assert (await first.arrive(READ_SIZE)).asked == READ_SIZE
            await first.arrive(LITTLE)
            assert (await second.arrive(LITTLE_SIZE)).asked == READ_SIZE
            await second.arrive(LITTLE)


@pytest.mark.parametrize("kib", [0, 20, 60])
async def test_reads_that_are_short_by_the_policy_stay_as_they_are(kib: int) -> None:
    buffers, policy = SharedBuffers(), Policy(buffer_size=kib * 1024)
    async with (
        relayed(buffers, policy=policy) as (_, download),
        relayed(buffers) as (keys, _),
    ):
        whole = download.asked
        assert whole <= SHORT_READ_SIZE
        await type_keys(keys)
        assert (await download.arrive(whole)).asked == whole


async def test_the_bounds_of_policy_and_side_hold_again_after_keystrokes(
    mock_clock: MockClock,
) -> None:
    buffers, policy = SharedBuffers(), Policy(buffer_size=100_000)
    async with (
        relayed(buffers, policy=policy) as (_, download),
        relayed(buffers, turn_size=64 * 1024) as (_, shared),
        relayed(buffers) as (keys, _),
    ):
        await type_keys(keys)
        assert (await download.arrive(100_000)).asked == SHORT_READ_SIZE
        assert (await shared.arrive(64 * 1024)).asked == SHORT_READ_SIZE
        mock_clock.jump(HOLD)
        assert (await download.arrive(SHORT_READ_SIZE)).asked == 100_000
        assert (await shared.arrive(SHORT_READ_SIZE)).asked == 64 * 1024
