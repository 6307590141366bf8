"""Timers: tables are ready before they are needed, and replays go."""

import itertools
from collections.abc import Iterable

import trio
import trio.testing

from trio_vmess.core.vmess import Account, ReplayCache, UserRegistry
from trio_vmess.node.housekeeping import SLICE, SWEEP_SLICE, Housekeeping

EPOCH = 1_700_000_000


def now() -> int:
    return EPOCH + int(trio.current_time())


class CountingRegistry(UserRegistry):
    """A registry that records how it was prepared."""

    def __init__(self, accounts: Iterable[Account] = ()) -> None:
        super().__init__(accounts)
        self.answers: list[bool] = []

    def prepare(self, now: int, *, budget: int) -> bool:
        assert budget == SLICE
        self.answers.append(super().prepare(now, budget=budget))
        return self.answers[-1]


def is_ready(registry: UserRegistry) -> bool:
    return UserRegistry.prepare(registry, now(), budget=0)


def legacy_account(number: int, count: int) -> Account:
    return Account(user_id=number.to_bytes(16, "big"), alter_id_count=count)


class Registries:
    """What is in use now."""

    def __init__(
        self, registries: Iterable[UserRegistry] = (), replays: Iterable[ReplayCache] = ()
    ) -> None:
        self.registries = list(registries)
        self.replays = list(replays)

    async def keep(self, task_status: trio.TaskStatus[None]) -> None:
        housekeeping = Housekeeping(
            registries=lambda: iter(self.registries),
            replays=lambda: iter(self.replays),
            now=now,
            settled=now,
        )
        await housekeeping.run(task_status=task_status)


async def test_without_registries_nothing_happens(autojump_clock: trio.testing.MockClock) -> None:
    tables = Registries([UserRegistry(), UserRegistry([Account(user_id=bytes(16))])])
    async with trio.open_nursery() as nursery:
        await nursery.start(tables.keep)
        await trio.sleep(100.0)
        nursery.cancel_scope.cancel()


async def test_every_second_is_ready_before_it_comes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    registry = CountingRegistry([legacy_account(1, 4)])
    tables = Registries([registry])
    async with trio.open_nursery() as nursery:
        await nursery.start(tables.keep)
        await trio.sleep(0.5)
        for _ in range(300):
            assert is_ready(registry)
            await trio.sleep(1.0)
        nursery.cancel_scope.cancel()
    # One look a second, and each did all there was to do.
    assert 300 <= len(registry.answers) <= 303
    assert all(registry.answers)


async def test_a_large_table_is_built_in_slices(
    autojump_clock: trio.testing.MockClock,
) -> None:
    # 1000 ids are 245 000 HMACs: 60 slices; the nearest minute takes 15 of them.
    registry = CountingRegistry([legacy_account(number, 249) for number in range(4)])
    tables = Registries([registry])
    steps: list[int] = []

    async def other_task() -> None:
        while True:
            steps.append(len(registry.answers))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other_task)
        await nursery.start(tables.keep)
        # Nobody waits until it is built: a node listens meanwhile.
        assert not any(registry.answers)
        while not (registry.answers and registry.answers[-1]):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert len(registry.answers) == 60
    # The other task had a turn after each slice: before or after the next one, as Trio likes.
    assert all(after - before <= 2 for before, after in itertools.pairwise(steps))


async def test_many_small_tables_are_built_one_at_a_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    registries = [CountingRegistry([legacy_account(number, 9)]) for number in range(20)]
    tables = Registries(registries)
    steps: list[int] = []

    async def other_task() -> None:
        while True:
            steps.append(sum(len(each.answers) for each in registries))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other_task)
        await nursery.start(tables.keep)
        while not all(is_ready(each) for each in registries):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert all(after - before <= 2 for before, after in itertools.pairwise(steps))


async def test_registries_may_be_added_and_removed(autojump_clock: trio.testing.MockClock) -> None:
    first = CountingRegistry([legacy_account(1, 2)])
    second = CountingRegistry([legacy_account(2, 2)])
    tables = Registries([first])
    async with trio.open_nursery() as nursery:
        await nursery.start(tables.keep)
        await trio.sleep(2.5)
        tables.registries[:] = [second]
        await trio.sleep(1.0)
        seen = len(first.answers)
        assert is_ready(second)
        await trio.sleep(10.0)
        assert len(first.answers) == seen
        nursery.cancel_scope.cancel()


async def test_a_user_who_is_added_is_prepared(autojump_clock: trio.testing.MockClock) -> None:
    registry = UserRegistry()
    tables = Registries([registry])
    async with trio.open_nursery() as nursery:
        await nursery.start(tables.keep)
        await trio.sleep(5.5)
        registry.add(legacy_account(9, 3))
        assert not is_ready(registry)
        await trio.sleep(1.0)
        assert is_ready(registry)
        nursery.cancel_scope.cancel()


async def test_expired_replay_entries_are_removed(autojump_clock: trio.testing.MockClock) -> None:
    replay = ReplayCache(window=120)
    tables = Registries(replays=[replay])
    async with trio.open_nursery() as nursery:
        await nursery.start(tables.keep)
        for number in range(5 * SWEEP_SLICE):
            key = number.to_bytes(16, "big")
            assert replay.admit(key=key, session=key, timestamp=now(), now=now())
        await trio.sleep(240.0)
        assert len(replay) == 5 * SWEEP_SLICE
        await trio.sleep(2.0)
        assert len(replay) == 0
        nursery.cancel_scope.cancel()


async def test_replays_are_forgotten_by_the_settled_clock(
    autojump_clock: trio.testing.MockClock,
) -> None:
    replay = ReplayCache(window=120)
    housekeeping = Housekeeping(
        registries=list, replays=lambda: [replay], now=lambda: now() + 500, settled=now
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(housekeeping.run)
        assert replay.admit(key=b"k" * 16, session=b"s", timestamp=now(), now=now())
        await trio.sleep(240.0)
        assert len(replay) == 1
        await trio.sleep(2.0)
        assert len(replay) == 0
        nursery.cancel_scope.cancel()
