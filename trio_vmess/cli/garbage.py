"""Python's garbage collector in a process that does nothing but run nodes.

Connections leave no reference cycles, nor do errors, and searching for cycles takes 4 % of the CPU
of a new connection. So a search is rare. It is not left out: a cycle that somebody overlooked must
not fill the memory. When memory has grown, or much time has passed, everything is searched.
"""

import contextlib
import gc
import logging
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

import attrs
import trio

log: Final = logging.getLogger("trio_vmess.cli.garbage")

THRESHOLDS: Final = (10_000, 20, 50)
"""Allocations before a search of the youngest objects, and searches before one of older ones."""

CHECK_INTERVAL: Final = 5.0
"""Seconds between two looks at the memory; one look takes some microseconds."""

GROWTH_FACTOR: Final = 1.25
GROWTH_SIZE: Final = 16 * 1024 * 1024
"""Everything is searched when memory has grown by both since the last time."""

INTERVAL_MAX: Final = 1800.0
"""Seconds after which everything is searched in any case: it takes 1 ms for each 10 000 objects."""

_STATM: Final = Path("/proc/self/statm")


@contextlib.contextmanager
def rare_collection() -> Generator[None]:
    """Search rarely for cycles, and never among what exists already, until the context ends."""
    before = gc.get_threshold()
    _collect_after_start()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _collect_after_start() -> None:
    """Free the cycles that the start has left: once frozen, they are never found.

    A search through everything takes 15 to 20 ms, a fourteenth of a start, and finds a few hundred
    objects. It is worth that after a large configuration, where the collector has come to search
    everything by itself: there is more to find.
    """
    oldest = gc.get_stats()[-1]
    gc.collect(2 if oldest["collections"] else 1)


def resident_size() -> int:
    """Return the bytes of memory that the process has; 0 where the system does not tell.

    Source:
        proc(5), /proc/pid/statm: the second field is the resident set, in pages.
    """
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


@attrs.define(eq=False, kw_only=True)
class CollectionWatch:
    """Searches everything for cycles when memory or time says so.

    Attributes:
        measure: returns the bytes of memory in use.
        collect: searches, and returns how many objects were unreachable.
    """

    measure: Callable[[], int] = resident_size
    collect: Callable[[], int] = gc.collect
    _size: int = attrs.field(default=0, init=False)
    _last: float = attrs.field(default=0.0, init=False)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch until cancelled."""
        self._size, self._last = self.measure(), trio.current_time()
        task_status.started()
        while True:
            await trio.sleep(CHECK_INTERVAL)
            if self._is_due():
                self._search()

    def _is_due(self) -> bool:
        if trio.current_time() >= self._last + INTERVAL_MAX:
            return True
        size = self.measure()
        return size > self._size * GROWTH_FACTOR and size > self._size + GROWTH_SIZE

    def _search(self) -> None:
        before, began = self.measure(), time.perf_counter()
        found = self.collect()
        seconds = time.perf_counter() - began
        # Memory that is still in use now is no reason to search again.
        self._size, self._last = self.measure(), trio.current_time()
        log.debug(
            "garbage.collected objects=%d before=%d after=%d seconds=%.3f",
            found,
            before,
            self._size,
            seconds,
        )
