"""Whether the process may open the files that another connection needs.

A connection needs two: its own socket, and that of the outbound, which is opened later. If the last
descriptors went to accepted sockets, the connections behind them could not be dialled, and those
that live could not open anything more. So a connection is accepted only while both fit under a
ceiling below the limit; the others wait in the kernel's queue until some have ended.

The limit is the process's; connections are counted for all listeners of one Trio run. What else is
open, such as the sockets of datagrams, shows in the number of an accepted socket: the system always
gives the lowest one that is free.
"""

import os
import sys
from typing import Final

import trio

_CEILING: Final = 0.95
"""The part of the limit that connections may use up."""

_FILES_PER_CONNECTION: Final = 2


class DescriptorBudget:
    """The descriptors that are open or will be needed.

    Args:
        limit: how many the process may open; None for no limit.
        in_use: how many were open before there were connections.
    """

    def __init__(self, limit: int | None, *, in_use: int) -> None:
        self._limit = limit
        self._ceiling = sys.maxsize if limit is None else int(limit * _CEILING)
        self._in_use = in_use
        self._connections = 0
        self._is_crowded = False

    def __str__(self) -> str:
        """Say how much of it is used up, for the log."""
        needed = self._in_use + _FILES_PER_CONNECTION * self._connections
        return f"{self._connections} connections, {needed} of {self._limit} files in use"

    def has_room(self, descriptor: int) -> bool:
        """Tell whether another connection may be accepted.

        Args:
            descriptor: an open one, of any kind.
        """
        if not self._connections:
            # Else a process with many other files would never serve anybody.
            return True
        needed = self._in_use + _FILES_PER_CONNECTION * (self._connections + 1)
        if needed > self._ceiling:
            return False
        if self._is_crowded:
            self._is_crowded = _lowest_free(descriptor) >= self._ceiling
        return not self._is_crowded

    def enter(self, descriptor: int) -> None:
        """Count a connection that was accepted as `descriptor`."""
        self._connections += 1
        self._is_crowded = descriptor >= self._ceiling

    def leave(self) -> None:
        """Count a connection no longer."""
        self._connections -= 1


_budget: Final = trio.lowlevel.RunVar[DescriptorBudget]("descriptor budget")


def descriptor_budget(descriptor: int) -> DescriptorBudget:
    """Return the budget of this Trio run.

    Args:
        descriptor: an open one, of any kind.
    """
    try:
        return _budget.get()
    except LookupError:
        limit = file_limit()
        in_use = 0 if limit is None else min(limit, _lowest_free(descriptor))
        budget = DescriptorBudget(limit, in_use=in_use)
        _budget.set(budget)
        return budget


def file_limit() -> int | None:
    """Return how many files the process may open; None for no limit."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _lowest_free(descriptor: int) -> int:
    """Return the number that the next file gets."""
    try:
        copy = os.dup(descriptor)
    except OSError:
        return sys.maxsize
    os.close(copy)
    return copy
