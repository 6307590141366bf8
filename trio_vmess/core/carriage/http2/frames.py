"""The frames of HTTP/2: their layout, their numbers, and how those that we send are made.

Layout (big-endian): u24 length of the payload | u8 kind | u8 flags | u32 stream, top bit ignored.

Source:
    RFC 9113, sections 4.1, 6 and 7.
"""

import enum
import struct
from collections.abc import Iterable, Mapping
from typing import Final

HEAD_SIZE: Final = 9

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends before its first frame."""

STREAM_ID_MAX: Final = 2**31 - 1
WINDOW_MAX: Final = 2**31 - 1

FRAME_SIZE_MIN: Final = 2**14
"""Bytes of payload that every peer accepts, and the only size that it accepts before it says so."""

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20

HEAD: Final = struct.Struct(">HBBBL")
"""A frame's head; the length is in two fields, because there is no format for 24 bits."""

U32: Final = struct.Struct(">L")
_TWO_U32: Final = struct.Struct(">LL")
_SETTING: Final = struct.Struct(">HL")


class ErrorCode(enum.IntEnum):
    """Why a stream or a connection ends; RFC 9113, section 7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Setting(enum.IntEnum):
    """What a SETTINGS frame can set; RFC 9113, section 6.5.2."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6


def name_of_error(code: int) -> str:
    """Return the name of an error code, or its number if it has none."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"error {code:#x}"


def encode_frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    size = len(payload)
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + payload


def encode_data(stream_id: int, payload: memoryview, frame_size: int, *, is_last: bool) -> bytes:
    """Return a payload in DATA frames.

    Args:
        stream_id: the stream.
        payload: may be empty only if it is the last.
        frame_size: bytes of payload in one frame at most.
        is_last: whether to end the stream's sending direction with it.
    """
    pieces: list[bytes | memoryview] = []
    last = (len(payload) - 1) // frame_size * frame_size if payload else 0
    if last:
        full = HEAD.pack(frame_size >> 8, frame_size & 0xFF, DATA, 0, stream_id)
        for start in range(0, last, frame_size):
            pieces += (full, payload[start : start + frame_size])
    size = len(payload) - last
    flags = END_STREAM if is_last else 0
    pieces += (HEAD.pack(size >> 8, size & 0xFF, DATA, flags, stream_id), payload[last:])
    return b"".join(pieces)


def encode_headers(stream_id: int, block: bytes, frame_size: int, *, is_last: bool) -> bytes:
    """Return a header block in one HEADERS frame, and CONTINUATION frames if it is that large."""
    kind, flags = HEADERS, END_STREAM if is_last else 0
    frames: list[bytes] = []
    while len(block) > frame_size:
        frames.append(encode_frame(kind, flags, stream_id, block[:frame_size]))
        kind, flags, block = CONTINUATION, 0, block[frame_size:]
    frames.append(encode_frame(kind, flags | END_HEADERS, stream_id, block))
    return b"".join(frames)


def encode_settings(values: Mapping[Setting, int]) -> bytes:
    """Return a SETTINGS frame."""
    payload = b"".join(_SETTING.pack(key, value) for key, value in values.items())
    return encode_frame(SETTINGS, 0, 0, payload)


def decode_settings(payload: memoryview) -> Iterable[tuple[int, int]]:
    """Yield the pairs of a SETTINGS frame, whose length is a multiple of 6, in their order."""
    return _SETTING.iter_unpack(payload)


def encode_window_update(stream_id: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE; stream 0 is the connection."""
    return encode_frame(WINDOW_UPDATE, 0, stream_id, U32.pack(increment))


def encode_reset(stream_id: int, code: int) -> bytes:
    """Return an RST_STREAM."""
    return encode_frame(RST_STREAM, 0, stream_id, U32.pack(code))


def encode_goaway(last_stream_id: int, code: int) -> bytes:
    """Return a GOAWAY that says which stream of the peer was the last to be looked at."""
    return encode_frame(GOAWAY, 0, 0, _TWO_U32.pack(last_stream_id, code))


def decode_goaway(payload: memoryview) -> tuple[int, int]:
    """Return last stream and error code of a GOAWAY, which has at least 8 bytes."""
    last_stream_id, code = _TWO_U32.unpack_from(payload)
    return last_stream_id & STREAM_ID_MAX, code
