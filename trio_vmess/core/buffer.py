"""Received bytes that are not yet parsed, and the value that means "not enough of them"."""

import enum
from typing import Final, Literal

from trio_vmess.errors import LocalProtocolError, RemoteProtocolError


class NeedData(enum.Enum):
    """The type of `NEED_DATA`: an enum, so that `is` narrows."""

    NEED_DATA = enum.auto()

    def __repr__(self) -> str:
        return "NEED_DATA"


NEED_DATA: Final[Literal[NeedData.NEED_DATA]] = NeedData.NEED_DATA


class ReceiveBuffer:
    """Bytes received and not yet consumed, never more than `limit` of them.

    `peek` looks, `take` consumes. A parser that finds half a message takes nothing, so it can start
    over when more has come.

    Every conversation of the core receives through this buffer, so the end of a stream means the
    same in all of them: `receive_eof()` announces it, and so does `receive_data(b"")`, because that
    is what a read of a socket returns there. The end may be announced again; bytes after it are a
    mistake of the caller.

    Args:
        limit: the most bytes that may wait here.

    Attributes:
        ended: the peer has ended its stream; what waits here is all there will ever be.
    """

    def __init__(self, limit: int) -> None:
        self.ended = False
        self._bytes = bytearray()
        self._limit = limit

    def __len__(self) -> int:
        return len(self._bytes)

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Store `data` behind what is there; no bytes at all are the end, as in `append_eof`.

        Raises:
            RemoteProtocolError: the limit would be passed; nothing was stored.
            LocalProtocolError: the stream has ended before.
        """
        if not len(data):
            self.ended = True
            return
        if self.ended:
            raise LocalProtocolError("the stream has ended: no bytes can follow")
        if len(self._bytes) + len(data) > self._limit:
            raise RemoteProtocolError(
                f"{len(self._bytes) + len(data)} unparsed bytes; the limit is {self._limit}"
            )
        self._bytes += data

    def append_eof(self) -> None:
        """Note that the peer has ended its stream."""
        self.ended = True

    def peek(self, size: int | None = None) -> bytes:
        """Return the first `size` bytes (fewer where there are fewer; all for None)."""
        return bytes(self._bytes[:size])

    def find(self, needle: bytes) -> int:
        """Return where `needle` first occurs, or -1."""
        return self._bytes.find(needle)

    def take(self, size: int | None = None) -> bytes:
        """Consume and return the first `size` bytes (all for None).

        Raises:
            ValueError: fewer than `size` bytes are there.
        """
        if size is None:
            size = len(self._bytes)
        elif size > len(self._bytes):
            raise ValueError(f"cannot take {size} bytes: only {len(self._bytes)} are there")
        taken = bytes(self._bytes[:size])
        del self._bytes[:size]
        return taken

    def clear(self) -> None:
        """Forget what waits here, and give its memory back."""
        self._bytes = bytearray()
