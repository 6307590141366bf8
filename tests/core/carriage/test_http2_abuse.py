"""What a peer may not do, and what it gets for it."""

import struct

import pytest

from tests.core.carriage.http2_pair import REQUEST, Pair, read_all, receive
from tests.kit.vectors import for_each
from trio_vmess.core.carriage.http2 import ErrorCode, Http2Connection, Limits, StreamReset
from trio_vmess.core.carriage.http2.frames import PREFACE
from trio_vmess.errors import RemoteProtocolError

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
U32 = struct.Struct(">L").pack


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">L", len(payload))[1:] + bytes((kind, flags)) + U32(stream) + payload


def goaway_of(connection: Http2Connection) -> int:
    """Return the error code of the GOAWAY that ends what a connection sends."""
    sent = connection.data_to_send()
    assert sent[-14] == GOAWAY
    return sent[-1]


def open_pair(limits: Limits | None = None) -> Pair:
    pair = Pair() if limits is None else Pair(server_limits=limits)
    pair.open()
    return pair


FATAL = [
    ("DATA on no stream", frame(DATA, payload=b"x"), ErrorCode.PROTOCOL_ERROR),
    ("DATA on an idle stream", frame(DATA, 0, 5, b"x"), ErrorCode.PROTOCOL_ERROR),
    ("DATA on an even stream", frame(DATA, 0, 2, b"x"), ErrorCode.PROTOCOL_ERROR),
    ("all padding", frame(DATA, 8, 1, b"\x05" + bytes(4)), ErrorCode.PROTOCOL_ERROR),
    ("no pad length", frame(DATA, 8, 1), ErrorCode.FRAME_SIZE_ERROR),
    ("HEADERS on no stream", frame(HEADERS, 4, 0, b"\x82"), ErrorCode.PROTOCOL_ERROR),
    ("HEADERS on an even stream", frame(HEADERS, 4, 4, b"\x82"), ErrorCode.PROTOCOL_ERROR),
    ("HEADERS all padding", frame(HEADERS, 12, 3, b"\x05"), ErrorCode.PROTOCOL_ERROR),
    ("half a priority", frame(HEADERS, 0x24, 3, b"\0\0"), ErrorCode.FRAME_SIZE_ERROR),
    ("bad compression", frame(HEADERS, 4, 3, b"\xff\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
    ("CONTINUATION alone", frame(CONTINUATION, 4, 1), ErrorCode.PROTOCOL_ERROR),
    ("CONTINUATION on no stream", frame(CONTINUATION, 4, 0), ErrorCode.PROTOCOL_ERROR),
    (
        "an interrupted block",
        frame(HEADERS, 0, 3, b"\x82") + frame(DATA, 0, 1, b"x"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    (
        "a block goes on elsewhere",
        frame(HEADERS, 0, 3, b"\x82") + frame(CONTINUATION, 4, 5),
        ErrorCode.PROTOCOL_ERROR,
    ),
    ("SETTINGS on a stream", frame(SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
    ("half a setting", frame(SETTINGS, 0, 0, b"\0\0\0"), ErrorCode.FRAME_SIZE_ERROR),
    ("ACK with settings", frame(SETTINGS, 1, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
    (
        "a huge window",
        frame(SETTINGS, 0, 0, b"\0\4" + U32(2**31)),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    ("tiny frames", frame(SETTINGS, 0, 0, b"\0\5" + U32(100)), ErrorCode.PROTOCOL_ERROR),
    ("half push", frame(SETTINGS, 0, 0, b"\0\2" + U32(2)), ErrorCode.PROTOCOL_ERROR),
    ("PUSH_PROMISE", frame(PUSH, 4, 1, U32(2)), ErrorCode.PROTOCOL_ERROR),
    ("PING of 7", frame(PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    ("PING on a stream", frame(PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    ("GOAWAY of 4", frame(GOAWAY, 0, 0, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
    ("RST_STREAM of 3", frame(RST_STREAM, 0, 1, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
    ("RST_STREAM of an idle stream", frame(RST_STREAM, 0, 9, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    ("WINDOW_UPDATE of 0", frame(WINDOW, 0, 0, U32(0)), ErrorCode.FLOW_CONTROL_ERROR),
    ("too large a window", frame(WINDOW, 0, 0, U32(2**31 - 1)), ErrorCode.FLOW_CONTROL_ERROR),
    ("a window of no stream", frame(WINDOW, 0, 9, U32(1)), ErrorCode.PROTOCOL_ERROR),
    ("PRIORITY of 4", frame(PRIORITY, 0, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
    ("a long PING", b"\x10\x00\x01" + bytes((PING,)) + bytes(5), ErrorCode.FRAME_SIZE_ERROR),
    ("long DATA", b"\x10\x00\x01\0\0\0\0\0\1", ErrorCode.FRAME_SIZE_ERROR),
]


@for_each(FATAL, name=lambda case: str(case[0]))
def test_a_wrong_frame_ends_the_connection(case: tuple[str, bytes, ErrorCode]) -> None:
    _, sent, code = case
    for step in (None, 1):
        pair = open_pair()
        with pytest.raises(RemoteProtocolError):
            receive(pair.server, sent, step=step)
        assert goaway_of(pair.server) == code


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSN", b"\x16\x03"])
def test_what_is_not_http_2_is_noticed_with_the_first_wrong_byte(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="not HTTP/2"):
        receive(Http2Connection(is_client=False), data, step=1)


def test_the_first_frame_is_settings() -> None:
    with pytest.raises(RemoteProtocolError, match="SETTINGS"):
        receive(Http2Connection(is_client=False), PREFACE + frame(PING, 0, 0, bytes(8)))


def test_a_client_is_not_told_to_take_pushed_streams() -> None:
    pair = open_pair()
    with pytest.raises(RemoteProtocolError):
        receive(pair.client, frame(SETTINGS, 0, 0, b"\0\2" + U32(1)))


@pytest.mark.parametrize(
    "sent",
    [
        frame(PING, 0, 0, bytes(8)),
        frame(SETTINGS),
        frame(DATA, 0, 1),
        frame(DATA, 8, 1, b"\0"),
        frame(PRIORITY, 0, 1, bytes(5)),
        frame(0x77, 0, 1, b"what"),
        frame(GOAWAY, 0, 0, bytes(8)),
    ],
)
def test_frames_without_use_are_limited_to_a_rate(sent: bytes) -> None:
    pair = open_pair(Limits(control_burst=50, control_rate=10))
    now = 1.0
    receive(pair.server, sent * 50, now=now)
    receive(pair.server, sent * 10, now=now + 1)
    with pytest.raises(RemoteProtocolError, match="too often"):
        receive(pair.server, sent * 2, now=now + 1)
    assert goaway_of(pair.server) == ErrorCode.ENHANCE_YOUR_CALM


def test_pings_that_come_with_data_are_not() -> None:
    pair = open_pair(Limits(control_burst=50, control_rate=0))
    exchange = frame(PING, 0, 0, bytes(8)) + frame(DATA, 0, 1, b"x")
    for _ in range(1000):
        receive(pair.server, exchange)
        pair.server.data_to_send()


def test_streams_are_reset_at_a_rate() -> None:
    pair = Pair(server_limits=Limits(reset_burst=20, reset_rate=5))
    pair.now = 1.0
    for _ in range(20):
        pair.client.reset_stream(pair.open()[0], ErrorCode.CANCEL)
    pair.settle()
    pair.client.reset_stream(pair.open()[0], ErrorCode.CANCEL)
    with pytest.raises(RemoteProtocolError, match="reset"):
        pair.settle()
    assert goaway_of(pair.server) == ErrorCode.ENHANCE_YOUR_CALM


def test_streams_that_we_have_to_reset_count_too() -> None:
    pair = open_pair(Limits(reset_burst=20, reset_rate=5))
    malformed = [frame(HEADERS, 5, number, b"\x82") for number in range(3, 45, 2)]
    receive(pair.server, b"".join(malformed[:20]))
    with pytest.raises(RemoteProtocolError, match="reset"):
        receive(pair.server, malformed[20])


def test_answers_to_a_peer_that_does_not_read_are_limited() -> None:
    pair = open_pair(Limits(reply_size=1700, control_burst=10_000))
    with pytest.raises(RemoteProtocolError, match="does not read"):
        receive(pair.server, frame(PING, 0, 0, bytes(8)) * 101)


def test_a_header_block_has_an_end() -> None:
    for block in (
        frame(HEADERS, 0, 3) + frame(CONTINUATION, 0, 3) * 17,
        frame(HEADERS, 0, 3, bytes(60_000)) + frame(CONTINUATION, 0, 3, bytes(60_000)),
    ):
        pair = open_pair()
        with pytest.raises(RemoteProtocolError, match="without end"):
            receive(pair.server, block)
        assert goaway_of(pair.server) == ErrorCode.ENHANCE_YOUR_CALM


def test_a_small_block_cannot_become_a_large_list() -> None:
    pair = open_pair()
    bomb = b"\x40\x01a" + b"\x7f\xa1\x1e" + b"x" * 4000 + b"\xbe" * 100
    with pytest.raises(RemoteProtocolError):
        receive(pair.server, frame(HEADERS, 4, 3, bomb))
    assert goaway_of(pair.server) == ErrorCode.ENHANCE_YOUR_CALM


def test_the_windows_are_kept() -> None:
    pair = open_pair(Limits(window_first=1000, connection_window=70_000))
    seen = receive(pair.server, frame(DATA, 0, 1, bytes(1001)))
    assert [type(event) for event in seen] == [StreamReset]
    with pytest.raises(RemoteProtocolError, match="connection's window"):
        receive(pair.server, frame(DATA, 0, 1, bytes(70_001)))


def test_the_rest_of_a_stream_that_was_reset_is_not_kept() -> None:
    pair = open_pair(Limits(window_first=1000))
    stream = pair.server.streams[1]
    receive(pair.server, frame(DATA, 0, 1, bytes(5000)), step=100)
    assert stream.unread_size == 0
    assert stream.fault is not None


MALFORMED = [
    {b":method": b"GET", b":scheme": b"https"},
    {b":method": b"", b":scheme": b"https", b":path": b"/"},
    {b":method": b"GET", b":scheme": b"https", b":path": b"/", b":status": b"200"},
    {b":method": b"GET", b":scheme": b"https", b"a": b"b", b":path": b"/"},
    {b":method": b"GET", b":scheme": b"https", b":path": b"/", b"Upper": b"x"},
    {b":method": b"GET", b":scheme": b"https", b":path": b"/", b"connection": b"close"},
    {b":method": b"GET", b":scheme": b"https", b":path": b"/", b"te": b"gzip"},
    {b":method": b"GET", b":scheme": b"https", b":path": b"/", b"a": b"b\r\nc: d"},
    {b":method": b"GET", b":scheme": b"https", b":path": b" /"},
    {b":method": b"GET", b":scheme": b"https", b":path": b"/", b"": b"x"},
]


@for_each(MALFORMED, name=str)
def test_a_malformed_request_is_reset_and_the_connection_goes_on(
    fields: dict[bytes, bytes],
) -> None:
    pair = open_pair()
    block = pair.client._blocks.encode(tuple(fields.items()))
    receive(pair.server, frame(HEADERS, 5, 3, block))
    assert list(pair.server.streams) == [1]
    assert pair.server.data_to_send() == frame(RST_STREAM, 0, 3, U32(ErrorCode.PROTOCOL_ERROR))


@pytest.mark.parametrize("status", [b"", b"20", b"2000", b"abc"])
def test_a_malformed_response_is_a_reset(status: bytes) -> None:
    pair = Pair()
    stream = pair.client.open_stream(REQUEST)
    pair.settle()
    block = pair.server._blocks.encode(((b":status", status),))
    assert receive(pair.client, frame(HEADERS, 4, 1, block)) == [StreamReset(stream)]
    assert stream.fault is not None


def test_nothing_follows_the_end_of_a_stream() -> None:
    for late in (frame(DATA, 0, 1, b"x"), frame(HEADERS, 5, 1, b"")):
        pair = open_pair()
        stream = pair.server.streams[1]
        receive(pair.server, frame(DATA, 1, 1, b"last"))
        assert receive(pair.server, late) == [StreamReset(stream)]
        assert stream.reset_code == ErrorCode.STREAM_CLOSED
        assert read_all(pair.server, stream) == b"last"


def test_data_does_not_come_before_the_response() -> None:
    pair = Pair()
    stream = pair.client.open_stream(REQUEST)
    pair.settle()
    assert receive(pair.client, frame(DATA, 0, 1, b"x")) == [StreamReset(stream)]
