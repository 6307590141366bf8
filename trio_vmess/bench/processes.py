"""Child processes: started, measured through /proc, and ended."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

import attrs

START_LIMIT: Final = 60.0
"""Seconds until a program must listen."""

_POLL_PAUSE: Final = 0.002
_STOP_LIMIT: Final = 5.0
_LOG_TAIL_SIZE: Final = 2000
_PROC: Final = Path("/proc")
_CPUCLOCK_SCHED: Final = 2
"""Of Linux's clock ids, in the lowest bits: all threads of a process, in nanoseconds."""


class BenchError(Exception):
    """A measurement failed; the text says why."""


def python_command(part: str) -> list[str]:
    """Return the command of one of this package's own processes: `origin` or `generator`."""
    return [sys.executable, "-m", "trio_vmess.bench", part]


def own_environment() -> dict[str, str]:
    """Return variables with which `python -m trio_vmess` runs this very package."""
    root = str(Path(__file__).parents[2])
    path = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": root if path is None else os.pathsep.join((root, path))}


class Child:
    """A process; its standard error goes to a file whose end is shown when something fails.

    Args:
        name: for messages.
        command: program and arguments.
        environment: variables in addition to the inherited ones.
        has_pipes: exchange lines with it by standard input and output; otherwise, its output goes
            to the file as well.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        has_pipes: bool = False,
    ) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the process)
        self.started = time.perf_counter()
        with _interrupts_later():
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE if has_pipes else subprocess.DEVNULL,
                    stdout=subprocess.PIPE if has_pipes else self._log,
                    stderr=self._log,
                    env={
                        **os.environ,
                        **(own_environment() if environment is None else environment),
                    },
                    text=True,
                )
            except BaseException:
                self._log.close()
                raise
            _children.add(self)

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def write_line(self, line: str) -> None:
        """Write a line to a process with pipes.

        Raises:
            BenchError: the process has ended.
        """
        pipe = self._process.stdin
        if pipe is None:
            raise ValueError(f"{self.name} has no pipes")
        try:
            pipe.write(line + "\n")
            pipe.flush()
        except OSError:
            raise BenchError(self.explain("ended")) from None

    def read_line(self) -> str:
        """Return the next line of a process with pipes; it is empty if the process has ended."""
        pipe = self._process.stdout
        if pipe is None:
            raise ValueError(f"{self.name} has no pipes")
        return pipe.readline()

    def wait_until_accepting(self, port: int) -> float:
        """Return the seconds from the start of the process until its port accepted a connection.

        Raises:
            BenchError: the process ended, or took longer than `START_LIMIT`.
        """
        while (now := time.perf_counter()) < self.started + START_LIMIT:
            if not self.is_running:
                break
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(_POLL_PAUSE)
            else:
                return now - self.started
        raise BenchError(self.explain(f"does not listen on port {port}"))

    def explain(self, what: str) -> str:
        """Return a message about the process, with the end of its log."""
        if self._log.closed:
            return f"{self.name} {what}"
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _LOG_TAIL_SIZE))
        return f"{self.name} {what}\n{self._log.read().decode(errors='replace')}".rstrip()

    def kill(self) -> None:
        """Kill the process without waiting; `stop` must follow."""
        self._process.kill()

    def stop(self) -> None:
        """Kill the process and wait for its end; does nothing the second time."""
        _children.discard(self)
        self._process.kill()
        self._process.wait(_STOP_LIMIT)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._log.close()


_children: Final[set[Child]] = set()
"""Those that `stop` has not ended yet."""


@contextlib.contextmanager
def ending_children() -> Generator[None]:
    """End all children that are left when the block ends.

    Ctrl-C may come when a process has started, but before whoever wanted it can see to its end.
    """
    try:
        yield
    finally:
        for child in [*_children]:
            child.stop()


@contextlib.contextmanager
def _interrupts_later() -> Generator[None]:
    """Let Ctrl-C wait for the end of the block: inside `Popen`, it would lose the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


# Usage --------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Usage:
    """What a process and its descendants have used.

    Attributes:
        user: CPU seconds outside the kernel.
        system: CPU seconds in the kernel.
        cpu: CPU seconds, both; by the scheduler's clocks, and so finer than the sum of the others.
        memory: resident bytes at present.
    """

    user: float
    system: float
    cpu: float
    memory: float


def usage_of(pid: int) -> Usage | None:
    """Return what a process and its descendants have used; None if there is no /proc."""
    if not (_PROC / "self/stat").exists():
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    page_size = os.sysconf("SC_PAGE_SIZE")
    user = system = memory = 0
    cpu = 0.0
    for number, fields in _family(pid):
        # Fields 14 to 17 of proc(5): utime, stime, and those of children that were waited for.
        own = int(fields[11]) + int(fields[12])
        of_children = int(fields[13]) + int(fields[14])
        user += int(fields[11]) + int(fields[13])
        system += int(fields[12]) + int(fields[14])
        memory += int(fields[21])
        scheduled = _scheduled(number)
        cpu += of_children / ticks + (own / ticks if scheduled is None else scheduled)
    return Usage(
        user=user / ticks, system=system / ticks, cpu=cpu, memory=float(memory * page_size)
    )


def _scheduled(pid: int) -> float | None:
    """Return the seconds that the scheduler has given to a process; None if it does not tell.

    The clock is that of clock_getcpuclockid(3), which Python lacks. It counts what
    /proc/PID/task/*/schedstat counts, in nanoseconds, and the threads that have ended as well.
    """
    try:
        return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return None


def _family(pid: int) -> Iterable[tuple[int, list[str]]]:
    """Yield ids and the fields of /proc/PID/stat from the third on: a process, its descendants."""
    parents: dict[int, int] = {}
    stats: dict[int, list[str]] = {}
    for entry in _PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            text = (entry / "stat").read_text()
        except OSError:  # the process has ended
            continue
        # The name, in parentheses, may contain any character.
        fields = text.rpartition(")")[2].split()
        stats[int(entry.name)] = fields
        parents[int(entry.name)] = int(fields[1])
    for number, fields in stats.items():
        ancestor: int | None = number
        while ancestor is not None and ancestor != pid:
            ancestor = parents.get(ancestor)
        if ancestor == pid:
            yield number, fields
