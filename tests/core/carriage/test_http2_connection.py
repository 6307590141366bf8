"""Both ends of a connection: streams, windows, ends, resets, and what a GOAWAY leaves."""

import pytest

from tests.core.carriage.http2_pair import OK, REQUEST, Pair, read_all, receive, send_while_possible
from trio_vmess.core.carriage.http2 import (
    DataReceived,
    ErrorCode,
    GoAwayReceived,
    Limits,
    PingAcknowledged,
    RequestReceived,
    Response,
    ResponseReceived,
    SettingsReceived,
    StreamEnded,
    StreamReset,
    WindowOpened,
)
from trio_vmess.errors import LocalProtocolError

PAYLOAD = bytes(range(256)) * 1024


def test_a_stream_is_opened_answered_used_and_ended() -> None:
    pair = Pair()
    stream = pair.client.open_stream(REQUEST)
    pair.client.send_data(stream, memoryview(b"ping"), is_last=True)
    _, seen = pair.settle()
    theirs = pair.server.streams[1]
    assert seen == [
        SettingsReceived(),
        RequestReceived(theirs),
        DataReceived(theirs),
        StreamEnded(theirs),
    ]
    assert theirs.request == REQUEST
    assert read_all(pair.server, theirs) == b"ping"

    pair.server.respond(theirs, Response(status=200, fields=((b"x-a", b"b"),)))
    pair.server.send_data(theirs, memoryview(b"pong"))
    pair.server.end_stream(theirs, ((b"grpc-status", b"0"),))
    seen, _ = pair.settle()
    assert seen == [ResponseReceived(stream), DataReceived(stream), StreamEnded(stream)]
    assert read_all(pair.client, stream) == b"pong"
    assert stream.response is not None
    assert stream.response.find(b"x-a") == "b"
    assert stream.trailers == ((b"grpc-status", b"0"),)
    assert not pair.client.streams
    assert not pair.server.streams


@pytest.mark.parametrize("step", [1, 2, 7, 9, 10, 1000])
def test_cuts_make_no_difference(step: int) -> None:
    pair = Pair()
    stream = pair.client.open_stream(REQUEST)
    pair.client.send_data(stream, memoryview(PAYLOAD[:20_000]), is_last=True)
    seen = receive(pair.server, pair.client.data_to_send(), step=step)
    theirs = pair.server.streams[1]
    assert seen == [
        SettingsReceived(),
        RequestReceived(theirs),
        DataReceived(theirs),
        StreamEnded(theirs),
    ]
    assert read_all(pair.server, theirs, 777) == PAYLOAD[:20_000]


def test_padding_is_skipped_and_charged() -> None:
    pair = Pair()
    _, theirs = pair.open()
    frame = b"\x00\x00\x0a" + b"\x00\x08" + b"\x00\x00\x00\x01" + b"\x05" + b"data" + bytes(5)
    for step in (1, 3, None):
        receive(pair.server, frame, step=step)
        assert read_all(pair.server, theirs) == b"data"
    empty = b"\x00\x00\x01" + b"\x00\x09" + b"\x00\x00\x00\x01" + b"\x00"
    assert receive(pair.server, empty) == [StreamEnded(theirs)]


def test_a_window_that_nobody_reads_from_holds_the_sender() -> None:
    limits = Limits(window_first=100_000, window_max=100_000)
    pair = Pair(server_limits=limits)
    ours, theirs = pair.open()
    assert send_while_possible(pair.client, ours, PAYLOAD, pair.settle) == 100_000
    with pytest.raises(LocalProtocolError):
        pair.client.send_data(ours, memoryview(b"x"))
    assert read_all(pair.server, theirs) == PAYLOAD[:100_000]
    assert WindowOpened(ours) in pair.settle()[0]
    assert pair.client.sendable_size(ours) == 100_000


def test_streams_that_stand_still_do_not_stop_others() -> None:
    limits = Limits(window_first=100_000, connection_window=200_000)
    pair = Pair(server_limits=limits)
    for _ in range(10):
        ours, _ = pair.open()
        assert send_while_possible(pair.client, ours, PAYLOAD, pair.settle) == 100_000
    ours, theirs = pair.open()
    assert send_while_possible(pair.client, ours, b"through", pair.settle) == 7
    assert read_all(pair.server, theirs) == b"through"


