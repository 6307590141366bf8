"""Recordings that are cut off, lack bytes, or have wrong ones: that is said, and never raised."""

import ipaddress
import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.dissection.recordings import (
    DOWNLINK_PIECES,
    Recording,
    dissect,
    found,
    make_dissector,
    payload_of,
    record,
)
from tests.kit.pair import NOW
from tests.kit.vectors import for_each
from trio_vmess.core import PACKETADDR_HOST, Destination, Network, encode_packetaddr
from trio_vmess.core.dissection import (
    ChunkDamaged,
    ChunkFound,
    ContentUnreadable,
    DatagramFound,
    Direction,
    DirectionEnd,
    EndedBy,
    EndState,
    FrameFound,
    GapFound,
    Item,
    RawFound,
    RequestFound,
    ResponseFound,
    Unreadable,
    Unrecognised,
)
from trio_vmess.core.dissection.contents import choose_content_reader
from trio_vmess.core.mux import Keep, KeepAlive, New, encode_frame
from trio_vmess.core.vmess import Command, Security

PIECES = (b"one", b"two" * 30, b"three")


def small(security: Security = Security.AES_128_GCM, options: int = 0x0D, **more: int) -> Recording:
    return record(security, options, uplink=PIECES, downlink=PIECES, **more)  # type: ignore[arg-type]


KINDS = {
    "gcm": small(),
    "chacha20, authenticated lengths": small(Security.CHACHA20_POLY1305, 0x1D),
    "none": small(Security.NONE, 0x05),
    "cfb": small(Security.AES_128_CFB, 0x01),
    "cfb, legacy": small(Security.AES_128_CFB, 0x01, alter_id_count=1),
    "raw": small(Security.NONE, 0x00),
    "raw cfb": small(Security.AES_128_CFB, 0x00),
    "gcm, legacy": small(alter_id_count=1),
}

for_each_kind = for_each(KINDS.items(), name=lambda case: case[0])


def sizes_of(items: list[Item]) -> list[int]:
    return [end.offset for end in found(items, DirectionEnd)]


# Damage -------------------------------------------------------------------------------------------


@for_each_kind
def test_damage_at_any_offset_is_told_and_everything_before_it_is_found(
    case: tuple[str, Recording],
) -> None:
    recording = case[1]
    whole = dissect(recording.account, [recording.uplink], [recording.downlink])
    header = found(whole, RequestFound)[0].size
    for offset in range(len(recording.uplink)):
        wire = bytearray(recording.uplink)
        wire[offset] ^= 0x55
        items = dissect(recording.account, [bytes(wire)], [recording.downlink])
        if offset < header:
            assert found(items, RequestFound) == []
            failures = len(found(items, Unrecognised)) + len(found(items, Unreadable))
            if not failures:
                # A legacy header that is longer now, for all that can be said.
                (end, _) = found(items, DirectionEnd)
                assert end.state is EndState.IN_HEADER
            continue
        assert sizes_of(items) == [len(wire), len(recording.downlink)]
        before = [
            each
            for each in found(whole, ChunkFound, Direction.UPLINK)
            if each.offset + each.size < offset - 18
        ]
        assert found(items, ChunkFound, Direction.UPLINK)[: len(before)] == before


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("kind", ["gcm", "chacha20, authenticated lengths", "cfb"])
def test_a_damaged_chunk_is_named_and_the_next_one_is_read(kind: str, direction: Direction) -> None:
    recording = KINDS[kind]
    whole = dissect(recording.account, [recording.uplink], [recording.downlink])
    first, second, *rest = found(whole, ChunkFound, direction)
    is_uplink = direction is Direction.UPLINK
    wire = bytearray(recording.uplink if is_uplink else recording.downlink)
    # Not so far behind that the next size field depends on it, which it does in CFB.
    wire[second.offset + 18 + 6] ^= 1
    ways = (wire, recording.downlink) if is_uplink else (recording.uplink, wire)
    items = dissect(recording.account, [bytes(ways[0])], [bytes(ways[1])])
    (damaged,) = found(items, ChunkDamaged)
    assert damaged == ChunkDamaged(
        offset=second.offset,
        number=1,
        size=second.size,
        padding=second.padding,
        reason="wrong checksum" if kind == "cfb" else "wrong tag",
    )
    assert found(items, ChunkFound, direction) == [first, *rest]
    assert found(items, DirectionEnd, direction)[0].state is EndState.TERMINATED


