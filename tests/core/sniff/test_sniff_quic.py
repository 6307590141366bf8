"""QUIC: the packet of RFC 9001, and packets of the kit with frames in any order."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.client_hello import KINDS, build_handshake, handshake_of, make_hello, name_extension
from tests.kit.quic_client import crypto_frame, seal_initial, varint
from tests.kit.vectors import load
from trio_vmess.core import NEED_DATA
from trio_vmess.core.sniff import Sniffed, sniff_datagrams

(VECTOR,) = load("quic_initial")
PACKET = bytes.fromhex(VECTOR["packet"])
QUIC = Sniffed(protocol="quic")
FOUND = Sniffed(protocol="quic", domain="example.com")
HELLO = handshake_of(make_hello("Example.com", KINDS["1.3"]))
LONG_HELLO = build_handshake([(51, bytes(1216)), name_extension(b"example.com")])
ACK = b"\x02" + varint(900) + varint(70_000, size=8) + varint(1) + varint(3) + varint(1) + varint(2)


def test_the_packet_of_the_standard() -> None:
    assert len(PACKET) == 1200
    assert sniff_datagrams([PACKET]) == FOUND


def test_the_kit_seals_as_the_standard_does() -> None:
    sealed = seal_initial(bytes.fromhex(VECTOR["frames"]), number=VECTOR["packet_number"])
    assert sealed == PACKET


@pytest.mark.parametrize("number_size", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"connection_id": b""},
        {"connection_id": bytes(range(20)), "source_id": bytes(20)},
        {"token": bytes(200)},
        {"number": 200},
        {"pad_to": 0},
    ],
    ids=str,
)
def test_headers_of_every_kind(number_size: int, settings: dict[str, object]) -> None:
    packet = seal_initial(crypto_frame(0, HELLO), number_size=number_size, **settings)  # type: ignore[arg-type]
    assert sniff_datagrams([packet]) == FOUND


@given(
    cuts=st.sets(st.integers(1, len(HELLO) - 1), max_size=10),
    order=st.randoms(use_true_random=False),
    between=st.sampled_from([b"", b"\x00\x00\x00", b"\x01", ACK]),
)
def test_frames_in_any_order(cuts: set[int], order: object, between: bytes) -> None:
    places = sorted({0, len(HELLO), *cuts})
    frames = [crypto_frame(start, HELLO[start:end]) for start, end in itertools.pairwise(places)]
    order.shuffle(frames)  # type: ignore[attr-defined]
    assert sniff_datagrams([seal_initial(between.join(frames))]) == FOUND


@pytest.mark.parametrize("swapped", [False, True])
def test_a_hello_of_two_datagrams(swapped: bool) -> None:
    first = seal_initial(crypto_frame(0, LONG_HELLO[:1000]))
    second = seal_initial(crypto_frame(1000, LONG_HELLO[1000:]), number=1)
    datagrams = [second, first] if swapped else [first, second]
    assert sniff_datagrams([]) is NEED_DATA
    assert sniff_datagrams(datagrams[:1]) is NEED_DATA
    assert sniff_datagrams(datagrams) == FOUND
    assert sniff_datagrams([*datagrams, b"more"]) == FOUND


def test_overlapping_frames() -> None:
    frames = crypto_frame(0, HELLO[:90]) + crypto_frame(40, HELLO[40:60])
    assert sniff_datagrams([seal_initial(frames + crypto_frame(50, HELLO[50:]))]) == FOUND


def test_two_packets_in_one_datagram() -> None:
    datagram = seal_initial(crypto_frame(0, HELLO[:50]), pad_to=0)
    datagram += seal_initial(crypto_frame(50, HELLO[50:]), pad_to=0, number=1)
    assert sniff_datagrams([datagram]) == FOUND
    zero_rtt = bytes((0xD0,)) + bytes.fromhex("00000001") + b"\x00\x00" + varint(30) + bytes(30)
    assert sniff_datagrams([zero_rtt + datagram + bytes(50)]) == FOUND


def test_a_second_datagram_that_helps_nothing() -> None:
    first = seal_initial(crypto_frame(0, LONG_HELLO[:1000]))
    rest = crypto_frame(1000, LONG_HELLO[1000:])
    damaged = bytearray(seal_initial(rest, number=1))
    damaged[-1] ^= 1
    for second in (b"", b"rubbish", bytes(damaged), seal_initial(rest, connection_id=b"another")):
        assert sniff_datagrams([first, second], limit=3) is NEED_DATA
        assert sniff_datagrams([first, second]) == QUIC


@pytest.mark.parametrize(
    ("datagram", "verdict"),
    [
        pytest.param(seal_initial(b"\x01"), NEED_DATA, id="ping"),
        pytest.param(seal_initial(b""), NEED_DATA, id="padding"),
        pytest.param(seal_initial(b"\x1c\x00\x00\x00"), NEED_DATA, id="close"),
        pytest.param(seal_initial(b"\x06\x00\xff"), NEED_DATA, id="cut frame"),
        pytest.param(seal_initial(crypto_frame(1 << 61, b"x")), NEED_DATA, id="far offset"),
        pytest.param(seal_initial(crypto_frame(0, b"\x02\x00\x00\x01x")), QUIC, id="no hello"),
        pytest.param(
            seal_initial(crypto_frame(0, build_handshake(()))), QUIC, id="hello without a name"
        ),
        pytest.param(b"", None, id="empty"),
        pytest.param(PACKET[:-1], None, id="cut"),
        pytest.param(seal_initial(crypto_frame(0, HELLO), version=2), None, id="version"),
        pytest.param(b"\x80" + PACKET[1:], None, id="no fixed bit"),
        pytest.param(b"\x40" + PACKET[1:], None, id="short header"),
        pytest.param(b"\xf0" + PACKET[1:], None, id="retry"),
        pytest.param(PACKET[:5] + b"\x15" + PACKET[6:], None, id="long connection id"),
        pytest.param(bytes.fromhex("c00000000100000001") + bytes(1), None, id="no sample"),
        pytest.param(bytes.fromhex("0d3a010000010000000000000377777707"), None, id="DNS"),
        pytest.param(bytes.fromhex("160303"), None, id="TLS"),
    ],
)
def test_what_is_sound_and_what_is_not(datagram: bytes, verdict: object) -> None:
    assert sniff_datagrams([datagram]) == verdict


@given(place=st.integers(0, 1199), bit=st.integers(0, 7))
def test_no_flipped_bit_yields_another_name(place: int, bit: int) -> None:
    damaged = bytearray(PACKET)
    damaged[place] ^= 1 << bit
    # Two bits of the first byte are reserved, but sealed like all others.
    assert sniff_datagrams([bytes(damaged)]) is None


@given(data=st.binary(max_size=60), size=st.integers(0, 60))
def test_no_bytes_raise(data: bytes, size: int) -> None:
    sniff_datagrams([data, PACKET])
    sniff_datagrams([PACKET[:size] + data])
    sniff_datagrams([seal_initial(data)])
    sniff_datagrams([seal_initial(crypto_frame(0, data))])
