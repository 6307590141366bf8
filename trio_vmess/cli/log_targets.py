"""Where the lines of a log end up: a descriptor that is there already, or a file that may rotate.

Targets write bytes and may block for as long as the system likes. They belong to the thread of one
`LogWriter`; nobody else calls them.
"""

import contextlib
import os
import time
from collections.abc import Callable
from typing import Final, Protocol

_WATCH_INTERVAL: Final = 1.0
"""Seconds between two looks whether a file is still the one that its path names."""

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_MODE: Final = 0o666


class Target(Protocol):
    """Takes the bytes of whole lines."""

    def write(self, data: bytes) -> None:
        """Write everything.

        Raises:
            OSError: it cannot be written; a part of it may have been.
        """
        ...

    def reopen(self) -> None:
        """Begin anew, where a file was renamed or removed.

        Raises:
            OSError: it cannot be opened again; what was open stays open.
        """
        ...

    def close(self) -> None:
        """Give back what was opened."""
        ...


class DescriptorTarget:
    """A descriptor that others have opened, such as standard output; it is never closed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        """See `Target.write`."""
        write_all(self._descriptor, data)

    def reopen(self) -> None:
        """Do nothing: whoever opened it may reopen it."""

    def close(self) -> None:
        """Do nothing: it is not ours."""


class FileTarget:
    """A file that lines are appended to, under its path: also after it was renamed or removed.

    Args:
        path: is created if need be.
        clock: seconds that only go forward.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._next_look = 0.0
        self._descriptor = -1
        self._identity: tuple[int, int] | None = None
        self.reopen()

    def write(self, data: bytes) -> None:
        """See `Target.write`."""
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + _WATCH_INTERVAL
            if _identify(self._path) != self._identity:
                # Until it can be made again, the old file is better than none.
                with contextlib.suppress(OSError):
                    self.reopen()
        write_all(self._descriptor, data)

    def reopen(self) -> None:
        """See `Target.reopen`."""
        descriptor = os.open(self._path, _FLAGS, _MODE)
        self.close()
        self._descriptor = descriptor
        found = os.fstat(descriptor)
        self._identity = found.st_dev, found.st_ino

    def close(self) -> None:
        """See `Target.close`."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything to a descriptor, which may block.

    Raises:
        OSError: it cannot be written; a part of it may have been.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _identify(path: str) -> tuple[int, int] | None:
    """Return what tells a file from one that takes its place; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
