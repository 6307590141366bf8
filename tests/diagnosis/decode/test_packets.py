"""Files of tcpdump and Wireshark: every link and format, cut off and damaged."""

import contextlib
import importlib
import io
import itertools
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.packets import (
    ACK,
    CLIENT,
    LINKS,
    SERVER,
    SYN,
    Packet,
    TcpConversation,
    build_packet,
    record_exchange,
    write_pcap,
    write_pcapng,
)
from trio_vmess.diagnosis.decode.packets import read_segments
from trio_vmess.diagnosis.decode.segments import Segment, SkippedPacket, show_endpoint
from trio_vmess.diagnosis.decode.source import Source
from trio_vmess.errors import RecordingError

PACKETS = record_exchange(b"request" * 10, b"answer")


def read(data: bytes) -> list[Segment | SkippedPacket]:
    source = Source(io.BytesIO(data))
    assert source.is_capture
    return list(read_segments(source))


def expect(packets: list[Packet]) -> list[tuple[str, bytes]]:
    """Return who sent which data; it is behind 20 and 32 bytes of headers in these packets."""
    return [
        ("client" if packet[12:16] == bytes((192, 0, 2, 1)) else "server", packet[52:])
        for _, packet in packets
    ]


def found(segments: list[Segment | SkippedPacket]) -> list[tuple[str, bytes]]:
    shown = {"192.0.2.1:50000": "client", "198.51.100.2:10086": "server"}
    return [
        (shown[show_endpoint(each.source)], each.data)
        for each in segments
        if isinstance(each, Segment)
    ]


FILES = {
    **{f"pcap, {link}": write_pcap(PACKETS, link=link) for link in LINKS},
    **{f"pcapng, {link}": write_pcapng(PACKETS, link=link) for link in LINKS},
    "pcap, big-endian": write_pcap(PACKETS, order=">"),
    "pcap, nanoseconds": write_pcap(PACKETS, nanoseconds=True),
}


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_of_file_has_the_same_segments(kind: str) -> None:
    segments = read(FILES[kind])
    assert found(segments) == expect(PACKETS)
    first, second, *_ = segments
    assert isinstance(first, Segment)
    assert isinstance(second, Segment)
    assert (first.syn, first.ack, second.syn, second.ack) == (True, False, True, True)
    assert first.time == pytest.approx(1_700_000_000.5, abs=0.001)
    assert all(isinstance(each, Segment) and not each.missing for each in segments)


def test_ipv6_is_read() -> None:
    conversation = TcpConversation(client=("2001:db8::1", 1), server=("2001:db8::2", 2))
    conversation.open()
    conversation.send(0, b"request")
    segment = read(write_pcap(conversation.packets))[3]
    assert isinstance(segment, Segment)
    assert show_endpoint(segment.source) == "[2001:db8::1]:1"
    assert (segment.data, segment.missing) == (b"request", 0)


def test_what_was_cut_off_a_packet_is_counted() -> None:
    packet = (1.0, build_packet(CLIENT, SERVER, 5, bytes(1000)))
    (segment,) = read(write_pcap([packet], snap=14 + 52 + 100))
    assert isinstance(segment, Segment)
    assert (len(segment.data), segment.missing) == (100, 900)


def test_a_packet_that_the_card_was_to_cut_is_taken_as_it_is() -> None:
    packet = bytearray(build_packet(CLIENT, SERVER, 5, b"data"))
    packet[2:4] = b"\0\0"
    (segment,) = read(write_pcap([(1.0, bytes(packet))], link="raw"))
    assert isinstance(segment, Segment)
    assert (segment.data, segment.missing) == (b"data", 0)


def test_packets_that_hold_no_segment_are_counted_by_what_they_are() -> None:
    udp = bytearray(build_packet(CLIENT, SERVER, 5, b"data"))
    udp[9] = 17
    packets = [
        (1.0, bytes(udp)),
        (1.0, build_packet(CLIENT, SERVER, 5, b"data", is_first_fragment=True)),
        (1.0, build_packet(CLIENT, SERVER, 5)[:30]),
        (1.0, b"\x45"),
        (1.0, b""),
    ]
    reasons = [
        each.reason if isinstance(each, SkippedPacket) else None
        for each in read(write_pcap(packets, link="raw"))
    ]
    assert reasons == ["not TCP", "IP fragment", "not TCP", "damaged or cut", "damaged or cut"]


def test_packets_inside_a_tunnel_are_found() -> None:
    inner = build_packet(CLIENT, SERVER, 5, b"data")
    outer = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(inner), 0, 0, 64, 4, 0) + bytes(8)
    (segment,) = read(write_pcap([(1.0, outer + inner)], link="raw"))
    assert isinstance(segment, Segment)
    assert segment.data == b"data"


# Cut off and damaged ------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "head"), [("pcap, ethernet", 24), ("pcapng, ethernet", 28 + 20)])
def test_a_file_that_is_cut_off_anywhere_is_read_up_to_there(kind: str, head: int) -> None:
    data = FILES[kind]
    counts: list[int] = []
    for size in range(4, len(data)):
        if size < head:
            with pytest.raises(RecordingError, match="head of the capture"):
                read(data[:size])
            continue
        segments = read(data[:size])
        whole = [each for each in segments if isinstance(each, Segment) and not each.missing]
        assert found(list(whole)) == expect(PACKETS)[: len(whole)]
        counts.append(len(whole))
    assert counts == sorted(counts)
    assert len(PACKETS) - 1 <= counts[-1] <= len(PACKETS)


def test_a_record_that_claims_to_be_huge_is_not_read() -> None:
    data = bytearray(FILES["pcap, ethernet"])
    data[24 + 8 : 24 + 12] = b"\xff\xff\xff\xff"
    with pytest.raises(RecordingError, match=r"damaged at byte 40: a record of 4294967295 bytes"):
        read(bytes(data))


@given(st.sampled_from(sorted(FILES)), st.integers(4, 500), st.binary(min_size=1, max_size=40))
def test_damage_anywhere_is_told_or_harmless(kind: str, at: int, noise: bytes) -> None:
    data = FILES[kind]
    with contextlib.suppress(RecordingError):
        read(data[:at] + noise + data[at + len(noise) :])


def test_a_link_that_is_not_known_is_named() -> None:
    data = bytearray(FILES["pcap, ethernet"])
    data[20:24] = struct.pack("<I", 105)
    with pytest.raises(RecordingError, match="captures of link type 105 are not supported"):
        read(bytes(data))


def test_nested_packets_do_not_exhaust_the_stack() -> None:
    packet = build_packet(CLIENT, SERVER, 5, b"data", flags=SYN | ACK)
    for _ in range(3000):
        packet = struct.pack(">BBHHHBBH", 0x45, 0, 0, 0, 0, 64, 4, 0) + bytes(8) + packet
    (skipped,) = read(write_pcap([(1.0, packet)], link="raw"))
    assert skipped == SkippedPacket(reason="damaged or cut")


def test_the_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "trio_vmess.diagnosis.decode.packets"
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dpkt", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'trio-vmess\[decode\]'"):
        importlib.import_module(name)


def test_all_orders_of_a_few_packets_have_the_same_segments() -> None:
    few = PACKETS[:4]
    for order in itertools.permutations(few):
        assert found(read(write_pcap(order))) == expect(list(order))
