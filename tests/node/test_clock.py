"""The settled clock: steps of the wall clock, people who take them back, machines that sleep."""

import logging
from collections.abc import Callable

import attrs
import pytest

from trio_vmess.core.vmess import ReplayCache
from trio_vmess.node.clock import STEP_MIN, SettledClock, utc_seconds

NOW = 1_700_000_000
WINDOW = 120
HOLD = 600.0


@attrs.define
class Machine:
    """A machine with two clocks, which look at each other once a second."""

    wall: float = NOW
    steady: float = 1000.0
    clock: SettledClock = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.clock = SettledClock(HOLD, wall=lambda: self.wall, steady=lambda: self.steady)

    def set_clock(self, step: float) -> None:
        self.wall += step

    def run(self, seconds: int, each: Callable[[], object] = lambda: None) -> None:
        for _ in range(seconds):
            self.wall += 1
            self.steady += 1
            self.clock.now()
            each()

    def settled(self) -> int:
        """How far behind the wall clock the settled time is."""
        return int(self.wall) - self.clock.now()


@pytest.fixture
def jumps(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.DEBUG, logger="trio_vmess.node.clock")
    return lambda: [each.getMessage() for each in caplog.records]


def test_clocks_that_agree(jumps: Callable[[], list[str]]) -> None:
    machine = Machine()
    machine.run(1000)
    assert machine.settled() == 0
    assert jumps() == []


@pytest.mark.parametrize("step", [500.0, 3600.0, 86_400.0])
def test_a_step_forward_is_followed_when_nothing_can_be_replayed_any_more(
    step: float, jumps: Callable[[], list[str]]
) -> None:
    machine = Machine()
    machine.set_clock(step)
    machine.run(int(HOLD) - 1)
    assert machine.settled() == step
    machine.run(2)
    assert machine.settled() == 0
    assert jumps() == [f"clock.jumped seconds=+{step:.0f}"]


def test_a_step_back_is_followed_at_once(jumps: Callable[[], list[str]]) -> None:
    machine = Machine()
    machine.set_clock(-500)
    assert machine.settled() == 0
    machine.run(10_000)
    assert machine.settled() == 0
    assert jumps() == ["clock.jumped seconds=-500"]


def test_a_step_that_is_taken_back_moves_nothing(jumps: Callable[[], list[str]]) -> None:
    machine = Machine()
    machine.set_clock(500)
    machine.run(100)
    assert machine.settled() == 500
    machine.set_clock(-500)
    assert machine.settled() == 0
    machine.run(10_000)
    assert machine.settled() == 0
    assert jumps() == ["clock.jumped seconds=+500", "clock.jumped seconds=-500"]


def test_steps_while_a_step_is_held() -> None:
    machine = Machine()
    machine.set_clock(500)
    machine.run(300)
    machine.set_clock(500)
    machine.run(int(HOLD) - 1)
    assert machine.settled() == 1000
    machine.run(2)
    assert machine.settled() == 0


@pytest.mark.parametrize("drift", [0.9, -0.9])
def test_a_clock_that_is_corrected_slowly_is_followed(
    drift: float, jumps: Callable[[], list[str]]
) -> None:
    assert abs(drift) < STEP_MIN
    machine = Machine()
    machine.set_clock(500)
    machine.clock.now()
    machine.run(300, lambda: machine.set_clock(drift))
    # What came bit by bit is no part of the step.
    assert abs(machine.settled() - 500) <= 2
    assert len(jumps()) == 1


def test_a_machine_that_slept_finds_both_clocks_ahead(jumps: Callable[[], list[str]]) -> None:
    machine = Machine()
    machine.wall += 8 * 3600
    machine.steady += 8 * 3600
    assert machine.settled() == 0
    assert jumps() == []


def test_a_steady_clock_that_slept_looks_like_a_step(jumps: Callable[[], list[str]]) -> None:
    machine = Machine()
    machine.wall += 8 * 3600
    assert machine.settled() == 8 * 3600
    machine.run(int(HOLD) + 1)
    assert machine.settled() == 0
    assert jumps() == ["clock.jumped seconds=+28800"]


def test_the_real_clocks() -> None:
    before = utc_seconds()
    now = SettledClock(HOLD).now()
    assert before <= now <= utc_seconds()


# What it is for ----------------------------------------------------------------------------------


def admit(replay: ReplayCache, timestamp: int, now: int) -> bool:
    key = timestamp.to_bytes(16, "big")
    return replay.admit(key=key, session=b"s" + key, timestamp=timestamp, now=now)


@pytest.mark.parametrize("away", [1, 100, 700])
def test_a_clock_that_steps_and_comes_back_reopens_nothing_and_shuts_nobody_out(away: int) -> None:
    machine = Machine()
    replay = ReplayCache(window=WINDOW, history_seconds=0)

    def sweep() -> None:
        replay.sweep(machine.clock.now(), count=10**6)

    machine.run(300, sweep)
    recorded = int(machine.wall)
    assert admit(replay, recorded, recorded)
    machine.set_clock(500)
    machine.run(away, sweep)
    machine.set_clock(-500)
    machine.run(1, sweep)
    now = int(machine.wall)
    assert abs(now - recorded) <= WINDOW or away > WINDOW
    assert not admit(replay, recorded, now)
    # Honest clients, with their own clocks within the window, come in at once.
    for offset in range(-WINDOW, WINDOW + 1):
        if recorded != now + offset:
            assert admit(replay, now + offset, now)


def test_who_came_while_the_clock_was_wrong_is_not_let_in_again_by_a_recording() -> None:
    machine = Machine()
    replay = ReplayCache(window=WINDOW, history_seconds=0)

    def come_and_sweep() -> None:
        assert admit(replay, int(machine.wall), int(machine.wall))
        replay.sweep(machine.clock.now(), count=10**6)

    recorded = NOW + 1
    machine.run(3600, come_and_sweep)
    # The recording is swept, and its time comes again.
    machine.set_clock(-3600)
    assert len(replay) <= 2 * WINDOW + 2
    for timestamp in range(recorded, recorded + 3600):
        assert not admit(replay, timestamp, timestamp)


def test_a_clock_that_was_a_year_ahead_shuts_nobody_out_when_it_is_set_right() -> None:
    machine = Machine()
    replay = ReplayCache(window=WINDOW, history_seconds=0)

    def come_and_sweep() -> None:
        assert admit(replay, int(machine.wall), int(machine.wall))
        replay.sweep(machine.clock.now(), count=10**6)

    machine.run(1000, come_and_sweep)
    machine.set_clock(365 * 86_400)
    machine.run(3600, come_and_sweep)
    machine.set_clock(-365 * 86_400)
    machine.run(1000, come_and_sweep)
