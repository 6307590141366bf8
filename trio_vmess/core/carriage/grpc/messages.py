"""The messages of the transport `grpc`: a stream of bytes in a call of gRPC.

Layout of a message (big-endian): u8 compressed, always 0 | u32 length | protobuf. The protobuf is
`Hunk { bytes data = 1 }`: 0x0a | varint size | payload. A call of `TunMulti` has messages with any
number of such elements; one of them is as good, so both kinds of call are written the same way.

Some servers skip the first six bytes of a message and read a size: what is sent must have exactly
one element in each message. What is received may have any legal form.

Source:
    Xray-core, transport/internet/grpc; sing-box, transport/v2raygrpclite; gRPC over HTTP/2
    (PROTOCOL-HTTP2.md); the encoding guide of Protocol Buffers.
"""

import struct
from typing import Final

from trio_vmess.errors import RemoteProtocolError

PAYLOAD_SIZE: Final = 32 * 1024
"""Bytes of payload in one message that we send: peers pass nothing on before a message is whole."""

MESSAGE_SIZE_MAX: Final = 16 * 1024 * 1024
"""Bytes of a message that is received. Nothing of it is kept, and no peer sends above 4 MiB."""

_PREFIX: Final = struct.Struct(">BL")
_DATA_TAG: Final = 0x0A
_HEAD_SIZE_MAX: Final = 20
"""Bytes of the longest head of a field: two varints of ten bytes."""

_VARINT_SIZE_MAX: Final = 10
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def encode_messages(data: bytes | bytearray | memoryview) -> bytes:
    """Return payload in messages."""
    view = memoryview(data)
    pieces: list[bytes | memoryview] = []
    whole = len(view) // PAYLOAD_SIZE * PAYLOAD_SIZE
    for start in range(0, whole, PAYLOAD_SIZE):
        pieces += (_FULL_HEAD, view[start : start + PAYLOAD_SIZE])
    if whole < len(view):
        pieces += (_encode_head(len(view) - whole), view[whole:])
    return b"".join(pieces)


def _encode_head(size: int) -> bytes:
    varint, rest = bytearray(), size
    while rest > 0x7F:
        varint.append(rest & 0x7F | 0x80)
        rest >>= 7
    varint.append(rest)
    return _PREFIX.pack(0, 1 + len(varint) + size) + bytes((_DATA_TAG,)) + varint


_FULL_HEAD: Final = _encode_head(PAYLOAD_SIZE)


class MessageReader:
    """Finds the payload in the messages of one direction, however they are cut."""

    __slots__ = ("_held", "_message_left", "_payload_left", "_skip_left")

    def __init__(self) -> None:
        self._held = b""  # the beginning of a head
        self._message_left = 0  # bytes of the current message, with what the next two count
        self._payload_left = 0  # bytes of the current element
        self._skip_left = 0  # bytes of a field that nobody wants

    @property
    def is_between_messages(self) -> bool:
        """Whether the stream may end here."""
        return not self._message_left and not self._held

    def unframe(self, buffer: memoryview, size: int) -> int:
        """Move the payload in the first `size` bytes of `buffer` to its beginning.

        Returns:
            The number of bytes of payload; 0 does not mean the end.

        Raises:
            RemoteProtocolError: these are not messages of ours.
        """
        position = filled = 0
        while position < size:
            if self._payload_left:
                count = min(self._payload_left, size - position)
                if filled != position:
                    buffer[filled : filled + count] = buffer[position : position + count]
                filled += count
                position += count
                self._payload_left -= count
                self._message_left -= count
            elif self._skip_left:
                count = min(self._skip_left, size - position)
                position += count
                self._skip_left -= count
                self._message_left -= count
            elif not self._held and (used := self._read_head(buffer, position, size)):
                position += used
            else:
                held = self._held + buffer[position : min(size, position + _HEAD_SIZE_MAX)]
                used = self._read_head(held, 0, len(held))
                position += (used or len(held)) - len(self._held)
                self._held = b"" if used else held
        return filled

    def _read_head(self, data: bytes | memoryview, start: int, end: int) -> int:
        """Read a message's prefix or a field's head; return its size, or 0 if it is cut off."""
        if not self._message_left:
            if end - start < _PREFIX.size:
                return 0
            compressed, self._message_left = _PREFIX.unpack_from(data, start)
            if compressed:
                raise RemoteProtocolError("a compressed message")
            if self._message_left > MESSAGE_SIZE_MAX:
                raise RemoteProtocolError(f"a message of {self._message_left} bytes")
            return _PREFIX.size
        tag, position = _read_varint(data, start, end)
        kind, value = tag & 7, 0
        if position and kind in (_VARINT, _BYTES):
            value, position = _read_varint(data, position, end)
        if not position:
            return 0
        if kind == _VARINT:
            value = 0
        elif kind != _BYTES:
            value = _fixed_size(kind)
        used = position - start
        if used + value > self._message_left:
            raise RemoteProtocolError("a field is longer than its message")
        self._message_left -= used
        if tag == _DATA_TAG:
            self._payload_left = value
        else:
            self._skip_left = value
        return used


def _read_varint(data: bytes | memoryview, start: int, end: int) -> tuple[int, int]:
    """Return a number and where it ends, or zeros if it is cut off."""
    value = 0
    for count, position in enumerate(range(start, end)):
        byte = data[position]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, position + 1
        if count + 1 == _VARINT_SIZE_MAX:
            raise RemoteProtocolError("a number without end")
    return 0, 0


def _fixed_size(kind: int) -> int:
    if kind == _FIXED64:
        return 8
    if kind == _FIXED32:
        return 4
    raise RemoteProtocolError(f"a field of kind {kind}")
