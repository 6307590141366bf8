"""The clocks of a node: what time it is, and what time it cannot be before.

VMess authenticates by the wall clock, which people and programs set: forward by an hour and back,
or once and for good. A second clock only goes forward, at the same speed, also while the machine
sleeps. Comparing the two shows each step of the first.

Requests are judged by the wall clock, whatever it says: who sets it right wants that to count at
once. They are forgotten by the settled time, which follows a step forward only when the other clock
has gone through everything that could still be replayed if the step were taken back.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

log: Final = logging.getLogger("trio_vmess.node.clock")

STEP_MIN: Final = 2.0
"""Seconds between two looks at the clocks by which they may come apart without a notice."""


def utc_seconds() -> int:
    """Return the time that VMess authenticates by."""
    return int(time.time())


def _steady_seconds() -> float:
    """Return a clock that never steps, and goes on while the machine sleeps where it can."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class SettledClock:
    """UTC seconds that a step of the wall clock does not move at once.

    Args:
        hold: seconds for which a step is not followed: at least as long as requests are remembered.
        wall: UTC seconds, which may step.
        steady: seconds from any beginning, which do not.
    """

    def __init__(
        self,
        hold: float,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = _steady_seconds,
    ) -> None:
        self._hold = hold
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()
        self._settled_offset = self._offset
        self._hold_until = -float("inf")

    def now(self) -> int:
        """Return UTC seconds: those of the wall clock, or earlier ones for a while after a step.

        Logs a step once.
        """
        steady = self._steady()
        offset = self._wall() - steady
        step = offset - self._offset
        self._offset = offset
        if abs(step) >= STEP_MIN:
            log.warning("clock.jumped seconds=%+.0f", step)
            self._hold_until = steady + self._hold
        elif steady < self._hold_until:
            # Clocks that are corrected bit by bit come apart slowly.
            self._settled_offset += step
        if steady >= self._hold_until:
            self._settled_offset = offset
        self._settled_offset = min(self._settled_offset, offset)
        return int(steady + self._settled_offset)
