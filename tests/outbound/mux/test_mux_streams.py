"""Streams of a client's carriers, frame by frame."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.outbound.mux.servers import WEB, Servers, open_stream, running
from trio_vmess.contracts import Transport
from trio_vmess.core.mux import STREAM_FRAME_SIZE, End, Keep, New
from trio_vmess.outbound.mux.stream import FIRST_PAYLOAD_WAIT
from trio_vmess.transport.mux import STALL_LIMIT, UNREAD_SIZE_MAX


async def read(stream: Transport) -> bytes:
    buffer = memoryview(bytearray(1000))
    return bytes(buffer[: await stream.receive_into(buffer)])


async def test_the_first_bytes_ride_in_the_frame_that_opens() -> None:
    servers = Servers()
    async with running(servers) as outbound:
        stream = await open_stream(outbound)
        await stream.send_all(b"hello")
        server = await servers.next()
        assert await server.receive() == New(1, WEB.destination, b"hello")
        await stream.send_all(b"again")
        assert await server.receive() == Keep(1, b"again")
        await server.send(1, b"answer")
        assert await read(stream) == b"answer"


async def test_first_bytes_that_do_not_fit_into_one_frame_follow() -> None:
    servers, data = Servers(), bytes(range(256)) * 256
    async with running(servers) as outbound:
        stream = await open_stream(outbound)
        await stream.send_all(data)
        server = await servers.next()
        first = await server.receive()
        assert first == New(1, WEB.destination, data[:STREAM_FRAME_SIZE])
        rest = await server.receive_data(len(data) - STREAM_FRAME_SIZE)
        assert data[:STREAM_FRAME_SIZE] + rest == data


async def test_a_destination_that_speaks_first_is_opened_soon(autojump_clock: MockClock) -> None:
    servers = Servers()
    async with running(servers) as outbound, trio.open_nursery() as nursery:
        stream = await open_stream(outbound)
        nursery.start_soon(read, stream)
        server = await servers.next()
        assert await server.receive() == New(1, WEB.destination)
        assert trio.current_time() == pytest.approx(FIRST_PAYLOAD_WAIT)
        await server.send(1, b"welcome")


async def test_ids_follow_the_order_of_opening() -> None:
    servers = Servers()
    async with running(servers) as outbound:
        first, second = await open_stream(outbound), await open_stream(outbound)
        await second.send_all(b"2")
        await first.send_all(b"1")
        server = await servers.next()
        assert await server.receive() == New(1, WEB.destination, b"2")
        assert await server.receive() == New(2, WEB.destination, b"1")


async def test_one_that_was_never_opened_is_not_ended() -> None:
    servers = Servers()
    async with running(servers) as outbound:
        unused, stream = await open_stream(outbound), await open_stream(outbound)
        await unused.abort()
        await stream.send_all(b"hello")
        server = await servers.next()
        assert await server.receive() == New(1, WEB.destination, b"hello")


async def test_the_end_of_an_upload_waits_for_the_answer() -> None:
    servers = Servers()
    async with running(servers) as outbound:
        stream = await open_stream(outbound)
        await stream.send_eof(b"question")
        server = await servers.next()
        assert await server.receive() == New(1, WEB.destination, b"question")
        await server.send(1, b"answer")
        assert await read(stream) == b"answer"
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"more")
        await stream.aclose()
        assert await server.receive() == End(1)


async def test_a_stream_that_is_broken_off_ends_with_an_error() -> None:
    servers = Servers()
    async with running(servers) as outbound:
        stream = await open_stream(outbound)
        await stream.send_all(b"part")
        await stream.abort()
        server = await servers.next()
        await server.receive()
        assert await server.receive() == End(1, is_error=True)


async def test_the_servers_ends_are_told_apart() -> None:
    servers = Servers()
    async with running(servers) as outbound:
        whole, broken = await open_stream(outbound), await open_stream(outbound)
        for stream in (whole, broken):
            await stream.send_all(b"x")
        server = await servers.next()
        await server.receive()
        await server.receive()
        for number, is_error in ((1, False), (2, True)):
            server.mux.send_data(number, b"so far")
            await server.end(number, is_error=is_error)
        assert await read(whole) == b"so far"
        assert await read(whole) == b""
        await wait_all_tasks_blocked()
        assert broken.is_reset
        assert not whole.is_reset
        with pytest.raises(trio.BrokenResourceError, match="server has given up"):
            await read(broken)


async def test_one_that_is_not_read_is_ended_for_the_sake_of_another(
    autojump_clock: MockClock,
) -> None:
    servers = Servers()
    async with running(servers) as outbound:
        stalled, other = await open_stream(outbound), await open_stream(outbound)
        for stream in (stalled, other):
            await stream.send_all(b"x")
        server = await servers.next()
        await server.receive()
        await server.receive()
        await server.send(1, bytes(2 * UNREAD_SIZE_MAX))
        await server.send(2, b"keystroke")
        assert await read(other) == b"keystroke"
        assert STALL_LIMIT <= trio.current_time() < STALL_LIMIT + 1
        assert await server.receive() == End(1, is_error=True)


async def test_one_that_is_not_read_may_wait_alone_and_gets_no_company(
    autojump_clock: MockClock,
) -> None:
    servers, size = Servers(), 4 * UNREAD_SIZE_MAX
    async with running(servers) as outbound:
        paused = await open_stream(outbound)
        await paused.send_all(b"x")
        server = await servers.next()
        await server.receive()
        await server.send(1, bytes(size))
        await wait_all_tasks_blocked()
        await open_stream(outbound)
        assert servers.dial_count == 2
        await trio.sleep(10 * STALL_LIMIT)
        received = 0
        while received < size:
            received += len(await read(paused))
        assert server.mux.is_open(1)
