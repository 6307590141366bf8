"""Frames into a stream: golden vectors, all peers' recordings, every split, all that is refused."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.carriage.frames import KEY, decode, frame, payloads, pieces, wires_of
from tests.kit.vectors import for_each, load, unpack
from trio_vmess.core.carriage.websocket import Close, FrameReader, Opcode, Ping, Pong
from trio_vmess.errors import RemoteProtocolError

FRAMES = load("transport_ws_frames", "frames")
INVALID = load("transport_ws_frames", "invalid")
CAPTURES = load("transport_ws")

BINARY, TEXT = 0x82, 0x81
BINARY_FIRST, TEXT_FIRST, MIDDLE, LAST = 0x02, 0x01, 0x00, 0x80


def expected_of(opcode: int, payload: bytes) -> tuple[bytes, list[object]]:
    match opcode:
        case Opcode.PING:
            return b"", [Ping(payload=payload)]
        case Opcode.PONG:
            return b"", [Pong(payload=payload)]
        case Opcode.CLOSE if payload:
            return b"", [Close(code=int.from_bytes(payload[:2]), reason=payload[2:].decode())]
        case Opcode.CLOSE:
            return b"", [Close()]
        case _:
            return payload, []


def reader_for(vector: dict[str, Any]) -> FrameReader:
    reader = FrameReader(masked=bool(vector["mask"]))
    if vector["opcode"] == Opcode.CONTINUATION:
        decode(reader, [frame(BINARY_FIRST, b"", key=bytes.fromhex(vector["mask"]))])
    return reader


# Golden vectors --------------------------------------------------------------------------------


@for_each(FRAMES)
def test_golden_frames_are_read(vector: dict[str, Any]) -> None:
    wire, expected = (
        unpack(vector["wire"]),
        expected_of(vector["opcode"], unpack(vector["payload"])),
    )
    assert decode(reader_for(vector), [wire]) == expected
    # Cut in two everywhere, or where a head and the payload's ends are.
    cuts = range(len(wire)) if len(wire) < 200 else (*range(20), len(wire) - 3, len(wire) - 1)
    for cut in cuts:
        assert decode(reader_for(vector), [wire[:cut], wire[cut:]]) == expected
    if len(wire) < 200:
        assert decode(reader_for(vector), pieces(wire, 1)) == expected


@for_each(INVALID)
def test_golden_nonsense_is_refused(vector: dict[str, Any]) -> None:
    wire = unpack(vector["wire"])
    for step in (1, 2, 3, len(wire)):
        with pytest.raises(RemoteProtocolError):
            decode(FrameReader(masked=False), pieces(wire, step))


@for_each(CAPTURES)
def test_the_recordings_of_all_peers_are_read(capture: dict[str, Any]) -> None:
    for side, wire in zip(("client", "server"), wires_of(capture), strict=True):
        step_payloads = set()
        for step in (1 if len(wire) < 5000 else 13, 1000, 1 << 20):
            reader = FrameReader(masked=side == "client")
            payload, events = decode(reader, pieces(wire, step))
            step_payloads.add(payload)
            closed = [each for each in capture[f"{side}_frames"] if each["opcode"] == Opcode.CLOSE]
            assert events == ([Close(code=1000)] if closed else [])
        (payload,) = step_payloads
        expected = capture[f"{side}_payload"]
        if isinstance(expected, dict) and "zlib_b64" not in expected:
            assert len(payload) == expected["len"]
            assert hashlib.sha256(payload).hexdigest() == expected["sha256"]
        else:
            assert payload == unpack(expected)


# What a stream may look like ---------------------------------------------------------------------


def in_a_message(payload: bytes, cuts: list[int], key: bytes) -> bytes:
    """Write one message in fragments, some of them empty, with a ping between any two."""
    ends = [*sorted(min(cut, len(payload)) for cut in cuts), len(payload)]
    starts = [0, *ends[:-1]]
    firsts = [BINARY_FIRST, *[MIDDLE] * (len(ends) - 1)]
    firsts[-1] |= 0x80
    return frame(0x89, b"p", key=key).join(
        frame(first, payload[start:end], key=key)
        for first, start, end in zip(firsts, starts, ends, strict=True)
    )


messages = st.lists(
    st.tuples(payloads, st.lists(st.integers(0, 300), max_size=4)),
    max_size=5,
)


@given(messages, st.sampled_from([b"", KEY]), st.sampled_from([5, 64, 1000, 1 << 20]))
def test_any_stream_of_messages_is_its_payload(
    parts: list[tuple[bytes, list[int]]], key: bytes, step: int
) -> None:
    wire = b"".join(in_a_message(payload, cuts, key) for payload, cuts in parts)
    payload, events = decode(FrameReader(masked=bool(key)), pieces(wire, step))
    assert payload == b"".join(payload for payload, _ in parts)
    assert all(event == Ping(payload=b"p") for event in events)


@given(st.binary(max_size=200), st.booleans(), st.integers(1, 200))
def test_how_the_bytes_are_split_changes_nothing(data: bytes, masked: bool, step: int) -> None:
    def outcome(step: int) -> tuple[bytes, list[object], str | None]:
        reader, payload, events = FrameReader(masked=masked), b"", []
        try:
            for piece in pieces(data, step):
                more, new = decode(reader, [piece])
                payload += more
                events += new
        except RemoteProtocolError as exc:
            return payload, [*events], str(exc)
        # What is there is what counts; of many pings in one piece, only the last is told.
        return payload, [event for event in events if isinstance(event, Close)], None

    payload, events, error = outcome(step)
    one_payload, one_events, one_error = outcome(1)
    assert error == one_error
    # A fault takes away what came with it.
    assert one_payload.startswith(payload)
    assert error or (payload, events) == (one_payload, one_events)


@pytest.mark.parametrize("key", [b"", KEY])
def test_a_batch_of_all_forms_of_heads_is_read_in_place(key: bytes) -> None:
    sizes = (0, 1, 125, 126, 127, 2048, 65535, 65536, 70000, 3, 0)
    payloads = [bytes([index]) * size for index, size in enumerate(sizes)]
    wire = b"".join(frame(BINARY, payload, key=key) for payload in payloads)
    assert decode(FrameReader(masked=bool(key)), [wire]) == (b"".join(payloads), [])


def test_text_and_fragments_are_payload_too() -> None:
    wire = (
        frame(TEXT_FIRST, b"gr") + frame(MIDDLE, b"") + frame(LAST, b"\xfc\xc3") + frame(TEXT, b"n")
    )
    assert decode(FrameReader(masked=False), [wire]) == (b"gr\xfc\xc3n", [])


def test_a_frame_may_be_longer_than_any_buffer() -> None:
    reader = FrameReader(masked=False)
    head = bytes((BINARY, 127)) + (1 << 62).to_bytes(8, "big")
    assert decode(reader, [head + b"a", b"b" * 100, b"\x88\x00"]) == (
        b"a" + b"b" * 100 + b"\x88\x00",
        [],
    )


# Control frames ----------------------------------------------------------------------------------


def test_only_the_last_of_many_pings_waits_for_an_answer() -> None:
    reader = FrameReader(masked=False)
    wire = b"".join(frame(0x89, b"%d" % number) for number in range(1000)) + frame(0x8A, b"x")
    assert decode(reader, [wire]) == (b"", [Ping(payload=b"999"), Pong(payload=b"x")])
    assert reader.take_events() == []


def test_what_follows_a_close_is_ignored() -> None:
    reader = FrameReader(masked=False)
    wire = frame(BINARY, b"data") + frame(0x88, b"\x03\xe8") + frame(BINARY, b"late") + b"\xff"
    assert decode(reader, [wire, b"more"]) == (b"data", [Close(code=1000)])
    assert reader.ended


def test_a_close_in_the_midst_of_a_message_is_a_close() -> None:
    reader = FrameReader(masked=True)
    wire = frame(BINARY_FIRST, b"data", key=KEY) + frame(0x88, b"", key=KEY)
    assert decode(reader, pieces(wire, 1)) == (b"data", [Close()])


def test_the_reader_keeps_next_to_nothing() -> None:
    reader = FrameReader(masked=True)
    wire = frame(0x89, b"p" * 125, key=KEY)
    decode(reader, [wire[:-1]])
    assert len(reader._kept) == 130
    assert decode(reader, [wire[-1:]]) == (b"", [Ping(payload=b"p" * 125)])
    assert not reader._kept


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "what"),
    [
        (b"\xc2\x00", "reserved bit"),
        (b"\xa2\x00", "reserved bit"),
        (b"\x92\x7e", "reserved bit"),
        (b"\x83\x00", "unknown opcode 3"),
        (b"\x8f\x00", "unknown opcode 15"),
        (b"\x82\x80", "a server does not mask"),
        (b"\x82\xfe\x01\x00\x00\x00\x00\x00", "a server does not mask"),
        (b"\x08\x00", "cannot be a fragment"),
        (b"\x89\x7e", "at most 125 bytes"),
        (b"\x80\x00", "nothing to continue"),
        (b"\x00\x00", "nothing to continue"),
        (b"\x02\x00\x02\x00", "before the last one has ended"),
        (b"\x02\x00\x81\x00", "before the last one has ended"),
        (b"\x82\x7e\x00\x7d", "shorter form"),
        (b"\x82\x7e\x00\x7d" + bytes(100), "shorter form"),
        (b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", "shorter form"),
        (b"\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", "63 bits"),
        (b"\x88\x01\x03", "a close with the body 03"),
        (b"\x88\x02\x03\xed", "a close with the body 03ed"),
        (b"\x88\x02\x00\x00", "a close with the body 0000"),
        (b"\x88\x04\x03\xe8\xff\xff", "not UTF-8"),
    ],
)
def test_what_no_server_sends_is_refused(wire: bytes, what: str) -> None:
    for step in (1, len(wire)):
        with pytest.raises(RemoteProtocolError, match=what):
            decode(FrameReader(masked=False), pieces(wire, step))


@pytest.mark.parametrize("wire", [b"\x82\x00", b"\x82\x7e\x01\x00\x00\x00\x00\x00", b"\x89\x00"])
def test_a_client_has_to_mask(wire: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="a client has to mask"):
        decode(FrameReader(masked=True), [wire])
