"""Frames into a stream of bytes, in the buffer that they were received into.

No message is ever put together: payload is delivered as it comes, and a message is only a mark
between frames. So there is no limit to its size, and an idle connection keeps next to nothing: how
much of a frame is still to come, or at most 130 bytes of an unfinished head or control frame.

Strict where V2Ray's own library is strict, because scanners tell servers apart by what they
forgive. Text is taken like binary, and fragments and empty messages like any other: Xray writes
fragments, and sing-box empty messages.
"""

import struct
from collections.abc import Mapping
from typing import Final

from trio_vmess.core.carriage.websocket.frame import (
    CLOSE_CODE_SIZE,
    CONTROL_BIT,
    CONTROL_PAYLOAD_MAX,
    FIN,
    LENGTH_7_MAX,
    LENGTH_16,
    LENGTH_16_MAX,
    LENGTH_BITS,
    MASK_BIT,
    OPCODE_BITS,
    RESERVED_BITS,
    Close,
    ControlFrame,
    Opcode,
    Ping,
    Pong,
    may_be_sent,
)
from trio_vmess.core.carriage.websocket.mask import MASK_KEY_SIZE, apply_mask
from trio_vmess.errors import RemoteProtocolError

_OPEN: Final[Mapping[int, bool]] = {
    FIN | Opcode.CONTINUATION: False,
    Opcode.CONTINUATION: True,
}
_CLOSED: Final[Mapping[int, bool]] = {
    FIN | Opcode.BINARY: False,
    FIN | Opcode.TEXT: False,
    Opcode.BINARY: True,
    Opcode.TEXT: True,
}
"""While a message is open, and while none is: the first bytes that a data frame can have, and
whether a message is open behind it."""

_OPCODES: Final = frozenset(Opcode)

_FIXED_SIZE: Final = 2
_LENGTH_SIZES: Final = {LENGTH_16: 2, LENGTH_16 + 1: 8}
"""How many bytes of length follow a 7-bit length that is none itself."""

_UNIT_SIZE_MAX: Final = _FIXED_SIZE + MASK_KEY_SIZE + CONTROL_PAYLOAD_MAX
"""Bytes: a whole control frame; any head is smaller."""

# A head with a 16-bit length. The key has no bytes where frames are not masked.
_MASKED: Final = struct.Struct(f">BBH{MASK_KEY_SIZE}s")
_PLAIN: Final = struct.Struct(">BBH0s")

# The key behind a head with a 7-bit length.
_SHORT_MASKED: Final = struct.Struct(f">xx{MASK_KEY_SIZE}s")
_SHORT_PLAIN: Final = struct.Struct(">xx0s")


