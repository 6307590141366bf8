"""Whether the process may open the files that another connection needs.

A connection needs two: its own socket, and that of the outbound, which is opened later. If the last
descriptors went to accepted sockets, the connections behind them could not be dialled, and those
that live could not open anything more. So a connection is accepted only while both fit under a
ceiling below the limit; the others wait in the kernel's queue until some have ended.

A sub-connection of a carrier needs one more, and cannot wait: nobody may hold up the others of its
carrier. It is refused, and at a lower ceiling: one client's sub-connections must not keep everybody
else from connecting.

The limit is the process's; connections are counted for all listeners of one Trio run. What else is
open, such as the sockets of datagrams, shows in the number of an accepted socket: the system always
gives the lowest one that is free.
"""

import logging
import math
import socket
import sys
from typing import Final

import trio

_CEILING: Final = 0.95
"""The part of the limit that connections may use up."""

_SUB_CEILING: Final = 0.8
"""The same for sub-connections, together with the connections that there are."""

_FILES_PER_CONNECTION: Final = 2

SHORTAGE_END: Final = 60.0
"""Seconds without a shortage after which the next one is reported again."""

log: Final = logging.getLogger("trio_vmess.listen")


class DescriptorBudget:
    """The descriptors that are open or will be needed.

    Args:
        limit: how many the process may open; None for no limit.
        in_use: how many were open before there were connections.
    """

    def __init__(self, limit: int | None, *, in_use: int) -> None:
        self._limit = limit
        self._ceiling = sys.maxsize if limit is None else int(limit * _CEILING)
        self._sub_ceiling = sys.maxsize if limit is None else int(limit * _SUB_CEILING)
        self._in_use = in_use
        self._connections = 0
        self._sub_connections = 0
        self._is_crowded = False

    def __str__(self) -> str:
        """Say how much of it is used up, for the log."""
        subs = f" and {self._sub_connections} sub-connections" if self._sub_connections else ""
        files = f"{self._needed} of {self._limit} files in use"
        return f"{self._connections} connections{subs}, {files}"

    @property
    def _needed(self) -> int:
        files = _FILES_PER_CONNECTION * self._connections + self._sub_connections
        return self._in_use + files

    def has_room(self) -> bool:
        """Tell whether another connection may be accepted."""
        if not self._connections:
            # Else a process with many other files would never serve anybody.
            return True
        if self._needed + _FILES_PER_CONNECTION > self._ceiling:
            return False
        if self._is_crowded:
            self._is_crowded = _lowest_free() >= self._ceiling
        return not self._is_crowded

    def enter(self, descriptor: int) -> None:
        """Count a connection that was accepted as `descriptor`."""
        self._connections += 1
        self._is_crowded = descriptor >= self._ceiling

    def leave(self) -> None:
        """Count a connection no longer."""
        self._connections -= 1

    def enter_sub(self) -> bool:
        """Count a sub-connection; return False, and count none, if there is no room for it."""
        # As with connections, one is always let in.
        is_free = self._limit is None or not self._sub_connections
        if is_free or (self._needed < self._sub_ceiling and _lowest_free() < self._sub_ceiling):
            self._sub_connections += 1
            return True
        return False

    def leave_sub(self) -> None:
        """Count a sub-connection no longer."""
        self._sub_connections -= 1


class Shortage:
    """Whether a shortage is a new one; while it goes on, it is not worth another line."""

    def __init__(self) -> None:
        self._last = -math.inf

    def note(self) -> bool:
        """Note that there is one now; return whether there was none for `SHORTAGE_END`."""
        # What ends makes room for some of what waits: the shortage goes on meanwhile.
        now = trio.current_time()
        is_new = now - self._last >= SHORTAGE_END
        self._last = now
        return is_new


class SubConnectionFiles:
    """The files of sub-connections, in the budget of the Trio run that uses it."""

    def __init__(self) -> None:
        self._shortage = Shortage()

    def take(self) -> bool:
        """Count the file of one more; return False, and log it, if it has to be refused."""
        budget = descriptor_budget()
        has_room = budget.enter_sub()
        if not has_room and self._shortage.note():
            log.warning(
                "listen.refused reason=%r hint=%r",
                str(budget),
                "new sub-connections of carriers are refused until others end; raise the limit of "
                "open files (ulimit -n)",
            )
        return has_room

    def give_back(self) -> None:
        """Count the file of one that has ended no longer."""
        descriptor_budget().leave_sub()


_budget: Final = trio.lowlevel.RunVar[DescriptorBudget]("descriptor budget")


def descriptor_budget() -> DescriptorBudget:
    """Return the budget of this Trio run."""
    try:
        return _budget.get()
    except LookupError:
        limit = file_limit()
        in_use = 0 if limit is None else min(limit, _lowest_free())
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


def _lowest_free() -> int:
    """Return the number that the next file gets."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            return probe.fileno()
    except OSError:
        return sys.maxsize
