"""One stream as both peers see it: who may still send, how much, and what has not been read yet."""

import collections
from typing import Final

from trio_vmess.core.carriage.http2.headers import Fields, Request, Response

CHUNK_SIZE: Final = 16 * 1024
"""Bytes up to which small payloads are put together: one object for each byte would cost 40 times
what it holds."""


class Stream:
    """The state of one stream; its `Http2Connection` changes it.

    Attributes:
        id: odd, as only clients open streams here.
        request: of the client.
        response: of the server; None until it has come, or was sent.
        trailers: fields behind the peer's body.
        is_local_ended: we have ended our direction.
        is_remote_ended: the peer has ended its direction; what is unread can still be read.
        reset_code: of an RST_STREAM, from either side; None if there was none.
        fault: why we have reset it, if the peer broke the protocol.
        send_window: bytes that the peer takes at present; below 0 if it has reduced its windows.
    """

    __slots__ = (
        *("id", "request", "response", "trailers", "fault", "send_window"),
        *("is_local_ended", "is_remote_ended", "reset_code"),
        *("_chunks", "_grown", "_target", "_target_max", "_unread", "_window", "_window_max"),
    )

    def __init__(
        self, number: int, request: Request, *, send_window: int, window: int, window_max: int
    ) -> None:
        self.id = number
        self.request = request
        self.response: Response | None = None
        self.trailers: Fields = ()
        self.is_local_ended = False
        self.is_remote_ended = False
        self.reset_code: int | None = None
        self.fault: str | None = None
        self.send_window = send_window
        self._chunks: collections.deque[bytearray] = collections.deque()
        self._unread = 0
        self._window = window  # what the peer may still send
        self._target = window  # what it may send, and we may keep unread, together
        self._target_max = self._window_max = window_max
        self._grown = 0

    @property
    def is_closed(self) -> bool:
        """Whether neither side will send anything any more."""
        return self.reset_code is not None or (self.is_local_ended and self.is_remote_ended)

    @property
    def unread_size(self) -> int:
        """Bytes that have come and were not read."""
        return self._unread

    @property
    def grown(self) -> int:
        """Bytes by which the window has grown."""
        return self._grown

    def limit_window(self, size: int | None) -> None:
        """Keep about `size` unread bytes at most from now on; None for as many as at first."""
        self._target_max = self._window_max if size is None else min(self._window_max, size)
        self._target = min(self._target, self._target_max)

    def charge(self, size: int) -> bool:
        """Take bytes that have come from the window; return False if it was too small."""
        self._window -= size
        return self._window >= 0

    def store(self, payload: memoryview) -> None:
        """Keep bytes to be read."""
        chunks = self._chunks
        if chunks and len(chunks[-1]) + len(payload) <= CHUNK_SIZE:
            chunks[-1] += payload
        else:
            chunks.append(bytearray(payload))
        self._unread += len(payload)

    def read_into(self, buffer: memoryview) -> int:
        """Move bytes to the beginning of `buffer`; return how many there were."""
        chunks, filled, room = self._chunks, 0, len(buffer)
        while chunks and filled < room:
            chunk = chunks[0]
            size = len(chunk)
            if size <= room - filled:
                buffer[filled : filled + size] = chunk
                chunks.popleft()
            else:
                size = room - filled
                buffer[filled:] = memoryview(chunk)[:size]
                del chunk[:size]
            filled += size
        self._unread -= filled
        return filled

    def forget_unread(self) -> None:
        """Drop what was not read."""
        self._chunks.clear()
        self._unread = 0

    def take_credit(self, growth_left: int) -> int:
        """Return by how many bytes the peer's window is to be opened now; mostly 0.

        Each quarter of a window is given back. A reader that has nothing left to read then keeps up
        with its peer, and may have a larger window.

        Args:
            growth_left: by how much the window may grow.
        """
        if self.is_remote_ended:
            return 0
        credit = self._target - self._window - self._unread
        if credit < self._target // 4:
            return 0
        if not self._unread:
            growth = min(self._target, self._target_max - self._target, growth_left)
            self._target += growth
            self._grown += growth
            credit += growth
        self._window += credit
        return credit