class FrameReader:
    """What one end reads once the handshake is done.

    Args:
        masked: whether the peer is a client: a client must mask, and a server must not.
    """

    __slots__ = (
        "_data_frames",
        "_ended",
        "_events",
        "_kept",
        "_key",
        "_key_size",
        "_left",
        "_mask_bit",
        "_short_size",
        "_unpack_short_key",
        "_unpack_usual",
        "_usual_size",
    )

    def __init__(self, *, masked: bool) -> None:
        usual, short = (_MASKED, _SHORT_MASKED) if masked else (_PLAIN, _SHORT_PLAIN)
        self._unpack_usual, self._usual_size = usual.unpack_from, usual.size
        self._unpack_short_key, self._short_size = short.unpack_from, short.size
        self._mask_bit = MASK_BIT if masked else 0
        self._key_size = MASK_KEY_SIZE if masked else 0
        self._ended = False
        self._data_frames = _CLOSED
        self._kept = b""
        self._left = 0
        self._key = b""
        self._events: dict[type[ControlFrame], ControlFrame] = {}

    @property
    def ended(self) -> bool:
        """True once the peer has sent a close frame; bytes behind it are ignored."""
        return self._ended

    def take_events(self) -> list[ControlFrame]:
        """Take the control frames that have come since the last call.

        Of several pings or pongs there is only the last. RFC 6455 section 5.5.3 allows that, and it
        bounds what a peer that sends nothing else can make us keep and answer.
        """
        events = list(self._events.values())
        self._events.clear()
        return events

    def decode_in_place(self, data: memoryview, /) -> int:
        """Move the payload in `data` to its front, unmasked.

        Args:
            data: what was received, any number of bytes; they are overwritten.

        Returns:
            How many bytes of payload there are; 0 does not mean the end.

        Raises:
            RemoteProtocolError: these are not the peer's frames; the text says what is wrong. It
                may be told so by a close frame with `CloseCode.PROTOCOL_ERROR`. The reader cannot
                be used any more, and nothing that `data` holds may be passed on.
        """
        size = len(data)
        position = written = 0
        left, key = self._left, self._key
        while position < size and not self._ended:
            if not left:
                position, left, key = self._read_head(data, position)
            end = position + left
            if end > size:
                end = size
            count = end - position
            if key:
                # What is unmasked is an object of its own for a moment, so it can go anywhere.
                data[written : written + count] = apply_mask(data[position:end], key)
            elif written != position:
                # The two may overlap; between memoryviews that is a move.
                data[written : written + count] = data[position:end]
            written += count
            left -= count
            position = end
            if left and key:
                turn = count % MASK_KEY_SIZE
                key = key[turn:] + key[:turn]
        self._left, self._key = left, key
        return written

    def _read_head(self, data: memoryview, position: int) -> tuple[int, int, bytes]:
        """Read the head of a data frame, or a whole control frame.

        Returns:
            The position behind it; how many bytes of payload follow, which are none behind a
            control frame and where something is missing; and their key.
        """
        if not self._kept and position + self._usual_size <= len(data):
            first, second, length, key = self._unpack_usual(data, position)
            after = self._data_frames.get(first)
            short_length = second ^ self._mask_bit
            if after is None:
                pass
            elif short_length <= LENGTH_7_MAX:
                self._data_frames = _OPEN if after else _CLOSED
                (key,) = self._unpack_short_key(data, position)
                return position + self._short_size, short_length, key
            elif short_length == LENGTH_16 and length > LENGTH_7_MAX:
                self._data_frames = _OPEN if after else _CLOSED
                return position + self._usual_size, length, key
        kept = len(self._kept)
        unit = self._kept + bytes(data[position : position + _UNIT_SIZE_MAX])
        measures = self._measure(unit)
        if measures is None:
            self._kept = unit
            return len(data), 0, b""
        self._kept = b""
        start, length = measures
        first, key = unit[0], unit[start - self._key_size : start]
        if first & CONTROL_BIT:
            end = start + length
            payload = unit[start:end]
            self._note(Opcode(first & OPCODE_BITS), apply_mask(payload, key) if key else payload)
            return position + end - kept, 0, b""
        self._data_frames = _OPEN if self._data_frames[first] else _CLOSED
        return position + start - kept, length, key

    def _measure(self, unit: bytes) -> tuple[int, int] | None:
        """Return the size of a head and that of its payload, or None where bytes are missing.

        A control frame needs all its bytes.

        Raises:
            RemoteProtocolError: the head is not legal here.
        """
        if len(unit) < _FIXED_SIZE:
            return None
        first, second = unit[0], unit[1]
        self._check(first, second)
        length = second & LENGTH_BITS
        start = _FIXED_SIZE
        if length > LENGTH_7_MAX:
            start += _LENGTH_SIZES[length]
            if len(unit) < start:
                return None
            long = length > LENGTH_16
            length = int.from_bytes(unit[_FIXED_SIZE:start], "big")
            if length <= (LENGTH_16_MAX if long else LENGTH_7_MAX):
                raise RemoteProtocolError(f"frame: a length of {length} has a shorter form")
            if length >> 63:
                raise RemoteProtocolError("frame: the length has more than 63 bits")
        start += self._key_size
        needed = start + length if first & CONTROL_BIT else start
        return (start, length) if len(unit) >= needed else None

    def _check(self, first: int, second: int) -> None:
        """Refuse the first two bytes of a frame that cannot be one here.

        Raises:
            RemoteProtocolError: with what is wrong.
        """
        opcode = first & OPCODE_BITS
        if first & RESERVED_BITS:
            raise RemoteProtocolError(
                "frame: a reserved bit is set, but no extension was agreed on"
            )
        if opcode not in _OPCODES:
            raise RemoteProtocolError(f"frame: unknown opcode {opcode}")
        if second & MASK_BIT != self._mask_bit:
            raise RemoteProtocolError(
                "frame: a client has to mask" if self._mask_bit else "frame: a server does not mask"
            )
        if opcode & CONTROL_BIT:
            if not first & FIN:
                raise RemoteProtocolError("frame: a control frame cannot be a fragment")
            if second & LENGTH_BITS > CONTROL_PAYLOAD_MAX:
                raise RemoteProtocolError("frame: a control frame carries at most 125 bytes")
        elif first not in self._data_frames:
            raise RemoteProtocolError(
                "frame: nothing to continue"
                if opcode == Opcode.CONTINUATION
                else "frame: a message begins before the last one has ended"
            )

    def _note(self, opcode: Opcode, payload: bytes) -> None:
        """Turn a control frame into an event."""
        event: ControlFrame
        if opcode is Opcode.PING:
            event = Ping(payload=payload)
        elif opcode is Opcode.PONG:
            event = Pong(payload=payload)
        else:
            event = _parse_close(payload)
            self._ended = True
        self._events[type(event)] = event


def _parse_close(payload: bytes) -> Close:
    """Read the body of a close frame. RFC 6455 section 5.5.1.

    Raises:
        RemoteProtocolError: it is not one.
    """
    if not payload:
        return Close()
    code = int.from_bytes(payload[:CLOSE_CODE_SIZE], "big")
    if len(payload) < CLOSE_CODE_SIZE or not may_be_sent(code):
        raise RemoteProtocolError(f"frame: a close with the body {payload[:4].hex()}")
    try:
        return Close(code=code, reason=payload[CLOSE_CODE_SIZE:].decode())
    except UnicodeDecodeError:
        raise RemoteProtocolError("frame: the reason of a close is not UTF-8") from None
