"""How this suite runs: coroutine tests on Trio, peers' logs in reports, hypothesis profiles.

`pytest` runs everything. `pytest --unit` leaves out what needs the machine to itself, other
programs or real time: the folders in `SYSTEM_FOLDERS`. What is left is the unit suite: no process
of its own, no port that is agreed on, no real second waited for; `-n auto` spreads it over the
processors. Tests run in a random order, whose seed is printed; `--randomly-seed=N` brings an order
back.

A test written as `async def` runs in `trio.run` under a deadline: 10 seconds, or what
`@pytest.mark.limit(seconds)` says. With a fixture that is a `trio.abc.Clock`, that clock drives
the run: `mock_clock` and `autojump_clock` with a virtual deadline, so long that only a test that
waits for nothing at all can meet it, and `fast_clock` and `slow_clock` with the usual one in real
seconds.
Fixtures stay synchronous: what must be awaited is an async context manager in the test's body.

`HYPOTHESIS_PROFILE` chooses how many examples each property gets: `quick`, which --unit implies,
`default` or `deep`. Where CI=true all are derandomised.
"""

import functools
import gc
import inspect
import os
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Final

import hypothesis
import pytest
import trio
import trio.testing

pytest_plugins = ("pytester",)

# Before the import below: the kit's own checks are asserts, too.
pytest.register_assert_rewrite("tests.kit")

from tests.kit.peer_process import take_finished_logs  # noqa: E402

_DEFAULT_LIMIT: Final = 10.0
_VIRTUAL_LIMIT: Final = 1e7
_FAST_RATE: Final = 50.0
_SLOW_RATE: Final = 0.05

SYSTEM_FOLDERS: Final = ("loopback", "interop", "benchmarks")
"""What `--unit` leaves out: whole nodes with real limits, other implementations, measurements."""

_SYSTEM_PATHS: Final = frozenset(Path(__file__).parent / name for name in SYSTEM_FOLDERS)

_IN_CI: Final = os.environ.get("CI", "").lower() == "true"


def _register_profile(name: str, max_examples: int) -> None:
    hypothesis.settings.register_profile(
        name,
        max_examples=max_examples,
        deadline=None,
        derandomize=_IN_CI,
        print_blob=True,
        # A slow machine is no bug in the code under test.
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )


_register_profile("quick", 20)
_register_profile("default", 50)
_register_profile("deep", 5000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--unit",
        action="store_true",
        help=f"run the unit suite alone: all of tests/ but {', '.join(SYSTEM_FOLDERS)}",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "limit(seconds): the deadline of a coroutine test")
    # Not at import: hypothesis' own plugin loads its profile first.
    usual = "quick" if config.getoption("--unit") else "default"
    hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", usual))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if not config.getoption("--unit"):
        return None
    return True if collection_path in _SYSTEM_PATHS else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    # Collecting makes many objects and hardly any garbage. What it has made stays to the end, so
    # a test that looks for garbage need not look through it.
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def _state_of_the_test(  # pyright: ignore[reportUnusedFunction]
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let nodes, those in processes of their own, too, keep their state where it can be lost."""
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))


@pytest.fixture
def mock_clock() -> trio.testing.MockClock:
    """A clock that stands still until the test moves it."""
    return trio.testing.MockClock()


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    """A clock that jumps to the next deadline as soon as every task waits.

    Never use it with real sockets or threads: it cannot see that they are busy.
    """
    return trio.testing.MockClock(autojump_threshold=0)


@pytest.fixture
def fast_clock() -> trio.testing.MockClock:
    """A clock that runs 50 times as fast as real time: for limits on real sockets.

    What the kernel does takes as long as ever, so a limit must stay far above that.
    """
    return trio.testing.MockClock(rate=_FAST_RATE)


@pytest.fixture
def slow_clock() -> trio.testing.MockClock:
    """A clock that takes 20 seconds for one: for pauses on real sockets that must not be made.

    A pause is a fraction of a second, and so may be what a busy machine takes without one.
    """
    return trio.testing.MockClock(rate=_SLOW_RATE)


def _sole_leaf(exc: BaseException) -> BaseException | None:
    """Return the only exception inside nested groups, or None if there are several."""
    while isinstance(exc, BaseExceptionGroup):
        if len(exc.exceptions) != 1:
            return None
        exc = exc.exceptions[0]
    return exc


def _run_on_trio(
    test: Callable[..., Awaitable[None]], clock: trio.abc.Clock | None, limit: float
) -> Callable[..., None]:
    """Return `test` as a plain function."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        async def main() -> None:
            with trio.fail_after(limit):
                await test(*args, **kwargs)

        try:
            trio.run(main, clock=clock)
            return
        except BaseExceptionGroup as group:
            # Nurseries wrap; a lone skip, failure or error is to be reported as itself.
            leaf = _sole_leaf(group)
            if leaf is None:
                raise
        raise leaf

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    if isinstance(item, pytest.Function):
        _prepare(item)
    try:
        yield
    finally:
        for name, log in take_finished_logs():
            item.add_report_section("call", f"log of {name}", log)


def _prepare(item: pytest.Function) -> None:
    """Replace a coroutine test by a function that runs it."""
    by_hypothesis = getattr(item.obj, "hypothesis", None)
    test = item.obj if by_hypothesis is None else by_hypothesis.inner_test
    if not inspect.iscoroutinefunction(test):
        return
    clocks = [value for value in item.funcargs.values() if isinstance(value, trio.abc.Clock)]
    if len(clocks) > 1:
        pytest.fail("a test can have one clock")
    marker = item.get_closest_marker("limit")
    limit = float(marker.args[0]) if marker is not None else _DEFAULT_LIMIT
    if clocks and marker is None:
        (clock,) = clocks
        rate = clock.rate if isinstance(clock, trio.testing.MockClock) else 0.0
        limit = limit * rate or _VIRTUAL_LIMIT
    runner = _run_on_trio(test, clocks[0] if clocks else None, limit)
    if by_hypothesis is None:
        item.obj = runner
    else:
        by_hypothesis.inner_test = runner
