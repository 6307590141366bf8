"""Both ends of a carrier."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.mux.frames import read
from trio_vmess.core import Destination, Network
from trio_vmess.core.mux import (
    SESSION_ID_MAX,
    XUDP_SESSION,
    End,
    Frame,
    Keep,
    KeepAlive,
    MuxClient,
    MuxServer,
    New,
    encode_frame,
)
from trio_vmess.errors import LocalProtocolError, RemoteProtocolError

WEB = Destination(host="example.com", port=443)
DNS = Destination(host="dns.example", port=53, network=Network.UDP)


def serve(server: MuxServer, *frames: Frame) -> list[Frame]:
    return server.receive_data(b"".join(map(encode_frame, frames)))


def sent(end: MuxServer | MuxClient) -> list[Frame]:
    return read([end.data_to_send()])


def test_a_session_from_beginning_to_end() -> None:
    client, server = MuxClient(), MuxServer()
    assert client.open(WEB, data=b"GET") == 1
    assert server.receive_data(client.data_to_send()) == [New(1, WEB, b"GET")]
    server.send_data(1, b"200")
    assert client.receive_data(server.data_to_send()) == [Keep(1, b"200")]
    server.end(1)
    assert client.receive_data(server.data_to_send()) == [End(1)]
    assert not client.is_open(1)
    assert not server.is_open(1)
    assert not server.queued_size


def test_sessions_are_numbered_from_one() -> None:
    client = MuxClient()
    assert [client.open(WEB) for _ in range(3)] == [1, 2, 3]
    client.end(2)
    assert client.open(WEB) == 4
    assert client.open_sessions == {1, 3, 4}
    assert client.session_count == 3


def test_a_carrier_has_65535_sessions() -> None:
    client = MuxClient()
    for _ in range(SESSION_ID_MAX):
        client.end(client.open(WEB))
    assert not client.can_open
    with pytest.raises(LocalProtocolError, match="65536"):
        client.open(WEB)


def test_xudp_has_a_session_of_its_own() -> None:
    client = MuxClient()
    assert client.open(DNS, session_id=XUDP_SESSION, data=b"q", global_id=b"12345678") == 0
    client.send_datagram(0, b"r", DNS)
    first = New(0, DNS, b"q", b"12345678", is_extended=True)
    assert sent(client) == [first, Keep(0, b"r", DNS)]
    with pytest.raises(LocalProtocolError, match="id 0"):
        client.open(DNS, session_id=XUDP_SESSION)


@given(st.integers(0, 70_000))
def test_streams_are_cut_into_frames(size: int) -> None:
    server, data = MuxServer(), bytes(range(250)) * (size // 250 + 1)
    serve(server, New(7, WEB))
    server.send_data(7, memoryview(data)[:size])
    pieces = [frame.data or b"" for frame in sent(server) if isinstance(frame, Keep)]
    assert b"".join(pieces) == data[:size]
    assert all(0 < len(piece) <= 16_384 for piece in pieces)


def test_data_of_an_unknown_session_is_answered_with_one_end() -> None:
    server = MuxServer()
    assert serve(server, Keep(9, b"x"), Keep(9, b"y")) == []
    assert sent(server) == [End(9)]


def test_data_under_way_to_a_session_that_we_have_ended_is_dropped() -> None:
    server = MuxServer()
    serve(server, New(1, WEB))
    server.end(1, is_error=True)
    server.end(1)
    assert serve(server, Keep(1, b"x"), Keep(1, b"y"), End(1)) == []
    assert sent(server) == [End(1, is_error=True)]


def test_ends_of_unknown_sessions_and_keep_alives_mean_nothing() -> None:
    server = MuxServer()
    assert serve(server, End(4, is_error=True), KeepAlive()) == []
    assert sent(server) == []
    server.send_keep_alive()
    assert sent(server) == [KeepAlive()]


def test_new_for_an_open_session_replaces_it() -> None:
    server = MuxServer()
    serve(server, New(1, WEB))
    assert serve(server, New(1, DNS)) == [End(1, is_error=True), New(1, DNS)]
    assert sent(server) == []
    assert server.session_count == 1


def test_sessions_beyond_the_limit_are_ended() -> None:
    server = MuxServer(session_count_max=2)
    opened = [New(number, WEB) for number in (1, 2)]
    assert serve(server, *opened, New(3, WEB, b"x"), Keep(3, b"y"), Keep(1, b"z")) == [
        *opened,
        Keep(1, b"z"),
    ]
    assert sent(server) == [End(3, is_error=True)]
    serve(server, End(1))
    assert serve(server, New(4, WEB)) == [New(4, WEB)]


def test_a_server_opens_nothing() -> None:
    with pytest.raises(RemoteProtocolError, match="server has opened"):
        MuxClient().receive_data(encode_frame(New(1, WEB)))


def test_nothing_is_sent_on_a_session_that_has_ended() -> None:
    server = MuxServer()
    serve(server, New(1, WEB), End(1))
    for send in (server.send_data, server.send_datagram):
        with pytest.raises(LocalProtocolError, match="session 1"):
            send(1, b"x")
    server.end(1)
    assert sent(server) == []
