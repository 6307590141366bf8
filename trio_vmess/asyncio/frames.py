"""What is between the connection to a server and VMess: nothing, or the frames of a WebSocket."""

from collections.abc import Iterator
from typing import Protocol

from trio_vmess.core.carriage.websocket import Close, CloseCode, FrameReader, FrameWriter, Ping


class Framing(Protocol):
    """Both directions of what carries a stream."""

    @property
    def can_half_close(self) -> bool:
        """Whether the end of one direction of the connection leaves the other one as it is."""
        ...

    @property
    def ended(self) -> bool:
        """True once the peer has ended the stream by a frame."""
        ...

    def wrap(self, data: memoryview, /) -> bytes | memoryview:
        """Return what is to be sent for some bytes of the stream."""
        ...

    def unwrap(self, data: bytes, /) -> tuple[memoryview, bytes]:
        """Return the bytes of the stream in what was received, and what is to be answered.

        Raises:
            RemoteProtocolError: these are not frames.
        """
        ...

    def close_after_fault(self) -> bytes:
        """Return what tells the peer that `unwrap` has failed; may be empty."""
        ...


class NoFraming:
    """The stream as it is."""

    can_half_close = True
    ended = False

    def wrap(self, data: memoryview, /) -> memoryview:
        """Return `data`."""
        return data

    def unwrap(self, data: bytes, /) -> tuple[memoryview, bytes]:
        """Return `data`, and no answer."""
        return memoryview(data), b""

    def close_after_fault(self) -> bytes:
        """Return nothing: this never fails."""
        return b""


class WebSocketFraming:
    """The stream as payload of a client's WebSocket.

    No frame ends one direction; and pings, and the close frame, have to be answered to the end.

    Args:
        mask_keys: from `draw_mask_keys`.
    """

    can_half_close = False

    def __init__(self, mask_keys: Iterator[bytes]) -> None:
        self._reader = FrameReader(masked=False)
        self._writer = FrameWriter(mask_keys)

    @property
    def ended(self) -> bool:
        """True once the peer has sent a close frame."""
        return self._reader.ended

    def wrap(self, data: memoryview, /) -> memoryview:
        """Return the frames with `data`."""
        framed = memoryview(bytearray(self._writer.output_size(len(data))))
        return framed[: self._writer.encode_into(data, framed)]

    def unwrap(self, data: bytes, /) -> tuple[memoryview, bytes]:
        """Return the payload, and the answers to pings and to a close frame.

        Raises:
            RemoteProtocolError: these are not frames.
        """
        payload = memoryview(bytearray(data))
        payload = payload[: self._reader.decode_in_place(payload)]
        answers = b""
        for event in self._reader.take_events():
            if isinstance(event, Ping):
                answers += self._writer.pong(event.payload)
            elif isinstance(event, Close):
                answers += self._writer.close(event.code)
        return payload, answers

    def close_after_fault(self) -> bytes:
        """Return a close frame that says so."""
        return self._writer.close(CloseCode.PROTOCOL_ERROR)