def test_two_damaged_chunks_in_a_row_end_the_reading() -> None:
    recording = KINDS["gcm"]
    _, second, third, _ = found(dissect(recording.account, [recording.uplink]), ChunkFound)
    wire = bytearray(recording.uplink)
    wire[second.offset + 3] ^= 1
    wire[third.offset + 3] ^= 1
    items = dissect(recording.account, [bytes(wire)])
    assert [each.number for each in found(items, ChunkDamaged)] == [1]
    (failure,) = found(items, Unreadable)
    assert failure.offset == third.offset
    (end, _) = found(items, DirectionEnd)
    assert (end.offset, end.state) == (len(wire), EndState.UNREADABLE)
    assert end.unread == len(wire) - third.offset


def test_an_impossible_size_ends_the_reading() -> None:
    recording = KINDS["gcm"]
    _, second, *_ = found(dissect(recording.account, [recording.uplink]), ChunkFound)
    wire = bytearray(recording.uplink)
    field = int.from_bytes(wire[second.offset : second.offset + 2], "big") ^ second.size
    wire[second.offset : second.offset + 2] = (field ^ 3).to_bytes(2, "big")
    items = dissect(recording.account, [bytes(wire)])
    (failure,) = found(items, Unreadable)
    assert failure.offset == second.offset
    assert failure.reason.startswith("chunk 1 has the size 3, which is not between")


def test_an_authenticated_length_that_is_damaged_ends_the_reading() -> None:
    recording = KINDS["chacha20, authenticated lengths"]
    _, second, *_ = found(dissect(recording.account, [recording.uplink]), ChunkFound)
    wire = bytearray(recording.uplink)
    wire[second.offset] ^= 1
    (failure,) = found(dissect(recording.account, [bytes(wire)]), Unreadable)
    assert failure == Unreadable(
        offset=second.offset, reason="the authenticated length of chunk 1 does not open"
    )


def test_bytes_behind_the_terminator_are_counted() -> None:
    recording = KINDS["gcm"]
    items = dissect(recording.account, [recording.uplink + b"more", b"and more"])
    (end, _) = found(items, DirectionEnd)
    assert (end.state, end.unread) == (EndState.TERMINATED, 12)
    assert end.offset == len(recording.uplink) + 12


# Cuts ---------------------------------------------------------------------------------------------


@for_each_kind
def test_a_recording_that_is_cut_off_anywhere_is_read_up_to_there(
    case: tuple[str, Recording],
) -> None:
    recording = case[1]
    whole = dissect(recording.account, [recording.uplink], [recording.downlink])
    chunks = found(whole, ChunkFound, Direction.DOWNLINK)
    (response,) = found(whole, ResponseFound)
    for size in range(len(recording.downlink)):
        items = dissect(recording.account, [recording.uplink], [recording.downlink[:size]])
        (end,) = found(items, DirectionEnd, Direction.DOWNLINK)
        assert end.offset == size
        complete = found(items, ChunkFound, Direction.DOWNLINK)
        assert complete == chunks[: len(complete)]
        if size < response.size:
            assert end.state is (EndState.IN_HEADER if size else EndState.NOTHING)
        elif not chunks:
            assert end.state is EndState.RAW
            expected = b"".join(PIECES)[: size - response.size]
            assert payload_of(items, Direction.DOWNLINK) == expected
        elif end.state is EndState.IN_CHUNK:
            cut = chunks[len(complete)]
            assert (end.chunk, end.held) == (cut.number, size - cut.offset)
            field = 2 if cut.sealed_size is None else 18
            assert end.needed == (None if end.held < field else field + cut.size)
        else:
            assert end.state is EndState.BETWEEN_CHUNKS
            assert size == chunks[len(complete)].offset


# Gaps ---------------------------------------------------------------------------------------------


def with_gap(recording: Recording, start: int, size: int) -> list[Item]:
    """Dissect a recording whose uplink lacks some bytes."""
    dissector = make_dissector(recording.account)
    up = Direction.UPLINK
    items = list(dissector.receive(up, recording.uplink[:start], now=NOW))
    items += dissector.skip(up, size)
    items += dissector.receive(up, recording.uplink[start + size :], now=NOW)
    return [*items, *dissector.end(up, EndedBy.FIN)]


