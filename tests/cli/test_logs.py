"""What a running program writes to standard output: its own lines, and perhaps the access log."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trio_vmess.cli.logs import logging_to
from trio_vmess.config import LogLevel, LogSettings

access = logging.getLogger("trio_vmess.access")


Read = Callable[[], list[str]]


@pytest.fixture
def output(capfd: pytest.CaptureFixture[str]) -> Read:
    """Return what reads the lines on standard output."""
    return lambda: capfd.readouterr().out.splitlines()


def test_lines_keep_their_order_among_those_of_the_access_log(
    output: Read,
) -> None:
    with logging_to(LogSettings(access="", level=LogLevel.NONE)) as logs:
        logs.say("listening: vmess on 127.0.0.1:1 (héllo)")
        access.info("accepted %s", "a")
        logs.say("link:   vmess://100%s")
        access.info("closed %s", "a")
    said, accepted, link, closed = output()
    assert said == "listening: vmess on 127.0.0.1:1 (héllo)"
    assert link == "link:   vmess://100%s"
    # The access log has times, and they have none.
    assert accepted.endswith(" accepted a")
    assert closed.endswith(" closed a")
    assert len(accepted) > len("accepted a") + 19


@pytest.mark.parametrize("destination", ["none", "file"])
def test_lines_are_written_to_the_end_where_the_access_log_goes_elsewhere(
    destination: str, tmp_path: Path, output: Read
) -> None:
    log = "none" if destination == "none" else str(tmp_path / "access.log")
    with logging_to(LogSettings(access=log, level=LogLevel.NONE)) as logs:
        access.info("accepted %s", "a")
        for number in range(1000):
            logs.say(f"line {number}")
    assert output() == [f"line {number}" for number in range(1000)]


def test_a_program_that_ends_by_an_error_has_shown_its_lines(
    output: Read,
) -> None:
    def fail() -> None:
        with logging_to(LogSettings(access="none", level=LogLevel.NONE)) as logs:
            logs.say("listening: one of two")
            raise OSError("taken")

    with pytest.raises(OSError, match="taken"):
        fail()
    assert output() == ["listening: one of two"]


def test_a_program_without_standard_output_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with logging_to(LogSettings(access="", level=LogLevel.NONE)) as logs:
        logs.say("into the void")
    assert logs.output is None
