"""Turns: nobody has more than his share, and whoever has the fewest is next."""

import functools
import threading

import hypothesis
import hypothesis.strategies as st
import pytest
import trio
import trio.testing

from trio_vmess.dns import Turns
from trio_vmess.dns.turns import ThreadTurns


class Run:
    """Tasks that take turns and keep them until they are told to give them back."""

    def __init__(self, turns: Turns, nursery: trio.Nursery) -> None:
        self.turns = turns
        self.nursery = nursery
        self.holding: list[str] = []
        self._scopes: dict[str, list[trio.CancelScope]] = {}

    def start(self, *owners: str) -> None:
        for owner in owners:
            scope = trio.CancelScope()
            self._scopes.setdefault(owner, []).append(scope)
            self.nursery.start_soon(self._hold, owner, scope)

    async def _hold(self, owner: str, scope: trio.CancelScope) -> None:
        with scope:
            async with self.turns.turn(owner):
                self.holding.append(owner)
                try:
                    await trio.sleep_forever()
                finally:
                    self.holding.remove(owner)

    async def cancel(self, owner: str) -> None:
        self._scopes[owner].pop(0).cancel()
        await trio.testing.wait_all_tasks_blocked()


async def test_one_owner_waits_for_himself() -> None:
    turns = Turns(2, 100)
    async with trio.open_nursery() as nursery:
        run = Run(turns, nursery)
        run.start("ann", "ann", "ann", "bob")
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(run.holding) == ["ann", "ann", "bob"]
        await run.cancel("bob")
        assert run.holding == ["ann", "ann"]
        await run.cancel("ann")
        assert run.holding == ["ann", "ann"]
        nursery.cancel_scope.cancel()
    assert not turns._taken
    assert not turns._waiting
    assert turns._free == 100


async def test_who_has_the_fewest_is_next() -> None:
    turns = Turns(3, 4)
    async with trio.open_nursery() as nursery:
        run = Run(turns, nursery)
        run.start("ann", "ann", "bob")
        await trio.testing.wait_all_tasks_blocked()
        run.start("dan")
        await trio.testing.wait_all_tasks_blocked()
        run.start("ann")
        await trio.testing.wait_all_tasks_blocked()
        run.start("eve")
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(run.holding) == ["ann", "ann", "bob", "dan"]
        await run.cancel("bob")
        assert sorted(run.holding) == ["ann", "ann", "dan", "eve"]
        nursery.cancel_scope.cancel()


async def test_a_turn_that_comes_with_the_cancellation_is_given_back() -> None:
    turns = Turns(1, 1)
    await turns.take("ann")
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(turns.take, "bob")
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            turns.give_back("ann")
    assert (turns._free, turns._taken, turns._waiting) == (1, {}, {})


@hypothesis.given(
    st.integers(1, 3),
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=20),
)
async def test_limits_hold_and_nothing_is_left(
    of_one: int, of_all: int, steps: list[tuple[str, bool]]
) -> None:
    turns = Turns(of_one, of_all)
    async with trio.open_nursery() as nursery:
        run = Run(turns, nursery)
        for owner, starts in steps:
            if starts:
                run.start(owner)
            elif run._scopes.get(owner):
                run._scopes[owner].pop(0).cancel()
            await trio.testing.wait_all_tasks_blocked()
            asked = {owner: len(scopes) for owner, scopes in run._scopes.items()}
            held = {owner: run.holding.count(owner) for owner in asked}
            assert max(held.values(), default=0) <= of_one
            entitled = sum(min(count, of_one) for count in asked.values())
            # No turn is idle while somebody may have it.
            assert sum(held.values()) == min(of_all, entitled)
        nursery.cancel_scope.cancel()
    assert (turns._free, turns._taken, turns._waiting) == (of_all, {}, {})


async def test_a_thread_keeps_its_turn_when_its_caller_has_given_up() -> None:
    turns = Turns(1, 8)
    released, ended = threading.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    def hang() -> None:
        released.wait(5)

    run = functools.partial(
        trio.to_thread.run_sync,
        abandon_on_cancel=True,
        limiter=ThreadTurns(turns, "ann"),  # type: ignore[arg-type]
    )
    with trio.move_on_after(0.05) as limit:
        await run(hang)
    assert limit.cancelled_caught
    assert turns._taken == {"ann": 1}
    with trio.move_on_after(0.05) as limit:
        await run(lambda: None)
    assert limit.cancelled_caught
    released.set()
    await run(lambda: token.run_sync_soon(ended.set))
    await ended.wait()


@pytest.mark.parametrize("of_all", [1, 4])
async def test_a_turn_ends_with_an_error(of_all: int) -> None:
    turns = Turns(1, of_all)
    with pytest.raises(KeyError):
        async with turns.turn("ann"):
            raise KeyError
    assert turns._free == of_all