@for_each_kind
def test_bytes_that_are_missing_anywhere_are_told(case: tuple[str, Recording]) -> None:
    recording = case[1]
    whole = dissect(recording.account, [recording.uplink])
    header = found(whole, RequestFound)[0].size
    for start in range(len(recording.uplink)):
        for size in (1, 5, 40):
            if start + size > len(recording.uplink):
                continue
            items = with_gap(recording, start, size)
            if start < 16:
                (item,) = items
                assert item[1] == Unrecognised(reason="the recording lacks the beginning")
                continue
            assert found(items, GapFound) == [GapFound(offset=start, size=size)]
            assert sizes_of(items) == [len(recording.uplink)]
            if start < header:
                assert found(items, RequestFound) == []
            for chunk in found(items, ChunkFound):
                assert chunk in found(whole, ChunkFound)


@pytest.mark.parametrize("kind", ["gcm", "chacha20, authenticated lengths", "none"])
def test_a_gap_inside_a_chunk_costs_that_chunk_alone(kind: str) -> None:
    recording = KINDS[kind]
    first, second, *rest = found(dissect(recording.account, [recording.uplink]), ChunkFound)
    field = 2 if second.sealed_size is None else 18
    items = with_gap(recording, second.offset + field, second.size)
    (damaged,) = found(items, ChunkDamaged)
    assert damaged.reason == f"the recording lacks {second.size} bytes of it"
    assert found(items, ChunkFound) == [first, *rest]


def test_a_gap_in_padding_costs_nothing() -> None:
    recording = KINDS["gcm"]
    whole = found(dissect(recording.account, [recording.uplink]), ChunkFound)
    padded = next(each for each in whole if each.padding > 2)
    items = with_gap(recording, padded.offset + 2 + padded.size - 2, 2)
    assert found(items, ChunkFound) == whole


def test_no_bytes_are_no_finding() -> None:
    recording = KINDS["raw"]
    assert dissect(recording.account, [recording.uplink, b"", b""]) == dissect(
        recording.account, [recording.uplink]
    )


def test_a_gap_with_a_size_field_in_it_ends_the_reading() -> None:
    recording = KINDS["gcm"]
    _, second, *_ = found(dissect(recording.account, [recording.uplink]), ChunkFound)
    items = with_gap(recording, second.offset - 1, 2)
    (failure,) = found(items, Unreadable)
    assert failure.reason == "the recording lacks 2 bytes here, and a size field among them"
    (end,) = found(items, DirectionEnd)
    assert end.state is EndState.UNREADABLE


@pytest.mark.parametrize("size", [1, 15, 16, 17, 4096, 1_000_003])
def test_a_raw_cfb_stream_recovers_behind_a_gap_of_any_size(size: int) -> None:
    text = bytes(range(256)) * 8
    payload = text + bytes(size) + text
    recording = record(Security.AES_128_CFB, 0, uplink=[payload])
    header = found(dissect(recording.account, [recording.uplink]), RequestFound)[0].size
    items = with_gap(recording, header + len(text), size)
    before, after = found(items, RawFound)
    assert before.payload == text
    assert after.offset == header + len(text) + size
    # As many bytes as a block has depend on bytes that are missing, and as many again at most.
    assert after.payload[32:] == text[32:]


# Contents -----------------------------------------------------------------------------------------


def carrier(*payloads: bytes) -> Recording:
    return record(command=Command.MUX, uplink=payloads, downlink=())


def test_frames_in_front_of_a_fault_are_not_lost() -> None:
    good = encode_frame(Keep(7, b"x")) + encode_frame(KeepAlive())
    recording = carrier(good + b"\xff\xff" + bytes(8), b"later")
    items = dissect(recording.account, [recording.uplink])
    assert [each.frame for each in found(items, FrameFound)] == [Keep(7, b"x"), KeepAlive()]
    (failure,) = found(items, ContentUnreadable)
    assert failure.reason == "mux: 65535 bytes of metadata; expected 4 to 512"
    assert len(found(items, ChunkFound)) == 3


def test_frames_may_be_cut_by_chunks() -> None:
    frame = encode_frame(Keep(7, b"a longer piece of data"))
    recording = carrier(frame[:1], frame[1:9], frame[9:])
    items = dissect(recording.account, [recording.uplink])
    assert [each.frame for each in found(items, FrameFound)] == [Keep(7, b"a longer piece of data")]


