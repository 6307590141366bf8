"""A log handler that never waits, whatever its target does."""

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trio_vmess.cli import log_writer
from trio_vmess.cli.log_targets import DescriptorTarget, FileTarget
from trio_vmess.cli.log_writer import QUEUE_MAX, LogWriter
from trio_vmess.cli.repeats import FIRST_OF_SOURCE, RepeatLimiter

Attach = Callable[[LogWriter], logging.Logger]


class ListTarget:
    """Keeps what is written; fails or hangs if it is told to."""

    def __init__(self) -> None:
        self.data = b""
        self.error: OSError | None = None
        self.may_write = threading.Event()
        self.may_write.set()
        self.attempts = 0

    def write(self, data: bytes) -> None:
        self.attempts += 1
        self.may_write.wait(10)
        if self.error is not None:
            # As a disk that becomes full in the middle of a line.
            self.data += data[:3]
            raise self.error
        self.data += data

    def reopen(self) -> None:
        """See `Target.reopen`."""

    def close(self) -> None:
        """See `Target.close`."""

    @property
    def lines(self) -> list[str]:
        return self.data.decode().splitlines()


@pytest.fixture
def attach() -> Iterator[Attach]:
    logger = logging.Logger("test")  # noqa: LOG001  (with no handlers but this test's)

    def attach(writer: LogWriter) -> logging.Logger:
        writer.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(writer)
        return logger

    yield attach
    for each in list(logger.handlers):
        logger.removeHandler(each)
        each.close()


def ignore(_reason: str) -> None:
    pass


