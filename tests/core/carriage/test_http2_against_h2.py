"""Our end against the one of h2, which shares no code with it but the compression of headers."""

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tests.core.carriage.http2_pair import REQUEST, read_all, receive
from trio_vmess.core.carriage.http2 import (
    ErrorCode,
    Http2Connection,
    RequestReceived,
    Response,
    StreamReset,
)

HEADERS = [(":method", "PUT"), (":scheme", "https"), (":authority", "a"), (":path", "/tunnel")]


class Meeting:
    """One of our ends, and one of h2's."""

    def __init__(self, *, is_client: bool) -> None:
        self.ours = Http2Connection(is_client=is_client)
        config = h2.config.H2Configuration(client_side=not is_client, header_encoding="ascii")
        self.theirs = h2.connection.H2Connection(config)
        self.theirs.initiate_connection()
        self.seen: list[object] = []
        self.theirs_seen: list[object] = []
        self.received = bytearray()
        self.settle()

    def settle(self) -> None:
        while True:
            from_us, from_them = self.ours.data_to_send(), self.theirs.data_to_send()
            if not from_us and not from_them:
                return
            self.seen += receive(self.ours, from_them)
            for event in self.theirs.receive_data(from_us) if from_us else ():
                self.theirs_seen.append(event)
                if isinstance(event, h2.events.DataReceived):
                    assert event.data is not None
                    self.received += event.data
                    size = event.flow_controlled_length
                    assert size is not None
                    self.theirs.acknowledge_received_data(size, event.stream_id)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 200_000), max_size=6))
def test_a_server_of_h2_receives_what_our_client_sends(sizes: list[int]) -> None:
    meeting = Meeting(is_client=True)
    stream = meeting.ours.open_stream(REQUEST)
    sent = bytearray()
    for number, size in enumerate(sizes):
        piece = memoryview(bytes((number,)) * size)
        sent += piece
        while piece:
            count = meeting.ours.sendable_size(stream)
            meeting.ours.send_data(stream, piece[:count])
            piece = piece[count:]
            meeting.settle()
    meeting.ours.end_stream(stream)
    meeting.settle()
    assert meeting.received == sent
    assert isinstance(meeting.theirs_seen[-1], h2.events.StreamEnded)
    meeting.theirs.send_headers(1, [(":status", "200")])
    meeting.theirs.send_data(1, b"answer")
    meeting.theirs.send_headers(1, [("grpc-status", "0")], end_stream=True)
    meeting.settle()
    assert read_all(meeting.ours, stream) == b"answer"
    assert stream.trailers == ((b"grpc-status", b"0"),)
    assert not meeting.ours.streams


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 16_000), st.integers(0, 255), st.integers(1, 40))
def test_a_client_of_h2_is_understood_by_our_server(size: int, padding: int, count: int) -> None:
    meeting = Meeting(is_client=False)
    meeting.theirs.send_headers(1, HEADERS)
    meeting.settle()
    event = next(each for each in meeting.seen if isinstance(each, RequestReceived))
    meeting.ours.respond(event.stream, Response(status=200))
    payload, read = bytes(range(251)) * 64, bytearray()
    for _ in range(count):
        meeting.theirs.send_data(1, payload[:size], pad_length=padding)
        meeting.settle()
        read += read_all(meeting.ours, event.stream)
    assert read == payload[:size] * count
    meeting.theirs.end_stream(1)
    meeting.settle()
    assert event.stream.is_remote_ended
    meeting.ours.send_data(event.stream, memoryview(b"answer"), is_last=True)
    meeting.settle()
    assert meeting.received == b"answer"
    assert not meeting.ours.streams


def test_a_client_of_h2_can_reset_and_go_on() -> None:
    meeting = Meeting(is_client=False)
    meeting.theirs.send_headers(1, HEADERS)
    meeting.theirs.reset_stream(1, ErrorCode.CANCEL)
    meeting.theirs.send_headers(3, HEADERS)
    meeting.settle()
    assert any(isinstance(each, StreamReset) for each in meeting.seen)
    assert list(meeting.ours.streams) == [3]


def test_h2_keeps_to_the_limits_that_we_announce() -> None:
    meeting = Meeting(is_client=False)
    assert meeting.theirs.remote_settings.max_concurrent_streams == 250
    assert meeting.theirs.max_outbound_frame_size == 1024 * 1024
    assert meeting.theirs.remote_settings.max_header_list_size == 64 * 1024
    meeting.theirs.send_headers(1, HEADERS)
    assert meeting.theirs.local_flow_control_window(1) == 512 * 1024
    assert meeting.theirs.outbound_flow_control_window == 16 * 1024 * 1024


def test_h2_understands_why_it_is_sent_away() -> None:
    meeting = Meeting(is_client=False)
    meeting.ours.close(ErrorCode.ENHANCE_YOUR_CALM)
    meeting.settle()
    last = meeting.theirs_seen[-1]
    assert isinstance(last, h2.events.ConnectionTerminated)
    assert last.error_code == ErrorCode.ENHANCE_YOUR_CALM


def test_many_streams_share_the_tables_of_header_compression() -> None:
    meeting = Meeting(is_client=True)
    for _ in range(20):
        stream = meeting.ours.open_stream(REQUEST)
        meeting.settle()
        meeting.theirs.send_headers(stream.id, [(":status", "200"), ("date", "x" * stream.id)])
        meeting.settle()
        assert stream.response is not None
        assert stream.response.find(b"date") == "x" * stream.id


@pytest.mark.parametrize("size", [0, 100, 4096, 1 << 20])
def test_the_table_follows_the_peers_setting(size: int) -> None:
    meeting = Meeting(is_client=True)
    meeting.theirs.update_settings({1: size})
    meeting.settle()
    for _ in range(3):
        meeting.ours.open_stream(REQUEST)
        meeting.settle()
    requests = [each for each in meeting.theirs_seen if type(each) is h2.events.RequestReceived]
    assert len(requests) == 3
