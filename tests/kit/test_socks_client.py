"""The SOCKS client, against replies written out byte by byte from the documents."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio

from tests.kit.origin import start_tcp_origin
from tests.kit.socks_client import (
    SocksError,
    decode_address,
    encode_address,
    open_socks4_stream,
    open_socks_stream,
    open_socks_udp,
    receive_exactly,
)

GRANTED = bytes.fromhex("05000001 7f000001 1f90")
ADDRESSES = [
    ("127.0.0.1", 80, "01 7f000001 0050"),
    ("localhost", 443, "03 09 6c6f63616c686f7374 01bb"),
    ("::1", 65535, "04 00000000000000000000000000000001 ffff"),
]

Script = list[tuple[bytes, bytes]]


async def _play(script: Script, stream: trio.abc.HalfCloseableStream) -> None:
    """Act as a proxy that expects and answers exactly this, and then sends `done`."""
    for expected, answer in script:
        received = b""
        while len(received) < len(expected):
            piece = await stream.receive_some(len(expected) - len(received))
            if not piece:
                break
            received += piece
        assert received == expected
        await stream.send_all(answer)
    await stream.send_all(b"done")


async def _finish(script: Script, opening: Callable[[int], Awaitable[trio.SocketStream]]) -> None:
    async with (
        start_tcp_origin(partial(_play, script)) as proxy,
        await opening(proxy.port) as stream,
    ):
        assert await receive_exactly(stream, 4) == b"done"


@pytest.mark.parametrize(("host", "port", "laid_out"), ADDRESSES)
def test_addresses_are_laid_out_and_read(host: str, port: int, laid_out: str) -> None:
    data = bytes.fromhex(laid_out)
    assert encode_address(host, port) == data
    assert decode_address(data + b"rest") == (host, port, b"rest")
    for size in range(len(data)):
        with pytest.raises(SocksError):
            decode_address(data[:size])


async def test_connect_without_login() -> None:
    request = bytes.fromhex("050100 03 09 6c6f63616c686f7374 0050")
    await _finish(
        [(b"\x05\x01\x00", b"\x05\x00"), (request, GRANTED)],
        lambda proxy: open_socks_stream(proxy, "localhost", 80),
    )


async def test_connect_with_login_and_a_domain_in_the_reply() -> None:
    login = b"\x01\x05alice\x06secret"
    request = bytes.fromhex("050100 01 7f000001 0050")
    reply = bytes.fromhex("050000 03 02 6162 0050")
    await _finish(
        [(b"\x05\x01\x02", b"\x05\x02"), (login, b"\x01\x00"), (request, reply)],
        lambda proxy: open_socks_stream(proxy, "127.0.0.1", 80, "alice", "secret"),
    )


async def test_socks4_and_4a() -> None:
    granted = bytes.fromhex("005a 0000 00000000")
    await _finish(
        [(bytes.fromhex("0401 0050 7f000001") + b"me\x00", granted)],
        lambda proxy: open_socks4_stream(proxy, "127.0.0.1", 80, "me"),
    )
    await _finish(
        [(bytes.fromhex("0401 0050 00000001 00") + b"localhost\x00", granted)],
        lambda proxy: open_socks4_stream(proxy, "localhost", 80),
    )


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ([(b"\x05\x01\x00", b"\x05\xff")], 0xFF),
        ([(b"\x05\x01\x00", b"\x05\x00" + bytes.fromhex("05050001 00000000 0000"))], 5),
        ([(b"\x05\x01\x00", b"\x05\x00" + bytes.fromhex("04000001 00000000 0000"))], None),
        ([(b"\x05\x01\x00", b"\x05\x00" + bytes.fromhex("05000009 00000000 0000"))], None),
    ],
)
async def test_refusals_carry_their_code(script: Script, code: int | None) -> None:
    async with start_tcp_origin(partial(_play, script)) as proxy:
        with pytest.raises(SocksError) as caught:
            await open_socks_stream(proxy.port, "127.0.0.1", 80)
    assert caught.value.code == code


async def test_socks4_refusal() -> None:
    script = [(bytes.fromhex("0401 0050 7f000001 00"), bytes.fromhex("005b 0000 00000000"))]
    async with start_tcp_origin(partial(_play, script)) as proxy:
        with pytest.raises(SocksError) as caught:
            await open_socks4_stream(proxy.port, "127.0.0.1", 80)
    assert caught.value.code == 0x5B


async def test_datagrams_are_wrapped_and_unwrapped() -> None:
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as relay:
        await relay.bind(("127.0.0.1", 0))
        # All zeros instead of an address: the proxy means its own.
        reply = bytes.fromhex("05000001 00000000") + relay.getsockname()[1].to_bytes(2, "big")
        request = bytes.fromhex("050300 01 00000000 0000")

        async def hold(stream: trio.abc.HalfCloseableStream) -> None:
            await _play([(b"\x05\x01\x00", b"\x05\x00"), (request, reply)], stream)
            await stream.receive_some()

        async with start_tcp_origin(hold) as proxy, open_socks_udp(proxy.port) as association:
            assert association.relay == ("127.0.0.1", relay.getsockname()[1])
            await association.send_to("localhost", 53, b"query")
            packet, sender = await relay.recvfrom(100)
            assert packet == bytes.fromhex("000000 03 09 6c6f63616c686f7374 0035") + b"query"
            await relay.sendto(bytes.fromhex("000000 01 7f000001 0035") + b"answer", sender)
            assert await association.receive() == ("127.0.0.1", 53, b"answer")
            await relay.sendto(bytes.fromhex("000001 01 7f000001 0035") + b"piece", sender)
            with pytest.raises(SocksError):
                await association.receive()
