"""A process that runs loads: it reads one JSON line per load, and writes one with the figures."""

import json
import sys
import threading
import time
from typing import Final, Self

from trio_vmess.bench.loads import LOADS, Figures, LoadError, Target
from trio_vmess.bench.processes import BenchError, Child, python_command

OVERRUN_MAX: Final = 60.0
"""Seconds that a load may take beyond its intended duration."""


def run_generator() -> None:
    """Run the loads that standard input names, until it ends."""
    for line in sys.stdin:
        job = json.loads(line)
        load, target = LOADS[job.pop("load")], Target(**job.pop("target"))
        spent = time.process_time()
        try:
            figures = load(target, **job)
        except (LoadError, OSError) as exc:
            answer: dict[str, object] = {"error": f"{type(exc).__name__}: {exc}"}
        else:
            answer = {**figures, "cpu": time.process_time() - spent}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


class LoadGenerator:
    """`run_generator` in a process of its own: a context manager."""

    def __init__(self) -> None:
        self._child = Child("generator", python_command("generator"), has_pipes=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._child.pid

    def run(self, load: str, target: Target, **arguments: float) -> Figures:
        """Run a load to its end.

        Args:
            load: a name in `LOADS`.
            target: where to connect.
            arguments: those of the load.

        Returns:
            What the load returned, and `cpu`: the generator's own CPU seconds.

        Raises:
            BenchError: it failed or did not end; the generator may not be usable any more.
        """
        self.begin(load, target, **arguments)
        return self.finish(arguments.get("seconds", 0.0))

    def begin(self, load: str, target: Target, **arguments: float) -> None:
        """Start a load; `finish` must follow."""
        job = {"load": load, "target": {"origin": target.origin, "proxy": target.proxy}}
        self._child.write_line(json.dumps(job | arguments))

    def finish(self, seconds: float = 0.0) -> Figures:
        """Wait for the load; see `run`.

        Args:
            seconds: its intended duration.
        """
        watch = threading.Timer(seconds + OVERRUN_MAX, self._child.kill)
        watch.start()
        try:
            answer = self._child.read_line()
        finally:
            watch.cancel()
        if not answer:
            raise BenchError("the load generator ended, or was killed because a load took too long")
        figures = json.loads(answer)
        if "error" in figures:
            raise BenchError(str(figures["error"]))
        return {name: float(value) for name, value in figures.items()}