def test_a_window_grows_while_its_reader_keeps_up_and_others_have_not_used_it_up() -> None:
    limits = Limits(window_first=65_536, window_max=262_144, growth_sum=250_000)
    pair = Pair(server_limits=limits)

    def carry() -> int:
        """Return the window of a new stream that has carried a few windows."""
        ours, theirs = pair.open()
        for _ in range(10):
            send_while_possible(pair.client, ours, PAYLOAD[:65_536], pair.settle)
            read_all(pair.server, theirs, 1 << 20)
            pair.settle()
        return pair.client.sendable_size(ours)

    assert 196_608 < carry() <= 262_144
    assert 65_536 < carry() < 131_072
    for stream in list(pair.client.streams.values()):
        pair.client.reset_stream(stream, ErrorCode.CANCEL)
    pair.settle()
    assert carry() > 196_608


def test_a_limited_window_shrinks() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    theirs.limit_window(4096)
    first = pair.client.sendable_size(ours)
    sent = send_while_possible(pair.client, ours, bytes(first), pair.settle)
    read_all(pair.server, theirs)
    pair.settle()
    assert (sent, pair.client.sendable_size(ours)) == (first, 4096)


def test_settings_move_the_windows_of_open_streams() -> None:
    pair = Pair()
    ours, _ = pair.open()
    before = pair.client.sendable_size(ours)
    pair.client.send_data(ours, memoryview(bytes(before)))
    pair.settle()
    smaller = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00" + b"\x00\x04" + (1000).to_bytes(4, "big")
    receive(pair.client, smaller)
    assert ours.send_window == 1000 - before
    assert pair.client.sendable_size(ours) == 0


def test_small_payloads_cost_little_memory() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    for number in range(40_000):
        pair.client.send_data(ours, memoryview(bytes((number & 0xFF,))))
    pair.settle()
    assert theirs.unread_size == 40_000
    assert len(theirs._chunks) <= 3
    assert read_all(pair.server, theirs, 1000) == PAYLOAD[:40_000]


def test_a_reset_reaches_the_other_end_and_late_frames_are_ignored() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    pair.client.send_data(ours, memoryview(b"before"))
    pair.client.reset_stream(ours, ErrorCode.CANCEL)
    pair.server.send_data(theirs, memoryview(b"late"))
    pair.server.end_stream(theirs, ((b"grpc-status", b"0"),))
    ours_seen, theirs_seen = pair.settle()
    assert theirs_seen == [DataReceived(theirs), StreamReset(theirs)]
    assert theirs.reset_code == ErrorCode.CANCEL
    assert read_all(pair.server, theirs) == b"before"
    assert ours_seen == []
    pair.open()


def test_a_server_takes_as_many_streams_as_it_says() -> None:
    pair = Pair(server_limits=Limits(stream_count=3))
    pair.open()
    for _ in range(2):
        pair.open()
    assert not pair.client.can_open
    pair.client.peer.stream_count = 4
    refused = pair.client.open_stream(REQUEST)
    assert pair.settle()[0] == [StreamReset(refused)]
    assert refused.reset_code == ErrorCode.REFUSED_STREAM
    pair.server.reset_stream(pair.server.streams[1], ErrorCode.NO_ERROR)
    pair.settle()
    pair.open()


def test_a_goaway_ends_what_was_not_looked_at_and_nothing_else() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    pair.server.close()
    late = pair.client.open_stream(REQUEST)
    seen, _ = pair.settle()
    assert seen == [GoAwayReceived(ErrorCode.NO_ERROR), StreamReset(late)]
    assert not pair.client.can_open
    with pytest.raises(LocalProtocolError):
        pair.client.open_stream(REQUEST)
    pair.client.send_data(ours, memoryview(b"still"))
    pair.settle()
    assert read_all(pair.server, theirs) == b"still"


def test_pings_are_answered() -> None:
    pair = Pair()
    pair.client.ping(b"12345678")
    assert PingAcknowledged(b"12345678") in pair.settle()[0]


def test_an_informational_response_is_not_the_response() -> None:
    pair = Pair()
    stream = pair.client.open_stream(REQUEST)
    pair.settle()
    theirs = pair.server.streams[1]
    pair.server.respond(theirs, Response(status=103))
    assert pair.settle()[0] == []
    pair.server.respond(theirs, OK)
    assert pair.settle()[0] == [ResponseReceived(stream)]


def test_a_large_header_list_takes_several_frames() -> None:
    pair = Pair()
    stream = pair.client.open_stream(REQUEST)
    pair.settle()
    fields = tuple((b"x-%d" % number, b"~" * 1000) for number in range(30))
    pair.server.respond(pair.server.streams[1], Response(status=200, fields=fields))
    assert pair.settle()[0] == [ResponseReceived(stream)]
    assert stream.response is not None
    assert tuple(stream.response.fields) == fields
