"""Cuts received bytes into frames.

DATA is passed on as it comes: a frame that arrives in parts is yielded in parts, so nothing of it
is kept, however large frames may be. All other frames are small, and yielded whole.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from trio_vmess.core.carriage.http2.faults import FaultError
from trio_vmess.core.carriage.http2.frames import (
    DATA,
    END_STREAM,
    HEAD,
    HEAD_SIZE,
    PADDED,
    STREAM_ID_MAX,
    ErrorCode,
)

CONTROL_SIZE_MAX: Final = 2**16
"""Bytes of payload of a frame that is not DATA. Peers may use the announced frame size for these,
too; but none of those that they send comes near this."""

_EMPTY: Final = memoryview(b"")


class Frame(NamedTuple):
    """A whole frame, or a part of a DATA frame.

    Attributes:
        kind: of `frames`.
        flags: as received; of a DATA frame only `END_STREAM`, and only with its last part.
        stream_id: 0 for the connection.
        payload: without the padding of DATA; valid until the next read.
        charge: bytes that a DATA frame takes from the windows, padding included: all of them with
            its first part.
    """

    kind: int
    flags: int
    stream_id: int
    payload: memoryview
    charge: int


class FrameSplitter:
    """Finds the frames in what one end of a connection sends.

    Args:
        frame_size: bytes of payload that one frame may have: what was announced.
    """

    __slots__ = ("_flags", "_frame_size", "_held", "_left", "_padding", "_stream_id")

    def __init__(self, frame_size: int) -> None:
        self._frame_size = frame_size
        self._held = bytearray()  # the beginning of a frame
        self._left = 0  # bytes of payload that the current DATA frame still has
        self._padding = 0  # bytes of padding behind them
        self._flags = 0
        self._stream_id = 0

    def split(self, data: memoryview) -> Iterator[Frame]:
        """Yield the frames in `data`, which must not change meanwhile.

        Raises:
            FaultError: a frame is too long, or its padding is longer than itself.
        """
        position, size = 0, len(data)
        while position < size:
            if self._left:
                payload = data[position : position + self._left]
                position += len(payload)
                self._left -= len(payload)
                flags = 0 if self._left else self._flags
                yield Frame(DATA, flags, self._stream_id, payload, 0)
            elif self._padding:
                skipped = min(self._padding, size - position)
                position += skipped
                self._padding -= skipped
            elif self._held or size - position < HEAD_SIZE:
                used, frame = self._complete(data[position:])
                position += used
                if frame is not None:
                    yield frame
            else:
                start = position + HEAD_SIZE
                high, low, kind, flags, stream_id = HEAD.unpack_from(data, position)
                length = high << 8 | low
                self._check_length(kind, length)
                if kind == DATA and not flags & PADDED:
                    payload = data[start : start + length]
                    position = start + len(payload)
                    yield self._begin_data(flags, stream_id, payload, length, 0, length)
                elif kind == DATA or size - start < length:
                    used, frame = self._complete(data[position:])
                    position += used
                    if frame is not None:
                        yield frame
                else:
                    position = start + length
                    yield Frame(kind, flags, stream_id & STREAM_ID_MAX, data[start:position], 0)

    def _complete(self, data: memoryview) -> tuple[int, Frame | None]:
        """Go on with a frame whose beginning is not all in one piece, or that has padding.

        Returns:
            How many bytes of `data` were used, and the frame if it can be passed on.
        """
        held, used = self._held, 0
        while True:
            wanted = self._wanted_size()
            missing = wanted - len(held)
            part = data[used : used + missing]
            held += part
            used += len(part)
            if len(part) < missing:
                return used, None
            if wanted == self._wanted_size():
                return used, self._release()

    def _wanted_size(self) -> int:
        """Return how much of the frame in `_held` must be there, by what is there."""
        if len(self._held) < HEAD_SIZE:
            return HEAD_SIZE
        high, low, kind, flags, _ = HEAD.unpack_from(self._held)
        length: int = high << 8 | low
        self._check_length(kind, length)
        if kind != DATA:
            return HEAD_SIZE + length
        if not flags & PADDED:
            return HEAD_SIZE
        if not length:
            raise FaultError(ErrorCode.FRAME_SIZE_ERROR, "no room for the length of padding")
        return HEAD_SIZE + 1

    def _release(self) -> Frame:
        """Return the frame in `_held`, or the empty first part of it if it is DATA."""
        held, self._held = self._held, bytearray()
        high, low, kind, flags, stream_id = HEAD.unpack_from(held)
        if kind != DATA:
            payload = memoryview(held)[HEAD_SIZE:]
            return Frame(kind, flags, stream_id & STREAM_ID_MAX, payload, 0)
        length = high << 8 | low
        if not flags & PADDED:
            return self._begin_data(flags, stream_id, _EMPTY, length, 0, length)
        padding = held[HEAD_SIZE]
        if padding >= length:
            raise FaultError(ErrorCode.PROTOCOL_ERROR, "a DATA frame is all padding")
        size = length - 1 - padding
        return self._begin_data(flags, stream_id, _EMPTY, size, padding, length)

    def _begin_data(
        self,
        flags: int,
        stream_id: int,
        payload: memoryview,
        size: int,
        padding: int,
        charge: int,
    ) -> Frame:
        self._left = size - len(payload)
        self._padding = padding
        self._flags = flags & END_STREAM
        self._stream_id = stream_id & STREAM_ID_MAX
        return Frame(DATA, 0 if self._left else self._flags, self._stream_id, payload, charge)

    def _check_length(self, kind: int, length: int) -> None:
        if length > self._frame_size or (length > CONTROL_SIZE_MAX and kind != DATA):
            raise FaultError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
