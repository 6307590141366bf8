"""Transports over any Trio stream behave as transports over sockets."""

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from trio_vmess.transport.trio_stream import CLOSE_LIMIT, StreamTransport


async def test_bytes_and_the_end_of_one_direction() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    transport = StreamTransport(ours)
    buffer = memoryview(bytearray(4))
    await theirs.send_all(b"123456")
    assert await transport.receive_into(buffer) == 4
    assert bytes(buffer) == b"1234"
    assert await transport.receive_into(buffer) == 2
    assert bytes(buffer) == b"5634"
    await transport.send_all(memoryview(b"abc"))
    await transport.send_eof()
    assert await theirs.receive_some(10) == b"abc"
    assert await theirs.receive_some(10) == b""
    await theirs.send_eof()
    assert await transport.receive_into(buffer) == 0


async def test_what_is_sent_is_copied_before_anybody_else_runs() -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    transport = StreamTransport(ours)
    data = bytearray(b"payload")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.send_all, data)
        await trio.testing.wait_all_tasks_blocked()
        data[:] = b"scribbl"
        assert await theirs.receive_some(10) == b"payload"


async def test_closed_and_broken_streams_raise() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    transport = StreamTransport(ours)
    await theirs.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await transport.send_all(b"x")
    await transport.aclose()
    await transport.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await transport.receive_into(memoryview(bytearray(1)))


class Whole(trio.abc.Stream):
    """A stream that cannot half-close and takes its time to say good-bye, as TLS may."""

    def __init__(self) -> None:
        self.closed = self.farewell_said = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return b""

    async def aclose(self) -> None:
        try:
            await trio.sleep(1000)
            self.farewell_said = True
        finally:
            self.closed = True


async def test_a_stream_without_half_close_ends_when_it_is_closed(
    autojump_clock: MockClock,
) -> None:
    stream = Whole()
    transport = StreamTransport(stream)
    await transport.send_eof()
    assert not stream.closed
    start = trio.current_time()
    await transport.aclose()
    assert stream.closed
    assert not stream.farewell_said
    assert trio.current_time() - start == CLOSE_LIMIT
