"""Progress of a long comparison."""

import sys
import time

from trio_vmess.bench import Workload


class Lines:
    """One line for each measurement, on standard error."""

    def __init__(self) -> None:
        self._total = 0
        self._number = 0
        self._start = time.perf_counter()

    def prepare(self, what: str) -> None:
        """Show nothing."""

    def begin(self, workload: Workload, name: str, total: int) -> None:
        """Note how many measurements there are."""
        self._total = total

    def end(self, workload: Workload, name: str, outcome: str) -> None:
        """Count a measurement, and print its outcome."""
        self._number += 1
        left = (time.perf_counter() - self._start) / self._number * (self._total - self._number)
        print(
            f"[{self._number:4}/{self._total}] {workload.name:38} {name:11} {outcome:34} "
            f"about {left // 60:.0f}:{left % 60:02.0f} left",
            file=sys.stderr,
            flush=True,
        )
