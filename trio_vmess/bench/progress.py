"""One line on a terminal's standard error that tells what is measured; nothing elsewhere."""

import sys
from typing import Final

from trio_vmess.bench.workloads import Workload

_WIDTH: Final = 60


class ProgressLine:
    """A line that is written over and over."""

    def __init__(self) -> None:
        self._number = 0
        self._total = 0
        self._is_shown = sys.stderr.isatty()

    def show(self, what: str, total: int) -> None:
        """Count a measurement, and name it.

        Args:
            what: is being measured.
            total: how many measurements there are.
        """
        self._number += 1
        self._total = total
        self.prepare(what)

    def prepare(self, what: str) -> None:
        """Name what is done before a measurement, which does not count."""
        count = f"[{self._number}/{self._total}] " if self._total else ""
        self._write(f"{count}{what}"[:_WIDTH].ljust(_WIDTH))

    def clear(self) -> None:
        """Make room for the results."""
        self._write(" " * _WIDTH + "\r")

    def begin(self, workload: Workload, name: str, total: int) -> None:
        """Show which contender is measured; see `running.Progress`."""
        self.show(f"{workload.name}: {name}", total)

    def end(self, workload: Workload, name: str, outcome: str) -> None:
        """Show nothing: what was measured is in the table."""

    def _write(self, text: str) -> None:
        if self._is_shown:
            sys.stderr.write("\r" + text)
            sys.stderr.flush()
