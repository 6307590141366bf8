"""Bytes that are put back in front of a transport."""

import trio
import trio.testing

from trio_vmess.transport.prefixed import PrefixedTransport
from trio_vmess.transport.trio_stream import StreamTransport


async def read_all(transport: PrefixedTransport, size: int) -> list[bytes]:
    buffer = memoryview(bytearray(size))
    pieces = []
    while count := await transport.receive_into(buffer):
        pieces.append(bytes(buffer[:count]))
    return pieces


async def test_the_prefix_comes_first(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    transport = PrefixedTransport(StreamTransport(ours), b"prefix")
    buffer = memoryview(bytearray(4))
    # It comes without waiting for the peer, in pieces if need be.
    assert await transport.receive_into(buffer) == 4
    assert bytes(buffer) == b"pref"
    await theirs.send_all(b"rest")
    await theirs.send_eof()
    assert await read_all(transport, 4) == [b"ix", b"rest"]
    await transport.aclose()


async def test_an_empty_prefix_changes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    transport = PrefixedTransport(StreamTransport(ours), b"")
    await theirs.send_all(b"all")
    await theirs.send_eof()
    assert await read_all(transport, 100) == [b"all"]
    await transport.aclose()


async def test_the_other_direction_passes_through(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    transport = PrefixedTransport(StreamTransport(ours), b"prefix")
    await transport.send_all(b"one")
    await transport.send_all(bytearray(b" two"))
    await transport.send_eof()
    assert [bytes(piece) async for piece in theirs] == [b"one two"]
    await transport.aclose()
    try:
        await theirs.send_all(b"x")
    except trio.BrokenResourceError:
        pass
    else:
        raise AssertionError("the transport below is still open")
