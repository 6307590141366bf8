"""Frames against two other implementations, in both directions and both roles."""

import pytest
import websockets.frames
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions import Extension
from websockets.streams import StreamReader
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message
from wsproto.events import Ping as WsprotoPing
from wsproto.frame_protocol import CloseReason

from tests.core.carriage.frames import decode, payloads
from tests.kit.entropy import SeededEntropy
from trio_vmess.core.carriage.websocket import (
    Close,
    FrameReader,
    FrameWriter,
    Ping,
    draw_mask_keys,
)

several = st.lists(payloads, max_size=4)
NO_EXTENSIONS: list[Extension] = []


def write_all(writer: FrameWriter, parts: list[bytes]) -> bytes:
    """Write data, a ping and a close, as one wire."""
    out = memoryview(bytearray(sum(writer.output_size(len(part)) for part in parts)))
    size = 0
    for part in parts:
        size += writer.encode_into(part, out[size:])
    return bytes(out[:size]) + writer.ping(b"?") + writer.close(1000, "bye")


@pytest.mark.parametrize("masked", [False, True])
@given(parts=several)
def test_wsproto_reads_what_we_write(masked: bool, parts: list[bytes]) -> None:
    writer = FrameWriter(draw_mask_keys(SeededEntropy()) if masked else None)
    peer = Connection(ConnectionType.SERVER if masked else ConnectionType.CLIENT)
    peer.receive_data(write_all(writer, parts))
    events = list(peer.events())
    received = b"".join(bytes(each.data) for each in events if isinstance(each, Message))
    assert received == b"".join(parts)
    assert events[-2:] == [
        WsprotoPing(payload=b"?"),
        CloseConnection(code=CloseReason.NORMAL_CLOSURE, reason="bye"),
    ]


@pytest.mark.parametrize("masked", [False, True])
@given(parts=several)
def test_we_read_what_wsproto_writes(masked: bool, parts: list[bytes]) -> None:
    peer = Connection(ConnectionType.CLIENT if masked else ConnectionType.SERVER)
    sent: list[Event] = [
        *(
            BytesMessage(data=part, message_finished=index % 2 == 1)
            for index, part in enumerate(parts)
        ),
        WsprotoPing(payload=b"?"),
        CloseConnection(code=1001, reason="gone"),
    ]
    wire = b"".join(map(peer.send, sent))
    payload, events = decode(FrameReader(masked=masked), [wire])
    assert payload == b"".join(parts)
    assert events == [Ping(payload=b"?"), Close(code=1001, reason="gone")]


def frames_of(wire: bytes, *, masked: bool) -> list[websockets.frames.Frame]:
    """Let websockets take a wire apart."""
    reader = StreamReader()
    reader.feed_data(wire)
    reader.feed_eof()
    frames = []
    while True:
        parser = websockets.frames.Frame.parse(
            reader.read_exact, mask=masked, extensions=NO_EXTENSIONS
        )
        try:
            next(parser)
        except StopIteration as end:
            frames.append(end.value)
        except EOFError:
            return frames


@pytest.mark.parametrize("masked", [False, True])
@given(parts=several)
def test_websockets_reads_what_we_write(masked: bool, parts: list[bytes]) -> None:
    writer = FrameWriter(draw_mask_keys(SeededEntropy()) if masked else None)
    frames = frames_of(write_all(writer, parts), masked=masked)
    *data, ping, close = frames
    assert b"".join(bytes(each.data) for each in data) == b"".join(parts)
    assert {(each.opcode, each.fin) for each in data} <= {(websockets.frames.Opcode.BINARY, True)}
    assert (ping.opcode, bytes(ping.data)) == (websockets.frames.Opcode.PING, b"?")
    assert websockets.frames.Close.parse(bytes(close.data)).reason == "bye"


@pytest.mark.parametrize("masked", [False, True])
@given(parts=several)
def test_we_read_what_websockets_writes(masked: bool, parts: list[bytes]) -> None:
    opcode = websockets.frames.Opcode
    frames = [
        *(websockets.frames.Frame(opcode.BINARY, part) for part in parts),
        websockets.frames.Frame(opcode.TEXT, b"abc", fin=False),
        websockets.frames.Frame(opcode.CONT, b"def"),
        websockets.frames.Frame(opcode.CLOSE, websockets.frames.Close(1000, "").serialize()),
    ]
    wire = b"".join(each.serialize(mask=masked) for each in frames)
    payload, events = decode(FrameReader(masked=masked), [wire])
    assert payload == b"".join(parts) + b"abcdef"
    assert events == [Close(code=1000)]
