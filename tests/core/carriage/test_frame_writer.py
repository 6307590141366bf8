"""A stream into frames: golden vectors, sizes, parts, and control frames."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.carriage.frames import KEY, decode, frame, payloads
from tests.kit.entropy import SeededEntropy
from tests.kit.vectors import for_each, load, unpack
from trio_vmess.core.carriage.websocket import (
    FRAME_PAYLOAD_MAX,
    CloseCode,
    FrameReader,
    FrameWriter,
    Opcode,
    draw_mask_keys,
)

FRAMES = load("transport_ws_frames", "frames")


def writer_with(key: bytes) -> FrameWriter:
    return FrameWriter(itertools.repeat(key) if key else None)


def write(writer: FrameWriter, *parts: bytes) -> bytes:
    """Write into a buffer of the size that is asked for, to the byte."""
    out = memoryview(bytearray(writer.output_size(sum(map(len, parts)))))
    if len(parts) == 1:
        return bytes(out[: writer.encode_into(parts[0], out)])
    return bytes(out[: writer.encode_parts_into(parts, out)])


@for_each(FRAMES)
def test_golden_frames_are_written(vector: dict[str, Any]) -> None:
    writer, payload = writer_with(bytes.fromhex(vector["mask"])), unpack(vector["payload"])
    wire = unpack(vector["wire"])
    match vector["opcode"]:
        case Opcode.BINARY if 0 < len(payload) <= FRAME_PAYLOAD_MAX:
            assert write(writer, payload) == wire
            assert write(writer, payload[:1], b"", payload[1:]) == wire
        case Opcode.PING:
            assert writer.ping(payload) == wire
        case Opcode.PONG:
            assert writer.pong(payload) == wire
        case Opcode.CLOSE:
            code = int.from_bytes(payload[:2]) if payload else None
            assert writer.close(code, payload[2:].decode()) == wire
        case _:
            # Not what this writer writes: text, fragments, empty messages, more than 64 KiB.
            assert vector["name"].startswith(("text", "continuation", "binary-0", "binary-6553"))


@pytest.mark.parametrize("key", [b"", KEY])
def test_much_is_split_into_frames_of_64_kib(key: bytes) -> None:
    data = bytes(range(251)) * 800
    chunks = [data[start : start + 65535] for start in range(0, len(data), 65535)]
    expected = b"".join(frame(0x82, chunk, key=key) for chunk in chunks)
    writer = writer_with(key)
    assert write(writer, data) == expected
    assert write(writer, data[:70_001], data[70_001:]) == expected
    assert len(expected) == writer.output_size(len(data)) - (0 if len(chunks[-1]) > 125 else 2)


@pytest.mark.parametrize("key", [b"", KEY])
def test_no_bytes_make_no_frame(key: bytes) -> None:
    writer = writer_with(key)
    assert writer.output_size(0) == 0
    assert write(writer, b"") == write(writer) == write(writer, b"", b"") == b""


@given(st.lists(payloads, max_size=6), st.booleans())
def test_what_is_written_can_be_read(parts: list[bytes], masked: bool) -> None:
    writer = FrameWriter(draw_mask_keys(SeededEntropy()) if masked else None)
    wire = write(writer, *parts)
    assert decode(FrameReader(masked=masked), [wire]) == (b"".join(parts), [])


def test_every_frame_of_a_client_has_a_key_of_its_own() -> None:
    keys = list(itertools.islice(draw_mask_keys(SeededEntropy(1)), 3))
    writer = FrameWriter(draw_mask_keys(SeededEntropy(1)))
    assert write(writer, b"one") == frame(0x82, b"one", key=keys[0])
    assert writer.pong(b"two") == frame(0x8A, b"two", key=keys[1])
    assert writer.close() == frame(0x88, b"", key=keys[2])


def test_a_long_reason_is_cut_between_characters() -> None:
    wire = FrameWriter().close(CloseCode.PROTOCOL_ERROR, "ü" * 100)
    assert wire == b"\x88\x7c\x03\xea" + "ü".encode() * 61


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000])
def test_a_status_that_never_travels_is_a_mistake(code: int) -> None:
    with pytest.raises(ValueError, match="not a status"):
        FrameWriter().close(code)


def test_a_long_control_frame_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at most 125"):
        FrameWriter().ping(bytes(126))
