"""Whole recordings: captures with several connections, and hex text."""

import io
import random
from collections.abc import Iterable

import pytest

from tests.core.dissection.recordings import DOWNLINK_PIECES, UPLINK_PIECES, Recording, record
from tests.core.vmess.test_captures import CAPTURES, account_of
from tests.kit.packets import Packet, TcpConversation, record_exchange, write_pcap, write_pcapng
from tests.kit.pair import NOW, account
from tests.kit.vectors import for_each, unpack
from trio_vmess.core.dissection import (
    ChunkFound,
    Direction,
    DirectionEnd,
    EndedBy,
    EndState,
    GapFound,
    RequestFound,
    ResponseFound,
    Unrecognised,
)
from trio_vmess.core.vmess import Account
from trio_vmess.diagnosis.decode import (
    Entry,
    Reading,
    Record,
    RecordedConnection,
    Summary,
    decode,
)
from trio_vmess.errors import RecordingError

RECORDING = record()


def read(data: bytes, who: Account | None = None, time: int | None = None) -> list[Entry]:
    reading = Reading(account=who or account(), now=NOW + 9, time=time)
    return list(decode(io.BytesIO(data), reading))


def findings(entries: Iterable[Entry], kind: type, connection: int | None = None) -> list[object]:
    return [
        each.finding
        for each in entries
        if isinstance(each, Record)
        and isinstance(each.finding, kind)
        and connection in (None, each.connection)
    ]


def payload(entries: Iterable[Entry], direction: Direction, connection: int = 1) -> bytes:
    return b"".join(
        each.finding.payload
        for each in entries
        if isinstance(each, Record)
        and isinstance(each.finding, ChunkFound)
        and (each.direction, each.connection) == (direction, connection)
    )


def check_whole(entries: list[Entry], connection: int = 1) -> None:
    """Check that all of RECORDING was found."""
    assert payload(entries, Direction.UPLINK, connection) == b"".join(UPLINK_PIECES)
    assert payload(entries, Direction.DOWNLINK, connection) == b"".join(DOWNLINK_PIECES)
    ends = findings(entries, DirectionEnd, connection)
    assert [end.state for end in ends] == [EndState.TERMINATED] * 2  # type: ignore[attr-defined]


def packets_of(recording: Recording, size: int = 1400) -> list[Packet]:
    return record_exchange(recording.uplink, recording.downlink, size=size)


# Captures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [write_pcap, write_pcapng], ids=["pcap", "pcapng"])
@pytest.mark.parametrize("size", [1, 7, 1400])
def test_a_capture_is_read(write: type, size: int) -> None:
    entries = read(write(packets_of(RECORDING, size)))
    check_whole(entries)
    assert entries[0] == RecordedConnection(
        number=1,
        client="192.0.2.1:50000",
        server="198.51.100.2:10086",
        time=pytest.approx(NOW + 0.5),
        has_beginning=True,
    )
    assert entries[-1] == Summary(connections=1, recognised=1, skipped={})
    (request,) = findings(entries, RequestFound)
    assert isinstance(request, RequestFound)
    assert (request.timestamp, request.now) == (NOW, NOW)


def test_a_time_that_is_given_replaces_the_captures() -> None:
    (request,) = findings(read(write_pcap(packets_of(RECORDING)), time=NOW - 50), RequestFound)
    assert isinstance(request, RequestFound)
    assert request.now == NOW - 50


def test_packets_in_disorder_and_twice_make_the_same() -> None:
    packets = packets_of(RECORDING, 100)
    opening, data, closing = packets[:3], packets[3:-2], packets[-2:]
    shuffled = [*data, *data]
    random.Random(5).shuffle(shuffled)
    entries = read(write_pcap([*opening, *shuffled, *closing]))
    check_whole(entries)


def test_connections_that_take_turns_are_kept_apart() -> None:
    others = [record(alter_id_count=3), RECORDING, record(options=0x1D)]
    conversations = [
        TcpConversation(client=("192.0.2.1", 1000 + number)) for number in range(len(others))
    ]
    for conversation, each in zip(conversations, others, strict=True):
        conversation.open()
        conversation.send(0, each.uplink, 300)
        conversation.send(1, each.downlink, 300)
        conversation.close()
    packets = sorted(packet for each in conversations for packet in each.packets)
    entries = read(write_pcap(packets), account(3))
    for number in (1, 2, 3):
        check_whole(entries, number)
    assert entries[-1] == Summary(connections=3, recognised=3, skipped={})


