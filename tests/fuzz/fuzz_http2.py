"""Fuzz both ends of HTTP/2, and the messages of gRPC in their streams.

The first byte of an input says which end is fuzzed; the rest is what its peer sends.
"""

import attrs

from tests.kit.vectors import load, unpack
from trio_vmess.core.carriage.grpc import MessageReader
from trio_vmess.core.carriage.http2 import (
    DEFAULT_LIMITS,
    Event,
    Http2Connection,
    Request,
    RequestReceived,
    Response,
    Stream,
)
from trio_vmess.errors import RemoteProtocolError

REQUEST = Request(method="POST", scheme="https", authority="a", path="/S/Tun")
STREAM_COUNT = 3

_SIDES = ((b"s", "client_to_server"), (b"c", "server_to_client"))
_CAPTURES = (*load("transport_h2"), *load("transport_grpc"))

SEEDS = tuple(
    side + unpack(capture[direction]) for capture in _CAPTURES for side, direction in _SIDES
)


@attrs.define(kw_only=True)
class Outcome:
    """All that can be seen of a connection, apart from how its bytes are cut into pieces."""

    events: list[str] = attrs.Factory(list)
    read: dict[int, bytes] = attrs.Factory(dict)
    states: dict[int, object] = attrs.Factory(dict)
    error: str | None = None


def converse(data: bytes, *, is_client: bool, step: int) -> Outcome:
    """Give an end what its peer sends, some bytes at a time, and do what a program would do."""
    outcome, streams = Outcome(), dict[int, Stream]()
    connection = Http2Connection(is_client=is_client)
    if is_client:
        for _ in range(STREAM_COUNT):
            stream = connection.open_stream(REQUEST)
            streams[stream.id] = stream
    try:
        for start in range(0, len(data), step):
            for event in connection.receive_data(memoryview(data)[start : start + step], 0.0):
                outcome.events.append(type(event).__name__)
                _follow(connection, event, streams)
            _check_bounds(connection)
    except RemoteProtocolError as exc:
        outcome.error = str(exc)
    for number, stream in streams.items():
        outcome.read[number] = _read(connection, stream)
        answer = stream.response if is_client else None  # a server's is our own
        outcome.states[number] = (stream.reset_code, stream.is_remote_ended, answer)
    connection.data_to_send()
    return outcome


def _follow(connection: Http2Connection, event: Event, streams: dict[int, Stream]) -> None:
    if isinstance(event, RequestReceived):
        streams[event.stream.id] = event.stream
        connection.respond(event.stream, Response(status=200))


def _read(connection: Http2Connection, stream: Stream) -> bytes:
    buffer, read = memoryview(bytearray(65_536)), bytearray()
    while size := connection.read_into(stream, buffer):
        read += buffer[:size]
    return bytes(read)


def _check_bounds(connection: Http2Connection) -> None:
    """Nothing that the peer sends grows without a limit."""
    limits = DEFAULT_LIMITS
    assert len(connection.streams) <= max(limits.stream_count, STREAM_COUNT)
    for stream in connection.streams.values():
        assert stream.unread_size <= limits.window_max
        assert not stream.is_closed
    assert len(connection._splitter._held) <= 65_536 + 9
    assert len(connection._blocks._block) <= limits.header_block_size


def _unframe(payload: bytes, step: int) -> tuple[bytes, str | None]:
    reader, found = MessageReader(), bytearray()
    try:
        for start in range(0, len(payload), step):
            piece = bytearray(payload[start : start + step])
            size = reader.unframe(memoryview(piece), len(piece))
            found += piece[:size]
    except RemoteProtocolError as exc:
        return b"", str(exc)
    return bytes(found), None


def check(data: bytes) -> None:
    """Raise if how the bytes are cut makes a difference, or anything but the known error comes."""
    is_client, wire = data[:1] == b"c", data[1:]
    whole = converse(wire, is_client=is_client, step=max(1, len(wire)))
    parts = converse(wire, is_client=is_client, step=7)
    assert parts.error == whole.error
    if whole.error is None:
        assert parts == whole
    for payload in whole.read.values():
        assert _unframe(payload, 5) == _unframe(payload, max(1, len(payload)))
