"""Each origin behaves as documented, without a proxy in between."""

import hashlib
import socket

import pytest
import trio

from tests.kit.names import LOCALHOST, loopback_addresses
from tests.kit.origin import (
    MAX_SIZE,
    Origin,
    OriginLimitError,
    sink_answer,
    start_delayed_reply,
    start_echo,
    start_silent,
    start_sink,
    start_source,
    start_udp_echo,
)
from tests.kit.pattern import pattern


async def _connect(origin: Origin, address: str | None = None) -> trio.SocketStream:
    return await trio.open_tcp_stream(address or origin.host, origin.port)


async def _read_all(stream: trio.SocketStream) -> bytes:
    return b"".join([piece async for piece in stream])


@pytest.mark.parametrize("address", loopback_addresses())
async def test_echo_listens_on_every_loopback_address(address: str) -> None:
    async with start_echo(LOCALHOST) as origin, await _connect(origin, address) as stream:
        await stream.send_all(b"one")
        await stream.send_all(b"two")
        await stream.send_eof()
        assert await _read_all(stream) == b"onetwo"
        assert (origin.connection_count, origin.byte_count) == (1, 6)


@pytest.mark.parametrize("size", [0, 1, 200_000])
async def test_source_speaks_first_and_closes(size: int) -> None:
    async with start_source(size) as origin, await _connect(origin) as stream:
        assert await _read_all(stream) == pattern(size)


async def test_source_with_half_close_still_reads() -> None:
    async with start_source(10, half_close=True) as origin, await _connect(origin) as stream:
        assert await _read_all(stream) == pattern(10)
        await stream.send_all(b"late")
        await stream.send_eof()
        while origin.byte_count < 4:  # noqa: ASYNC110 - the count is all there is to see
            await trio.sleep(0.001)


@pytest.mark.parametrize("size", [-1, MAX_SIZE + 1])
def test_source_is_bounded(size: int) -> None:
    with pytest.raises(OriginLimitError):
        start_source(size)


async def test_sink_answers_after_the_end() -> None:
    async with start_sink() as origin, await _connect(origin) as stream:
        await stream.send_all(b"abc")
        await stream.send_eof()
        answer = await _read_all(stream)
    assert answer == sink_answer(b"abc")
    assert answer == hashlib.sha256(b"abc").hexdigest().encode() + b" 3\n"


async def test_sink_answers_after_a_size() -> None:
    async with start_sink(size=3) as origin, await _connect(origin) as stream:
        await stream.send_all(b"abc")
        assert await _read_all(stream) == sink_answer(b"abc")


async def test_delayed_reply_comes_after_the_end() -> None:
    async with start_delayed_reply(0.02) as origin, await _connect(origin) as stream:
        await stream.send_all(b"request")
        started = trio.current_time()
        await stream.send_eof()
        assert await _read_all(stream) == b"request"
        assert trio.current_time() - started >= 0.02


async def test_silent_sends_nothing() -> None:
    async with start_silent() as origin, await _connect(origin) as stream:
        await stream.send_all(b"anyone?")
        with trio.move_on_after(0.005) as waited:
            await stream.receive_some()
        assert waited.cancelled_caught


async def test_a_reset_is_not_a_failure_of_the_origin() -> None:
    async with start_echo() as origin:
        stream = await _connect(origin)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        await stream.send_all(bytes(100_000))
        await stream.aclose()
        async with await _connect(origin) as second:
            await second.send_all(b"still there")
            assert await second.receive_some() == b"still there"


async def test_leaving_the_block_frees_the_port() -> None:
    async with start_echo() as origin:
        pass
    with pytest.raises(OSError, match="connect"):
        await _connect(origin)


@pytest.mark.parametrize("address", loopback_addresses())
async def test_udp_echo(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    async with start_udp_echo(LOCALHOST) as origin:
        with trio.socket.socket(family, socket.SOCK_DGRAM) as sender:
            for payload in (b"one", b"", b"x" * 1400):
                await sender.sendto(payload, (address, origin.port))
                data, source = await sender.recvfrom(2000)
                assert (data, source[:2]) == (payload, (address, origin.port))
        assert (origin.connection_count, origin.byte_count) == (3, 1403)
