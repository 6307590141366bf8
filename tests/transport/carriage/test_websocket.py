"""WebSocket frames over a transport: bytes, control frames between them, ends, faults."""

import secrets

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.kit.pattern import pattern
from tests.kit.remote_ends import memory_pair
from tests.kit.sockets import transport_pair
from trio_vmess.contracts import Transport
from trio_vmess.core.carriage.websocket import FrameReader, FrameWriter, Ping, draw_mask_keys
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.transport.carriage import FrameBuffer, WebSocketTransport
from trio_vmess.transport.layer import TransportLayer

BUFFER = FrameBuffer()


def websocket_pair(
    below: tuple[Transport, Transport], **server_options
) -> tuple[WebSocketTransport, WebSocketTransport]:
    client = WebSocketTransport(
        below[0],
        FrameReader(masked=False),
        FrameWriter(draw_mask_keys(secrets)),
        buffer=BUFFER,
    )
    server = WebSocketTransport(
        below[1], FrameReader(masked=True), FrameWriter(), buffer=BUFFER, **server_options
    )
    return client, server


async def receive(transport: Transport, size: int = 65_536) -> bytes:
    buffer = memoryview(bytearray(size))
    return bytes(buffer[: await transport.receive_into(buffer)])


@pytest.mark.parametrize("read_size", [100, 65_536, 524_288])
async def test_bytes_arrive_in_both_directions(read_size: int) -> None:
    data = pattern(1_000_000)
    pair = websocket_pair(transport_pair())
    async with trio.open_nursery() as nursery:

        async def send(transport: Transport) -> None:
            for start in range(0, len(data), 400_000):
                await transport.send_all(memoryview(data)[start : start + 400_000])

        for each in pair:
            nursery.start_soon(send, each)
        for each in pair:
            received = bytearray()
            while len(received) < len(data):
                received += await receive(each, read_size)
            assert received == data


async def test_more_than_the_shared_buffer_at_once() -> None:
    client, server = websocket_pair(memory_pair())
    data = pattern(len(BUFFER.framed) + 1)
    await client.send_all(data)
    received = bytearray()
    while len(received) < len(data):
        received += await receive(server, 524_288)
    assert received == data


async def test_what_came_with_the_handshake_is_delivered_first() -> None:
    below = memory_pair()
    frames = memoryview(bytearray(100))
    size = FrameWriter(draw_mask_keys(secrets)).encode_into(b"second", frames)
    client, server = websocket_pair(below, early=b"first", trailing=bytes(frames[:size]))
    await client.send_all(b"third")
    assert await receive(server, 3) == b"fir"
    assert await receive(server, 100) == b"st"
    assert await receive(server, 100) == b"second"
    assert await receive(server) == b"third"


async def test_an_empty_message_is_no_end() -> None:
    below = memory_pair()
    _, server = websocket_pair(below)
    await below[0].send_all(b"\x82\x80abcd" + b"\x82\x81\0\0\0\0x")
    assert await receive(server) == b"x"


async def test_a_ping_is_answered_though_nothing_else_comes() -> None:
    below = memory_pair()
    _, server = websocket_pair(below)
    await below[0].send_all(FrameWriter(draw_mask_keys(secrets)).ping(b"beat"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive, server)
        assert await receive(below[0]) == FrameWriter().pong(b"beat")
        nursery.cancel_scope.cancel()


async def test_an_answer_never_lands_within_a_frame() -> None:
    """One task sends a frame that does not fit, while another one has a ping to answer."""
    below = transport_pair(buffer_size=4096)
    _, server = websocket_pair(below)
    data = pattern(60_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.send_all, data)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(receive, server)
        await below[0].send_all(FrameWriter(draw_mask_keys(secrets)).ping(b"beat"))
        await trio.testing.wait_all_tasks_blocked()
        wire = bytearray()
        while not wire.endswith(b"beat"):
            wire += await receive(below[0])
        nursery.cancel_scope.cancel()
    size = FrameReader(masked=False).decode_in_place(memoryview(wire))
    assert wire[:size] == data


@pytest.mark.parametrize(("code", "body"), [(1000, b"\x03\xe8"), (None, b"")])
async def test_a_close_frame_is_an_end_and_is_answered(code: int | None, body: bytes) -> None:
    below = memory_pair()
    _, server = websocket_pair(below)
    await below[0].send_all(FrameWriter(draw_mask_keys(secrets)).close(code))
    assert await receive(server) == b""
    assert await receive(server) == b""
    assert await receive(below[0]) == bytes([0x88, len(body)]) + body


async def test_payload_before_a_close_frame_is_delivered() -> None:
    below = memory_pair()
    client, server = websocket_pair(below)
    await client.send_all(b"last")
    await below[0].send_all(FrameWriter(draw_mask_keys(secrets)).close(1000))
    assert await receive(server) == b"last"
    assert await receive(server) == b""


async def test_the_end_of_the_connection_is_an_end() -> None:
    below = memory_pair()
    client, server = websocket_pair(below)
    await client.send_eof(b"last")
    await client.aclose()
    assert await receive(server) == b"last"
    assert await receive(server) == b""


async def test_no_close_frame_is_sent() -> None:
    """Clients of V2Ray take it for an error, and drop what they have not delivered yet."""
    below = memory_pair()
    _, server = websocket_pair(below)
    await server.aclose()
    assert await receive(below[0]) == b""


async def test_what_is_not_a_frame_is_an_error_once_and_an_end_then() -> None:
    below = memory_pair()
    _, server = websocket_pair(below)
    await below[0].send_all(b"\x82\x01x")  # not masked
    with pytest.raises(RemoteProtocolError, match="a client has to mask"):
        await receive(server)
    assert await receive(server) == b""
    assert await receive(below[0]) == FrameWriter().close(1002)


async def test_heartbeats_while_nothing_comes(autojump_clock: MockClock) -> None:
    below = memory_pair()
    client, server = websocket_pair(below, next_heartbeat=lambda: 30.0)
    reader = FrameReader(masked=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive, server)
        for number in range(1, 4):
            wire = bytearray(await receive(below[0]))
            assert reader.decode_in_place(memoryview(wire)) == 0
            assert reader.take_events() == [Ping(payload=b"")]
            assert trio.current_time() == pytest.approx(30.0 * number)
        await client.send_all(b"done")


async def test_a_heartbeat_loses_nothing(autojump_clock: MockClock) -> None:
    client, server = websocket_pair(memory_pair(), next_heartbeat=lambda: 1.0)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send_now_and_then() -> None:
            for number in range(20):
                await trio.sleep(0.7)
                await client.send_all(bytes([number]) * 1000)

        received = bytearray()
        while len(received) < 20_000:
            received += await receive(server)
    assert received == b"".join(bytes([number]) * 1000 for number in range(20))


async def test_no_more_is_read_below_than_is_asked_for() -> None:
    """So a relay that reads little beside keystrokes does so over a WebSocket, too."""
    asked: list[int] = []

    class Watched(TransportLayer):
        async def receive_into(self, buffer: memoryview, /) -> int:
            asked.append(len(buffer))
            return await super().receive_into(buffer)

    ours, theirs = memory_pair()
    client, server = websocket_pair((Watched(ours), theirs))
    await server.send_all(bytes(600_000))
    for size in (400_000, 60_000):
        assert len(await receive(client, size)) > size / 2
    assert asked == [400_000, 60_000]
