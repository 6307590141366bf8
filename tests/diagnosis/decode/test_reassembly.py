"""TCP segments in every order, several times and not at all."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_vmess.core.dissection import Direction, EndedBy
from trio_vmess.diagnosis.decode import reassembly
from trio_vmess.diagnosis.decode.reassembly import Event, Piece, Reassembler
from trio_vmess.diagnosis.decode.segments import Endpoint, Segment

CLIENT: Endpoint = (b"\xc0\0\2\1", 50000)
SERVER: Endpoint = (b"\xc0\0\2\2", 443)
FIRST = 0xFFFF_FFF0  # soon wraps
UP, DOWN = Direction.UPLINK, Direction.DOWNLINK
TEXT = bytes(range(200))


def client(position: int, data: bytes = b"", **more: bool) -> Segment:
    """Return a segment of the client; position 0 is its first byte."""
    sequence = (FIRST + position) % 2**32
    return Segment(time=0, source=CLIENT, target=SERVER, sequence=sequence, data=data, **more)


def server(position: int, data: bytes = b"", **more: bool) -> Segment:
    sequence = (5000 + position) % 2**32
    return Segment(time=0, source=SERVER, target=CLIENT, sequence=sequence, data=data, **more)


SYN = client(-1, syn=True)
SYN_ACK = server(-1, syn=True, ack=True)


def follow(segments: Iterable[Segment], reassembler: Reassembler | None = None) -> list[Event]:
    reassembler = reassembler or Reassembler()
    events = [event for segment in segments for event in reassembler.receive(segment)]
    return [*events, *reassembler.end()]


def pieces(events: list[Event], direction: Direction = UP) -> list[Piece]:
    return [
        event.what
        for event in events
        if event.direction is direction and isinstance(event.what, Piece)
    ]


def data_of(events: list[Event], direction: Direction = UP) -> bytes:
    return b"".join(piece.data for piece in pieces(events, direction))


def ends(events: list[Event]) -> list[tuple[Direction, EndedBy]]:
    return [(event.direction, event.what) for event in events if isinstance(event.what, EndedBy)]


def test_both_directions_come_in_order_with_their_ends() -> None:
    events = follow(
        [
            SYN,
            SYN_ACK,
            client(0, b"hello"),
            server(0, b"hi"),
            client(5, b"!", fin=True),
            server(2, fin=True),
        ]
    )
    assert [(event.direction, event.what) for event in events] == [
        (UP, Piece(b"hello", 0)),
        (DOWN, Piece(b"hi", 0)),
        (UP, Piece(b"!", 0)),
        (UP, EndedBy.FIN),
        (DOWN, EndedBy.FIN),
    ]
    (connection,) = {event.connection for event in events}
    assert (connection.client, connection.server) == (CLIENT, SERVER)
    assert connection.has_beginning


@given(st.lists(st.tuples(st.integers(0, 190), st.integers(1, 60)), max_size=30), st.randoms())
def test_any_overlapping_segments_in_any_order_make_the_same_bytes(
    spans: list[tuple[int, int]], rng: random.Random
) -> None:
    covering = [(start, 10) for start in range(0, 200, 10)]
    segments = [client(start, TEXT[start : start + size]) for start, size in [*covering, *spans]]
    rng.shuffle(segments)
    events = follow([SYN, *segments, client(200, fin=True)])
    assert data_of(events) == TEXT
    assert all(not piece.missing for piece in pieces(events))
    assert ends(events) == [(UP, EndedBy.FIN), (DOWN, EndedBy.INPUT)]


def test_what_was_never_captured_is_a_gap_at_the_end_of_the_capture() -> None:
    events = follow([SYN, client(0, b"abc"), client(10, b"xyz"), client(20, b"!")])
    assert pieces(events) == [
        Piece(b"abc", 0),
        Piece(b"", 7),
        Piece(b"xyz", 0),
        Piece(b"", 7),
        Piece(b"!", 0),
    ]
    assert ends(events) == [(UP, EndedBy.INPUT), (DOWN, EndedBy.INPUT)]


def test_what_was_cut_off_a_packet_is_a_gap_behind_it() -> None:
    cut = Segment(time=0, source=CLIENT, target=SERVER, sequence=FIRST, data=b"abc", missing=4)
    assert pieces(follow([SYN, cut, client(7, b"x")])) == [Piece(b"abc", 4), Piece(b"x", 0)]


def test_a_gap_is_given_up_when_too_much_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reassembly, "WAITING_MAX", 3000)
    reassembler = Reassembler()
    assert reassembler.receive(SYN) == []
    assert reassembler.receive(client(100, bytes(1000))) == []
    assert reassembler.receive(client(1100, bytes(1000))) == []
    events = reassembler.receive(client(2100, bytes(1000)))
    assert [event.what for event in events] == [
        Piece(b"", 100),
        *[Piece(bytes(1000), 0)] * 3,
    ]


def test_what_waits_in_all_connections_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reassembly, "ALL_WAITING_MAX", 20_000)
    reassembler = Reassembler()
    given_up = 0
    for port in range(100):
        source = (CLIENT[0], port)
        for position in (0, 5000):
            segment = Segment(
                time=0, source=source, target=SERVER, sequence=position, data=bytes(1000)
            )
            given_up += len(reassembler.receive(segment)) - (position == 0)
    assert reassembler._waiting_size <= 20_000
    assert given_up == 2 * (100 - 15)


def test_reset_ends_both_directions() -> None:
    events = follow([SYN, SYN_ACK, client(0, b"a"), server(0, b"b"), server(1, rst=True)])
    assert ends(events) == [(UP, EndedBy.RST), (DOWN, EndedBy.RST)]


def test_a_reset_behind_the_end_of_one_direction_ends_the_other() -> None:
    events = follow([SYN, client(0, b"a", fin=True), server(0, rst=True), client(2, rst=True)])
    assert ends(events) == [(UP, EndedBy.FIN), (DOWN, EndedBy.RST)]


def test_who_sends_first_is_the_client_where_the_opening_is_missing() -> None:
    events = follow([server(0), client(50, b"request"), server(0, b"answer")])
    assert {event.connection.client for event in events} == {CLIENT}
    assert not events[0].connection.has_beginning
    assert (data_of(events), data_of(events, DOWN)) == (b"request", b"answer")


def test_the_answer_to_an_opening_tells_the_client_as_well() -> None:
    events = follow([SYN_ACK, server(0, b"banner"), client(0, b"request")])
    assert {event.connection.client for event in events} == {CLIENT}
    assert events[0].connection.has_beginning


def test_the_same_ports_may_be_used_again() -> None:
    again = Segment(time=1, source=CLIENT, target=SERVER, sequence=777, syn=True)
    more = Segment(time=1, source=CLIENT, target=SERVER, sequence=778, data=b"second")
    events = follow([SYN, SYN, client(0, b"first"), again, more])
    assert [event.connection.number for event in events] == [1, 1, 1, 2, 2, 2]
    assert ends(events)[:2] == [(UP, EndedBy.REPLACED), (DOWN, EndedBy.REPLACED)]
    assert data_of(events) == b"firstsecond"


def test_bytes_in_the_opening_are_read() -> None:
    fast_open = client(-1, b"early", syn=True)
    assert data_of(follow([fast_open, client(0, b"early later")])) == b"early later"


def test_a_keep_alive_is_no_byte() -> None:
    events = follow([SYN, client(0, b"abc"), client(2, b"\0"), client(2), client(3, b"d")])
    assert data_of(events) == b"abcd"


def test_only_so_many_connections_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reassembly, "CONNECTIONS_MAX", 3)
    segments = [
        Segment(time=0, source=(CLIENT[0], port), target=SERVER, sequence=0, data=b"x")
        for port in (1, 2, 3, 1, 4)
    ]
    events = follow(segments)
    forgotten = [event for event in events if event.what is EndedBy.FORGOTTEN]
    assert [event.connection.client[1] for event in forgotten] == [2, 2]


def test_a_connection_that_is_ignored_keeps_and_yields_nothing() -> None:
    reassembler = Reassembler()
    (event,) = [*reassembler.receive(SYN), *reassembler.receive(client(0, b"abc"))]
    reassembler.receive(client(50, bytes(5000)))
    reassembler.ignore(event.connection)
    assert reassembler._waiting_size == 0
    assert follow([client(3, b"more"), client(50, b"waits")], reassembler) == []
