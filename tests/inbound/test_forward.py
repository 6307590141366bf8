"""A forwarded request as a transport for the relay."""

import pytest
import trio
import trio.testing

from trio_vmess.core.http import Forward, HttpProxyServer
from trio_vmess.inbound.forward import LEFT_AFTER, ForwardTransport
from trio_vmess.transport.trio_stream import StreamTransport

GET = b"GET http://example.com/%d HTTP/1.1\r\nHost: example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class SlowClient(StreamTransport):
    """A client that is slow to take what it gets."""

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        await trio.sleep(1)
        await super().send_all(data)


def begun(received: bytes) -> tuple[HttpProxyServer, ForwardTransport, trio.abc.Stream]:
    server = HttpProxyServer()
    server.receive_data(received)
    assert isinstance(server.next_event(), Forward)
    ours, theirs = trio.testing.memory_stream_pair()
    return server, ForwardTransport(server, SlowClient(theirs)), ours


async def test_the_next_request_is_not_read_as_part_of_this_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    server, forward, client = begun(GET % 1 + GET % 2)
    buffer = memoryview(bytearray(100))
    # The response is there before the relay asks for the rest of the request.
    async with trio.open_nursery() as nursery:
        nursery.start_soon(forward.send_all, OK)
        await trio.testing.wait_all_tasks_blocked()
        assert await forward.receive_into(buffer) == 0
    assert forward.over.is_set()
    assert forward.keep_alive
    following = server.next_event()
    assert isinstance(following, Forward)
    assert following.target == "/2"
    assert await client.receive_some(100) == OK


async def test_the_request_ends_when_the_response_is_delivered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    _, forward, _ = begun(GET % 1)
    buffer = memoryview(bytearray(100))
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def respond() -> None:
            await trio.sleep(10)
            await forward.send_all(OK)

        assert await forward.receive_into(buffer) == 0
    assert trio.current_time() == pytest.approx(11)
    assert forward.over.is_set()


async def test_a_client_that_leaves_before_the_response(
    autojump_clock: trio.testing.MockClock,
) -> None:
    _, forward, client = begun(GET % 1)
    await client.aclose()
    with pytest.raises(trio.BrokenResourceError, match="left"):
        await forward.receive_into(memoryview(bytearray(100)))
    assert trio.current_time() == pytest.approx(LEFT_AFTER)


async def test_a_client_that_half_closes_gets_a_response_that_keeps_coming(
    autojump_clock: trio.testing.MockClock,
) -> None:
    _, forward, client = begun(GET % 1)
    assert isinstance(client, trio.abc.HalfCloseableStream)
    await client.send_eof()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def respond() -> None:
            for at in range(len(OK)):
                await trio.sleep(LEFT_AFTER / 2)
                await forward.send_all(OK[at : at + 1])

        assert await forward.receive_into(memoryview(bytearray(100))) == 0
    assert forward.is_complete


async def test_data_after_the_response_is_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    _, forward, _ = begun(GET % 1)
    await forward.send_all(OK)
    with pytest.raises(trio.BrokenResourceError):
        await forward.send_all(b"more")
    await forward.send_eof()


async def test_closing_leaves_the_client_connection_open(
    autojump_clock: trio.testing.MockClock,
) -> None:
    _, forward, client = begun(GET % 1)
    buffer = memoryview(bytearray(100))
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def close() -> None:
            await trio.sleep(1)
            await forward.aclose()

        assert await forward.receive_into(buffer) == 0
    assert forward.over.is_set()
    assert not forward.keep_alive
    await client.send_all(b"still there")
