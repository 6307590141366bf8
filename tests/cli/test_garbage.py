"""When everything is searched for cycles."""

import gc

import attrs
import pytest
import trio
from trio.testing import MockClock

from trio_vmess.cli.garbage import (
    CHECK_INTERVAL,
    GROWTH_SIZE,
    INTERVAL_MAX,
    THRESHOLDS,
    CollectionWatch,
    rare_collection,
    resident_size,
)

MEGABYTE = 1024 * 1024


@attrs.define
class Memory:
    """Memory that grows and shrinks as the test says."""

    size: int
    garbage: int = 0
    searches: list[float] = attrs.field(factory=list)

    def measure(self) -> int:
        return self.size

    def collect(self) -> int:
        self.searches.append(trio.current_time())
        self.size -= self.garbage
        self.garbage = 0
        return 1


async def start(nursery: trio.Nursery, memory: Memory) -> None:
    await nursery.start(CollectionWatch(measure=memory.measure, collect=memory.collect).run)


async def test_memory_that_has_grown_is_searched_once(autojump_clock: MockClock) -> None:
    memory = Memory(40 * MEGABYTE)
    async with trio.open_nursery() as nursery:
        await start(nursery, memory)
        memory.size += GROWTH_SIZE
        await trio.sleep(CHECK_INTERVAL + 1)
        assert memory.searches == []
        memory.size += MEGABYTE
        memory.garbage = 17 * MEGABYTE
        await trio.sleep(CHECK_INTERVAL)
        assert memory.searches == [2 * CHECK_INTERVAL]
        assert memory.size == 40 * MEGABYTE
        # What honest connections need is searched when it comes, and not again.
        memory.size = 400 * MEGABYTE
        await trio.sleep(10 * CHECK_INTERVAL)
        assert len(memory.searches) == 2
        # A large node grows by more before it is searched again.
        memory.size = 490 * MEGABYTE
        await trio.sleep(10 * CHECK_INTERVAL)
        assert len(memory.searches) == 2
        memory.size = 510 * MEGABYTE
        await trio.sleep(10 * CHECK_INTERVAL)
        assert len(memory.searches) == 3
        nursery.cancel_scope.cancel()


async def test_after_a_long_time_everything_is_searched(autojump_clock: MockClock) -> None:
    memory = Memory(0)
    async with trio.open_nursery() as nursery:
        await start(nursery, memory)
        await trio.sleep(2 * INTERVAL_MAX + 2 * CHECK_INTERVAL)
        assert memory.searches == [INTERVAL_MAX, 2 * INTERVAL_MAX]
        nursery.cancel_scope.cancel()


def test_cycles_are_searched_rarely_while_nodes_run() -> None:
    before = gc.get_threshold()
    with rare_collection():
        assert gc.get_threshold() == THRESHOLDS
        assert gc.get_freeze_count() > 0
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_the_size_of_this_process_is_measured() -> None:
    assert resident_size() > 10 * MEGABYTE


@pytest.mark.parametrize(("full_searches", "generation"), [(0, 1), (1, 2)])
def test_everything_is_searched_after_a_large_start_only(
    full_searches: int, generation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[int] = []
    stats = [{"collections": 90}, {"collections": 8}, {"collections": full_searches}]
    monkeypatch.setattr(gc, "get_stats", lambda: stats)
    monkeypatch.setattr(gc, "collect", searched.append)
    with rare_collection():
        assert searched == [generation]
