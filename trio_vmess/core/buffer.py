"""Received bytes that are not yet parsed, and the value that says "not enough of them"."""

import enum
from typing import Final, Literal

from trio_vmess.errors import RemoteProtocolError


class NeedData(enum.Enum):
    """The type of `NEED_DATA`: an enum, so that `is` narrows."""

    NEED_DATA = enum.auto()

    def __repr__(self) -> str:
        return "NEED_DATA"


NEED_DATA: Final[Literal[NeedData.NEED_DATA]] = NeedData.NEED_DATA


class ReceiveBuffer:
    """Bytes received and not yet consumed, never more than `limit` of them.

    `peek` looks, `take` consumes. A parser that finds half a message takes nothing, so it can begin
    anew when more has come.

    Args:
        limit: the most bytes that may wait here.
    """

    def __init__(self, limit: int) -> None:
        self._bytes = bytearray()
        self._limit = limit

    def __len__(self) -> int:
        return len(self._bytes)

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Store `data` behind what is there.

        Raises:
            RemoteProtocolError: the limit would be passed; nothing was stored.
        """
        if len(self._bytes) + len(data) > self._limit:
            raise RemoteProtocolError(
                f"{len(self._bytes) + len(data)} bytes wait unparsed; the limit is {self._limit}"
            )
        self._bytes += data

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
            raise ValueError(f"{size} bytes asked for, {len(self._bytes)} there")
        taken = bytes(self._bytes[:size])
        del self._bytes[:size]
        return taken