def test_other_connections_are_named_once_and_not_followed() -> None:
    hello = bytes.fromhex("160301020001000000") + bytes(600)
    conversation = TcpConversation(client=("192.0.2.1", 1))
    conversation.open()
    conversation.send(0, hello, 100)
    conversation.send(1, hello, 100)
    conversation.close()
    silent = TcpConversation(client=("192.0.2.1", 2))
    silent.open()
    silent.close()
    packets = [*conversation.packets, *silent.packets, *packets_of(RECORDING)]
    entries = read(write_pcap(packets))
    (stranger,) = findings(entries, Unrecognised)
    assert isinstance(stranger, Unrecognised)
    assert stranger.protocol == "a TLS ClientHello"
    check_whole(entries, 2)
    assert entries[-1] == Summary(connections=2, recognised=1, skipped={})


def test_a_capture_that_begins_inside_a_connection_says_so() -> None:
    packets = packets_of(RECORDING, 200)[5:]
    connection, stranger, *_ = read(write_pcap(packets))
    assert isinstance(connection, RecordedConnection)
    assert not connection.has_beginning
    assert isinstance(stranger, Record)
    assert isinstance(stranger.finding, Unrecognised)


def test_a_capture_without_the_opening_is_read_all_the_same() -> None:
    check_whole(read(write_pcap(packets_of(RECORDING, 200)[3:])))


def test_a_packet_that_is_missing_costs_one_chunk() -> None:
    recording = record(uplink=[bytes(5000)] * 4)
    packets = packets_of(recording, 500)
    del packets[3 + 8]
    entries = read(write_pcap(packets))
    assert findings(entries, GapFound) == [GapFound(offset=8 * 500, size=500)]
    # Of four and the terminator.
    ups = [
        each for each in entries if isinstance(each, Record) and each.direction is Direction.UPLINK
    ]
    assert len(findings(ups, ChunkFound)) == 4
    assert payload(entries, Direction.DOWNLINK) == b"".join(DOWNLINK_PIECES)


def test_packets_that_were_captured_in_part_cost_what_they_lack() -> None:
    entries = read(write_pcap(packets_of(RECORDING), snap=14 + 52 + 1000))
    assert len(findings(entries, RequestFound)) == 1
    assert len(findings(entries, ResponseFound)) == 1
    gaps = findings(entries, GapFound)
    assert sum(gap.size for gap in gaps) > 500  # type: ignore[attr-defined]


def test_a_capture_that_stops_says_what_is_incomplete() -> None:
    packets = packets_of(RECORDING, 100)[:12]
    entries = read(write_pcap(packets))
    up, down = findings(entries, DirectionEnd)
    assert isinstance(up, DirectionEnd)
    assert isinstance(down, DirectionEnd)
    assert (up.by, up.state, up.offset) == (EndedBy.INPUT, EndState.IN_CHUNK, 900)
    assert (down.by, down.state) == (EndedBy.INPUT, EndState.NOTHING)


@for_each(CAPTURES)
def test_real_sessions_are_read_from_a_capture(capture: dict[str, object]) -> None:
    uplink = unpack(capture["client_to_server"])  # type: ignore[arg-type]
    downlink = unpack(capture["server_to_client"])  # type: ignore[arg-type]
    packets = record_exchange(uplink, downlink)
    time = capture["captured_at"]
    assert isinstance(time, int)
    shift = time - int(packets[0][0])
    shifted = [(at + shift, packet) for at, packet in packets]
    entries = read(write_pcap(shifted), account_of(capture))
    assert entries[-1] == Summary(connections=1, recognised=1, skipped={})
    ends = findings(entries, DirectionEnd)
    sizes = {end.offset for end in ends if isinstance(end, DirectionEnd)}
    assert sizes == {len(uplink), len(downlink)}


# Hex text -----------------------------------------------------------------------------------------


def test_hex_text_is_read_with_the_time_of_now() -> None:
    text = f"# ours\n> {RECORDING.uplink.hex(' ')}\n< {RECORDING.downlink.hex(':', 4)}\n"
    entries = read(text.encode())
    check_whole(entries)
    assert entries[0] == RecordedConnection(number=1)
    (request,) = findings(entries, RequestFound)
    assert isinstance(request, RequestFound)
    assert request.now == NOW + 9


def test_the_server_may_come_first_in_hex_text() -> None:
    large = record(downlink=[bytes(300_000)])
    text = f"server:\n{large.downlink.hex()}\nclient:\n{large.uplink.hex()}\n"
    entries = read(text.encode())
    assert len(payload(entries, Direction.DOWNLINK)) == 300_000


def test_one_direction_alone_is_enough() -> None:
    entries = read(RECORDING.uplink.hex().encode())
    assert payload(entries, Direction.UPLINK) == b"".join(UPLINK_PIECES)


def test_nothing_at_all_is_no_connection() -> None:
    assert read(b"") == [Summary(connections=0, recognised=0, skipped={})]
    assert read(b"# nothing\n") == [Summary(connections=0, recognised=0, skipped={})]


@pytest.mark.parametrize("magic", [b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", b"BZh9"])
def test_a_compressed_file_is_named(magic: bytes) -> None:
    with pytest.raises(RecordingError, match="the file is compressed; unpack it first"):
        read(magic + bytes(10))
