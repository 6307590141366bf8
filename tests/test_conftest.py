"""The suite's own way to run coroutine tests: it runs them, and it lets them fail."""

from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
import trio
import trio.testing

from tests.kit.ports import free_port

ROOT = Path(__file__).parent.parent
LEFT_OUT = ("cacheprovider", "randomly", "xdist")

INNER_TESTS = """
import sys
import hypothesis
import hypothesis.strategies as st
import pytest
import trio
from tests.kit.peer_process import run_peer

async def test_fails():
    assert [1] == [2]

async def test_fails_inside_nurseries():
    async with trio.open_nursery(), trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        raise LookupError("the leaf")

async def test_skips_inside_a_nursery():
    async with trio.open_nursery():
        pytest.skip("not today")

@pytest.mark.limit(0.05)
async def test_hangs():
    await trio.sleep_forever()

async def test_waits_for_nothing(autojump_clock):
    await trio.sleep_forever()

@hypothesis.given(st.integers())
async def test_finds_a_counterexample(number):
    await trio.lowlevel.checkpoint()
    assert number < 100

async def test_fails_with_a_peer():
    program = (
        "import socket; print('log of the peer', flush=True);"
        "s = socket.create_server(('127.0.0.1', PORT));"
        "s.accept(); s.accept()"
    )
    async with run_peer("some peer", [sys.executable, "-c", program], {}, "127.0.0.1", PORT, {}):
        pytest.fail("on purpose")
"""


async def test_coroutine_tests_run_under_trio() -> None:
    assert trio.current_time() > 0
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("number", [1, 2])
async def test_parameters_and_fixtures_arrive(number: int, tmp_path: Path) -> None:
    assert number in (1, 2)
    assert await trio.Path(tmp_path).is_dir()


async def test_autojump_clock_drives_the_run(autojump_clock: trio.testing.MockClock) -> None:
    started = trio.current_time()
    await trio.sleep(3600)
    assert trio.current_time() - started == 3600


async def test_mock_clock_stands_still(mock_clock: trio.testing.MockClock) -> None:
    started = trio.current_time()
    await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() == started
    mock_clock.jump(5)
    assert trio.current_time() == started + 5


class TestMethods:
    async def test_methods_run_too(self) -> None:
        assert await trio.to_thread.run_sync(lambda: 1) == 1

    @hypothesis.given(number=st.integers())
    async def test_examples_run_in_methods(self, number: int) -> None:
        await trio.lowlevel.checkpoint()
        assert isinstance(number, int)


def test_a_failing_test_fails(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a file of broken tests under the same conftest, in a pytest within this one."""
    pytester.makepyfile(test_broken=INNER_TESTS.replace("PORT", str(free_port())))
    # What the outer run was told is not for this one, but its profile is for both.
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setenv("HYPOTHESIS_PROFILE", hypothesis.settings.get_current_profile_name())
    plugins = [word for name in LEFT_OUT for word in ("-p", f"no:{name}")]
    result = pytester.runpytest_inprocess(
        *("-p", "tests.conftest", *plugins, "-q", "-rA"),
        *("-c", str(ROOT / "pyproject.toml"), "--rootdir", str(pytester.path)),
        str(pytester.path),
    )
    output = result.stdout.str()
    assert result.ret == pytest.ExitCode.TESTS_FAILED, output
    assert "6 failed, 1 skipped" in output
    assert "LookupError: the leaf" in output
    assert "number=100" in output
    assert "Captured log of some peer call" in output
    assert "log of the peer" in output
    assert output.count("TooSlowError") >= 2
