"""One TCP sub-connection of a carrier, as a transport."""

from collections import deque
from typing import Final, Protocol

import trio

from trio_vmess.core import Destination

READ_SIZE: Final = 64 * 1024
"""Bytes that one read takes at most. What it has taken counts as progress, and no longer as waiting
for the reader; with more, a slow reader would look like one that takes nothing."""


class StreamOwner(Protocol):
    """What a stream needs of its carrier."""

    def note_taken(self, stream: "MuxStream", size: int) -> None:
        """Some of what the peer has sent is not waiting any more."""
        ...

    async def send(self, stream: "MuxStream", data: memoryview) -> None:
        """Have bytes queued in fair turns; returns early if the peer has ended the session."""
        ...

    def queue(self, stream: "MuxStream", data: memoryview) -> None:
        """Queue a turn of them."""
        ...

    def end(self, stream: "MuxStream", *, is_error: bool) -> None:
        """Tell the peer that the session has ended."""
        ...

    def forget(self, stream: "MuxStream") -> None:
        """The stream is closed."""
        ...


class MuxStream:
    """A TCP sub-connection: a `Transport`.

    Frames know no half-close: when either end has ended the session, it has for both directions.
    What the peer sent before is still delivered; what we send after it is dropped, and once the
    end has been delivered, sending fails.

    Args:
        owner: the carrier.
        session_id: its number there.
    """

    __slots__ = (
        "_fault",
        "_is_closed",
        "_is_end_read",
        "_is_ended",
        "_owner",
        "_readable",
        "_received",
        "last_taken",
        "session_id",
        "unread_size",
    )

    def __init__(self, owner: StreamOwner, session_id: int) -> None:
        self.session_id = session_id
        self.unread_size = 0
        self.last_taken = trio.current_time()
        """When some of what waits was taken last, or it began to wait, on Trio's clock."""
        self._owner = owner
        self._received: deque[memoryview] = deque()
        self._readable = trio.lowlevel.ParkingLot()
        self._is_ended = False
        self._is_end_read = False
        self._is_closed = False
        self._fault: str | None = None

    @property
    def local(self) -> Destination | None:
        """See `Transport.local`: a sub-connection has no addresses."""
        return None

    @property
    def remote(self) -> Destination | None:
        """See `Transport.remote`."""
        return None

    @property
    def is_reset(self) -> bool:
        """See `Transport.is_reset`: whether the session has failed, or the carrier has ended."""
        return self._fault is not None

    @property
    def is_ended(self) -> bool:
        """Whether either end has ended the session."""
        return self._is_ended

    def limit_receive_buffer(self, size: int | None, /) -> None:
        """See `Transport.limit_receive_buffer`; the carrier's bounds hold anyway."""

    def limit_unsent(self, size: int, /) -> None:
        """See `Transport.limit_unsent`; the carrier has a limit."""

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`."""
        while not self._received:
            self._check()
            if self._is_ended:
                self._is_end_read = True
                return 0
            await self._readable.park()
        size = self._take(buffer[:READ_SIZE])
        self.unread_size -= size
        self.last_taken = trio.current_time()
        self._owner.note_taken(self, size)
        return size

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `Transport.send_all`."""
        if self.wants_output() and len(data):
            await self._owner.send(self, memoryview(data))

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        """See `Transport.send_eof`; this ends both directions."""
        await self.send_all(last)
        if not self._is_ended:
            self._owner.end(self, is_error=False)
            self.receive_end()

    async def aclose(self) -> None:
        """See `Transport.aclose`: a failure to the peer, unless either end has ended it before.

        It never waits.
        """
        await self.abort()

    async def abort(self) -> None:
        """See `Transport.abort`."""
        if self._is_closed:
            return
        if not self._is_ended:
            self._owner.end(self, is_error=True)
        self._is_closed = True
        self._drop_unread()
        self._readable.unpark_all()
        self._owner.forget(self)

    def wants_output(self) -> bool:
        """Tell whether what is sent gets to the peer; False if it is to be dropped.

        Raises:
            trio.ClosedResourceError: we have closed the stream.
            trio.BrokenResourceError: the session has failed, or the peer has ended it.
        """
        self._check()
        if self._is_end_read:
            raise trio.BrokenResourceError("the peer has ended the session")
        return not self._is_ended

    # What the carrier calls

    def queue(self, data: memoryview) -> None:
        """Queue a turn of what is sent."""
        self._owner.queue(self, data)

    def receive(self, data: bytes) -> None:
        """Keep what the peer has sent until it is read."""
        if not data or self._is_closed or self._is_ended:
            return
        if not self._received:
            self.last_taken = trio.current_time()
            self._readable.unpark_all()
        self._received.append(memoryview(data))
        self.unread_size += len(data)

    def receive_end(self) -> None:
        """The session has ended: what was received is still read, and then the end."""
        self._is_ended = True
        self._readable.unpark_all()

    def fail(self, why: str) -> None:
        """The session has failed: nothing is read or sent any more."""
        if self._fault is None:
            self._fault = why
            self._is_ended = True
            self._drop_unread()
            self._readable.unpark_all()

    def _check(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError("the stream is closed")
        if self._fault is not None:
            raise trio.BrokenResourceError(self._fault)

    def _take(self, buffer: memoryview) -> int:
        taken, received = 0, self._received
        while received and taken < len(buffer):
            piece = received[0]
            size = min(len(piece), len(buffer) - taken)
            buffer[taken : taken + size] = piece[:size]
            taken += size
            if size == len(piece):
                received.popleft()
            else:
                received[0] = piece[size:]
        return taken

    def _drop_unread(self) -> None:
        size, self.unread_size = self.unread_size, 0
        self._received.clear()
        if size:
            self._owner.note_taken(self, size)