def wait_for(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_lines_arrive_in_order_and_all_of_them_at_the_end(attach: Attach) -> None:
    target = ListTarget()
    log = attach(LogWriter("x", target, report_failure=ignore))
    for number in range(1000):
        log.info("line %d", number)
    log.handlers[0].close()
    assert target.lines == [f"line {number}" for number in range(1000)]


def test_a_line_is_written_soon_though_no_other_follows(attach: Attach) -> None:
    target = ListTarget()
    log = attach(LogWriter("x", target, report_failure=ignore))
    log.info("alone")
    wait_for(lambda: target.lines == ["alone"])
    log.info("again")
    wait_for(lambda: target.lines == ["alone", "again"])


def test_a_target_that_hangs_costs_lines_and_their_count_follows(attach: Attach) -> None:
    target = ListTarget()
    target.may_write.clear()
    log = attach(LogWriter("x", target, report_failure=ignore))
    log.info("first")
    wait_for(lambda: target.attempts == 1)
    line = "x" * 1023
    for _ in range(3000):
        log.info(line)
    fitting = QUEUE_MAX // len(line)
    target.may_write.set()
    wait_for(lambda: len(target.lines) == fitting + 2)
    assert target.lines[0] == "first"
    assert target.lines[-1] == (
        f"log.dropped count={3000 - fitting} reason='lines came faster than they could be written'"
    )


def test_closing_does_not_wait_for_a_target_that_hangs(
    attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_writer, "CLOSE_LIMIT", 0.1)
    reader, pipe = os.pipe()
    log = attach(LogWriter("x", DescriptorTarget(pipe), report_failure=ignore))
    log.info("x" * 500_000)
    begin = time.monotonic()
    log.handlers[0].close()
    assert time.monotonic() - begin < 2
    # The thread ends when there is no reader any more, and nobody can have the number before.
    os.close(reader)
    wait_for(lambda: all(each.name != "x log" for each in threading.enumerate()))
    os.close(pipe)


def test_failures_are_told_once_and_counted_when_they_are_over(
    attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_writer, "RETRY_PAUSE", 0.05)
    target, told = ListTarget(), list[str]()
    target.error = OSError(errno.ENOSPC, "No space left on device")
    log = attach(LogWriter("x", target, report_failure=told.append))
    for number in range(3):
        log.info("lost %d", number)
        time.sleep(0.15)
    assert target.attempts == 3
    assert told == ["No space left on device"]
    target.error = None
    log.info("written")
    wait_for(lambda: target.lines[-1:] == ["written"])
    # The torn line ends before the next one.
    assert target.lines[-2] == "log.dropped count=3 reason='No space left on device'"
    target.error = OSError(errno.EIO, "Input/output error")
    log.info("lost again")
    wait_for(lambda: len(told) == 2)


def test_a_failing_target_is_left_alone_for_a_moment(attach: Attach) -> None:
    target = ListTarget()
    target.error = OSError(errno.ENOSPC, "No space left on device")
    log = attach(LogWriter("x", target, report_failure=ignore))
    for _ in range(10):
        log.info("lost")
        time.sleep(0.03)
    assert target.attempts == 1


def test_a_summary_comes_without_a_further_line(
    attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_vmess.cli.repeats.WINDOW", 0.1)
    target = ListTarget()
    log = attach(LogWriter("x", target, report_failure=ignore, limiter=RepeatLimiter()))
    for _ in range(20_000):
        log.warning("vmess.refused source=%s reason=%r", "192.0.2.1:5", "unknown user")
    wait_for(lambda: "repeated=" in target.data.decode())
    assert len(target.data) < 5000


def test_what_is_held_back_is_summed_up_at_the_end(attach: Attach) -> None:
    target = ListTarget()
    log = attach(LogWriter("x", target, report_failure=ignore, limiter=RepeatLimiter()))
    for _ in range(20_000):
        log.warning("vmess.refused source=%s reason=%r", "192.0.2.1:5", "unknown user")
    log.handlers[0].close()
    line = "vmess.refused source=192.0.2.1:5 reason='unknown user'"
    assert target.lines == [line] * FIRST_OF_SOURCE + [
        f"{line} repeated={20_000 - FIRST_OF_SOURCE}"
    ]


def test_a_call_with_wrong_arguments_is_a_line_of_its_own(attach: Attach) -> None:
    target = ListTarget()
    log = attach(LogWriter("x", target, report_failure=ignore))
    log.info("%d", "three")
    wait_for(lambda: target.data.endswith(b"\n"))
    assert target.lines[0].startswith("INFO log.bug template='%d' reason=TypeError(")


# Files --------------------------------------------------------------------------------------------


def test_a_renamed_file_gets_a_successor(tmp_path: Path) -> None:
    now = [0.0]
    path = tmp_path / "x.log"
    target = FileTarget(str(path), clock=lambda: now[0])
    target.write(b"one\n")
    path.rename(tmp_path / "x.log.1")
    now[0] = 0.9
    target.write(b"two\n")
    now[0] = 1.1
    target.write(b"three\n")
    target.close()
    assert (tmp_path / "x.log.1").read_text() == "one\ntwo\n"
    assert path.read_text() == "three\n"


def test_a_removed_file_is_made_again_and_one_that_is_there_is_kept(tmp_path: Path) -> None:
    now = [0.0]
    path = tmp_path / "x.log"
    path.write_text("before\n")
    target = FileTarget(str(path), clock=lambda: now[0])
    target.write(b"one\n")
    assert path.read_text() == "before\none\n"
    path.unlink()
    now[0] = 1.1
    target.write(b"two\n")
    target.close()
    assert path.read_text() == "two\n"


def test_a_call_reopens_at_once(tmp_path: Path, attach: Attach) -> None:
    path = tmp_path / "x.log"
    writer = LogWriter("x", FileTarget(str(path)), report_failure=ignore)
    log = attach(writer)
    path.rename(tmp_path / "x.log.1")
    writer.reopen()
    wait_for(path.exists)
    log.info("new")
    wait_for(lambda: path.read_text() == "new\n")


def test_a_folder_that_is_gone_is_reported_and_the_old_file_serves(
    tmp_path: Path, attach: Attach
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    told = list[str]()
    target = FileTarget(str(folder / "x.log"))
    writer = LogWriter("x", target, report_failure=told.append)
    attach(writer)
    folder.rename(tmp_path / "old")
    writer.reopen()
    wait_for(lambda: told == ["No such file or directory"])
    target.write(b"still here\n")
    assert (tmp_path / "old" / "x.log").read_text() == "still here\n"