def test_frames_behind_a_damaged_chunk_are_not_made_up() -> None:
    frame = encode_frame(Keep(7, b"data"))
    recording = carrier(frame, frame, frame)
    _, second, *_ = found(dissect(recording.account, [recording.uplink]), ChunkFound)
    wire = bytearray(recording.uplink)
    wire[second.offset + 4] ^= 1
    items = dissect(recording.account, [bytes(wire)])
    assert len(found(items, FrameFound)) == 1
    assert len(found(items, ContentUnreadable)) == 1


def test_a_datagram_that_is_no_packetaddr_is_told_and_the_next_one_is_read() -> None:
    recording = record(command=Command.UDP, uplink=[b"x"])
    (request,) = found(dissect(recording.account, [recording.uplink]), RequestFound)
    host = attrs.evolve(request.header.destination, host=PACKETADDR_HOST)
    read = choose_content_reader(attrs.evolve(request.header, destination=host), set())
    chunk = ChunkFound(
        offset=0, number=0, size=3, sealed_size=None, overhead=0, padding=0, payload=b"\x09x"
    )
    (failure,) = read(chunk)
    assert isinstance(failure, ContentUnreadable)
    (datagram,) = read(attrs.evolve(chunk, payload=b"\x01\x7f\0\0\1\0\x35query"))
    assert isinstance(datagram, DatagramFound)
    assert (str(datagram.peer), datagram.payload) == ("udp:127.0.0.1:53", b"query")


def test_packetaddr_inside_mux_is_read_in_both_directions() -> None:
    place = Destination(host=PACKETADDR_HOST, port=0, network=Network.UDP)
    other = Destination(host="example.com", port=53, network=Network.UDP)
    query = encode_packetaddr(ipaddress.IPv4Address("192.0.2.1"), 53, b"query")
    up = [New(1, place, query), New(2, other, b"plain"), Keep(1, b"\x07"), New(1, other, b"plain")]
    down = [Keep(1, query), Keep(2, b"plain")]
    recording = record(
        command=Command.MUX,
        uplink=[b"".join(map(encode_frame, up[:3]))],
        downlink=[b"".join(map(encode_frame, down))],
    )
    items = dissect(recording.account, [recording.uplink], [recording.downlink])
    for direction in Direction:
        (datagram,) = found(items, DatagramFound, direction)
        assert (str(datagram.peer), datagram.payload) == ("udp:192.0.2.1:53", b"query")
    assert [each.frame for each in found(items, FrameFound)] == [*up[:3], *down]
    (failure,) = found(items, ContentUnreadable)
    assert failure.reason == "packetaddr: expected address type 1 or 2"
    again = record(command=Command.MUX, uplink=[b"".join(map(encode_frame, up))])
    items = dissect(again.account, [again.uplink])
    assert len(found(items, DatagramFound)) == 1


# Any way of cutting, and noise --------------------------------------------------------------------


@given(st.data())
def test_in_which_pieces_bytes_come_changes_nothing(data: st.DataObject) -> None:
    recording = KINDS[data.draw(st.sampled_from([kind for kind in KINDS if "raw" not in kind]))]
    whole = dissect(recording.account, [recording.uplink], [recording.downlink])
    cuts = sorted(data.draw(st.sets(st.integers(1, len(recording.uplink) - 1), max_size=12)))
    bounds = [0, *cuts, len(recording.uplink)]
    pieces = [recording.uplink[a:b] for a, b in itertools.pairwise(bounds)]
    assert dissect(recording.account, pieces, [recording.downlink]) == whole


@given(st.sampled_from(sorted(KINDS)), st.binary(max_size=400), st.integers(0, 600), st.booleans())
def test_noise_at_any_place_never_raises(kind: str, noise: bytes, at: int, is_uplink: bool) -> None:
    recording = KINDS[kind]
    ways = [recording.uplink, recording.downlink]
    ways[not is_uplink] = ways[not is_uplink][:at] + noise + ways[not is_uplink][at:]
    dissect(recording.account, [ways[0]], [ways[1]])


def test_a_stream_of_any_length_keeps_one_chunk_at_most() -> None:
    recording = record(uplink=[bytes(10_000)] * 30, downlink=[b"".join(DOWNLINK_PIECES)])
    dissector = make_dissector(recording.account)
    for start in range(0, len(recording.uplink), 1000):
        piece = recording.uplink[start : start + 1000]
        dissector.receive(Direction.UPLINK, piece, now=NOW)
        body = dissector._uplink.body
        held = 0 if body is None else len(body._walker._held)
        assert len(dissector._uplink.held) + held < 20_000
