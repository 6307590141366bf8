"""Child processes: started, watched through /proc, and ended by their number."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

START_LIMIT: Final = 60.0
"""Seconds that a program may take until it listens."""

_POLL_PAUSE: Final = 0.002
_STOP_LIMIT: Final = 5.0
_LOG_TAIL_SIZE: Final = 2000
_PROC: Final = Path("/proc")


class BenchError(Exception):
    """A measurement could not be made; the text says why."""


def python_command(part: str) -> list[str]:
    """Return the command of one of this package's own processes: `origin` or `generator`."""
    return [sys.executable, "-m", "trio_vmess.bench", part]


def own_environment() -> dict[str, str]:
    """Return an environment in which `python -m trio_vmess` is the package that runs now."""
    place = str(Path(__file__).parents[2])
    path = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": place if path is None else os.pathsep.join((place, path))}


class Child:
    """A process; its errors go to a file, of which the end is shown when something fails.

    Args:
        name: for messages.
        command: program and arguments.
        environment: variables beside the inherited ones.
        talks: whether lines go in and out; without it, its output goes to the file, too.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        talks: bool = False,
    ) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the process)
        self.started = time.perf_counter()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else self._log,
                stderr=self._log,
                env={**os.environ, **(own_environment() if environment is None else environment)},
                text=True,
            )
        except BaseException:
            self._log.close()
            raise

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def say(self, line: str) -> None:
        """Write a line to a process that talks.

        Raises:
            BenchError: it has ended.
        """
        pipe = self._process.stdin
        if pipe is None:
            raise ValueError(f"{self.name} does not talk")
        try:
            pipe.write(line + "\n")
            pipe.flush()
        except OSError:
            raise BenchError(self.explain("ended")) from None

    def hear(self) -> str:
        """Return the next line of a process that talks; it is empty when the process has ended."""
        pipe = self._process.stdout
        if pipe is None:
            raise ValueError(f"{self.name} does not talk")
        return pipe.readline()

    def wait_until_accepting(self, port: int) -> float:
        """Return how many seconds passed from its start until its port accepted.

        Raises:
            BenchError: it ended, or took longer than `START_LIMIT`.
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
        """Return a sentence about it with the end of its log."""
        if self._log.closed:
            return f"{self.name} {what}"
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _LOG_TAIL_SIZE))
        return f"{self.name} {what}\n{self._log.read().decode(errors='replace')}".rstrip()

    def kill(self) -> None:
        """End it without waiting; `stop` must follow."""
        self._process.kill()

    def stop(self) -> None:
        """End it, at once; does nothing the second time."""
        self._process.kill()
        self._process.wait(_STOP_LIMIT)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._log.close()


# What it costs ------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Usage:
    """What a process and all its children have used.

    Attributes:
        user: seconds of CPU outside the kernel.
        system: seconds inside.
        memory: resident bytes now.
    """

    user: float
    system: float
    memory: int

    @property
    def cpu(self) -> float:
        """Seconds of CPU in all."""
        return self.user + self.system


def usage_of(pid: int) -> Usage | None:
    """Return what a process and its children use; None where the system has no /proc."""
    if not (_PROC / "self/stat").exists():
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    page_size = os.sysconf("SC_PAGE_SIZE")
    user = system = memory = 0
    for fields in _family(pid):
        # Fields 14 to 17: user and system time, of itself and of children that it has waited for.
        user += int(fields[11]) + int(fields[13])
        system += int(fields[12]) + int(fields[14])
        memory += int(fields[21])
    return Usage(user=user / ticks, system=system / ticks, memory=memory * page_size)


def _family(pid: int) -> Iterable[list[str]]:
    """Yield the fields of /proc/PID/stat from the third on, of a process and its descendants."""
    parents: dict[int, int] = {}
    stats: dict[int, list[str]] = {}
    for entry in _PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            text = (entry / "stat").read_text()
        except OSError:  # it has ended meanwhile
            continue
        # The name, in parentheses, may have anything in it.
        fields = text.rpartition(")")[2].split()
        stats[int(entry.name)] = fields
        parents[int(entry.name)] = int(fields[1])
    for number, fields in stats.items():
        ancestor: int | None = number
        while ancestor is not None and ancestor != pid:
            ancestor = parents.get(ancestor)
        if ancestor == pid:
            yield fields
