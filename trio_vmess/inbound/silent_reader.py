"""One task that reads all refused connections: a stranger costs a socket, not a task.

A task with its coroutines and cancel scopes takes ten kilobytes, and each of its reads a turn in
Trio's loop. Behind thousands of them, Python's allocator keeps the memory of their peak: it returns
a mebibyte when nothing is left in it, and there is always something. So a selector watches the
sockets of all strangers, and this task waits for the selector.

The first bytes of each connection are read at once, what comes behind them at a few reads a second.
"""

import logging
import math
import selectors
from collections import deque
from collections.abc import Callable
from typing import Final

import attrs
import trio

from trio_vmess.transport import SocketTransport

log: Final = logging.getLogger("trio_vmess.inbound.refused")

FREE_SIZE: Final = 16 * 1024
"""Bytes that are read without a pause: more than any request header has, with its padding."""

READ_SIZE: Final = 4096
READ_PAUSE: Final = 0.25
"""Seconds between two reads behind the first bytes."""

RECEIVE_BUFFER_SIZE: Final = 4096
"""Bytes that the kernel is asked to hold; Linux takes twice as many, with its own bookkeeping."""

_TICK: Final = 0.025
"""Seconds: reads that are due within one have one turn of the loop together."""


@attrs.define(eq=False)
class Silenced:
    """A connection that is read in silence.

    Attributes:
        transport: owned by the reader.
        source: where it comes from, for the log.
        deadline: when it is closed, by Trio's clock.
        free: bytes that may still be read without a pause; negative once there are too many.
        is_watched: whether it is read as soon as something arrives.
    """

    transport: SocketTransport
    source: str
    deadline: float
    free: int = attrs.field(default=FREE_SIZE, init=False)
    is_watched: bool = attrs.field(default=False, init=False)


class SilentReader:
    """Reads connections until their peers end them, or their deadlines are over, and closes them.

    Args:
        on_end: called with each connection that has been closed.
    """

    def __init__(self, on_end: Callable[[Silenced], None]) -> None:
        self._on_end = on_end
        self._buffer = memoryview(bytearray(FREE_SIZE + 1))
        self._selector: selectors.BaseSelector | None = None
        self._silenced: set[Silenced] = set()
        # When to read from whom; those who are not in here are watched by the selector.
        self._paced: deque[tuple[float, Silenced]] = deque()
        self._next_deadline = math.inf
        self._pause = trio.CancelScope()

    @property
    def is_running(self) -> bool:
        """Whether connections can be added."""
        return self._selector is not None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read until cancelled, and close what is left; return where the system cannot do this."""
        with selectors.DefaultSelector() as selector:
            descriptor = _descriptor_of(selector)
            if descriptor is None:
                task_status.started()
                return
            self._selector = selector
            task_status.started()
            try:
                while True:
                    with trio.CancelScope(deadline=self._due()) as self._pause:
                        await trio.lowlevel.wait_readable(descriptor)
                    self._take_turn(selector, trio.current_time())
            finally:
                for each in list(self._silenced):
                    self.end(each)
                self._selector = None
                self._paced.clear()

    def add(self, connection: Silenced) -> None:
        """Read a connection from now on; only while it is running."""
        self._silenced.add(connection)
        self._watch(connection)
        if connection.deadline < self._next_deadline:
            self._next_deadline = connection.deadline
            self._pause.deadline = min(self._pause.deadline, connection.deadline)

    def end(self, connection: Silenced) -> None:
        """Close a connection now."""
        self._silenced.discard(connection)
        self._ignore(connection)
        connection.transport.close()
        self._on_end(connection)

    def _due(self) -> float:
        """Return when something has to be done, whoever sends."""
        if not self._paced:
            return self._next_deadline
        return min(self._next_deadline, math.ceil(self._paced[0][0] / _TICK) * _TICK)

    def _take_turn(self, selector: selectors.BaseSelector, now: float) -> None:
        for key, _ in selector.select(0):
            self._read(key.data, now)
        while self._paced and self._paced[0][0] <= now:
            connection = self._paced.popleft()[1]
            if connection in self._silenced:
                self._read(connection, now)
        if now >= self._next_deadline:
            for each in [each for each in self._silenced if each.deadline <= now]:
                self.end(each)
            self._next_deadline = min((each.deadline for each in self._silenced), default=math.inf)

    def _read(self, connection: Silenced, now: float) -> None:
        limit = READ_SIZE if connection.free < 0 else connection.free + 1
        try:
            size = connection.transport.receive_now(self._buffer[:limit])
        except trio.BrokenResourceError:
            log.debug("vmess.reset source=%s", connection.source)
            size = 0
        if size is None:
            self._watch(connection)
        elif not size:
            self.end(connection)
        else:
            connection.free -= size
            if connection.free < 0:
                self._ignore(connection)
                self._paced.append((now + READ_PAUSE, connection))

    def _watch(self, connection: Silenced) -> None:
        if self._selector is None or connection.is_watched:
            return
        try:
            self._selector.register(connection.transport.socket, selectors.EVENT_READ, connection)
        except OSError:
            # The kernel has no memory for it. Nobody else may suffer from that.
            self.end(connection)
        else:
            connection.is_watched = True

    def _ignore(self, connection: Silenced) -> None:
        if self._selector is not None and connection.is_watched:
            self._selector.unregister(connection.transport.socket)
            connection.is_watched = False


def _descriptor_of(selector: selectors.BaseSelector) -> int | None:
    """Return what Trio can wait for; None where a selector has no descriptor (Windows)."""
    number: Callable[[], int] | None = getattr(selector, "fileno", None)
    return None if number is None else number()
