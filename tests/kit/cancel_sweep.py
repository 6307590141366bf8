"""Cancel a scenario at each of its steps: whatever was open must be closed afterwards.

A step is one turn of any task. The first run counts them, and then one run for each step cancels
there, or does something else to a part of it. Trio varies the order of tasks on purpose, so two
sweeps do not visit quite the same points; what is checked has to hold at all of them.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio
import trio.testing

STEP_COUNT_MAX: Final = 1000
"""A scenario with more steps is too long for a test."""


@attrs.define(eq=False, kw_only=True)
class Scenario:
    """One run of what is to be cancelled.

    Attributes:
        run: does it.
        check: asserts that everything is closed.
        interrupt: called at the step, for scenarios that go on afterwards; None cancels everything.
    """

    run: Callable[[], Awaitable[None]]
    check: Callable[[], None]
    interrupt: Callable[[], None] | None = None


class _Cancellation(trio.abc.Instrument):
    """Counts steps, and does something at one of them."""

    def __init__(self, target: int | None) -> None:
        self.count = 0
        self.interrupt: Callable[[], None] | None = None
        self._target = target

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.interrupt is None:
            return
        self.count += 1
        if self.count == self._target:
            self.interrupt()


def sweep_cancellations(
    build: Callable[[], Scenario], *, autojump: bool = True, rate: float = 1.0
) -> int:
    """Run a scenario once whole, and then once for each step with a cancellation there.

    Args:
        build: makes a fresh scenario.
        autojump: use a clock that jumps; False where real sockets take part.
        rate: how fast the clock runs that does not jump.

    Returns:
        How many steps the whole scenario has.

    Raises:
        AssertionError: something stayed open, or the scenario is too long.
    """

    def make_clock() -> trio.abc.Clock:
        if autojump:
            return trio.testing.MockClock(autojump_threshold=0)
        return trio.testing.MockClock(rate=rate)

    count = _run(build(), None, make_clock())
    assert 0 < count <= STEP_COUNT_MAX, f"{count} steps"
    for target in range(1, count + 1):
        _run(build(), target, make_clock())
    return count


def _run(scenario: Scenario, target: int | None, clock: trio.abc.Clock) -> int:
    instrument = _Cancellation(target)

    async def main() -> None:
        with trio.CancelScope() as scope:
            instrument.interrupt = scenario.interrupt or scope.cancel
            await scenario.run()
        instrument.interrupt = None

    trio.run(main, clock=clock, instruments=[instrument])
    scenario.check()
    return instrument.count
