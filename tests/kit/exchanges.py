"""What a test does through a SOCKS proxy, with the checks: one function per kind of traffic.

Whatever lies between the proxy and the origin is under test.
None of these waits for the end of the stream where the number of bytes is enough: V2Ray and
Xray pass an origin's end on a second late.
"""

import hashlib
import socket

import trio

from tests.kit.cut import Cut
from tests.kit.names import IPV4_LOOPBACK, LOCALHOST, target_hosts
from tests.kit.nodes import RunningNode
from tests.kit.origin import (
    Origin,
    sink_answer,
    start_delayed_reply,
    start_echo,
    start_sink,
    start_source,
    start_udp_echo,
)
from tests.kit.pattern import pattern, pattern_pieces, pattern_sha256
from tests.kit.socks_client import (
    SocksUdpAssociation,
    open_socks_stream,
    open_socks_udp,
    receive_exactly,
)
from tests.kit.transfer import echo_file
from tests.kit.waiting import wait_until

_READ_SIZE = 65_536
DATAGRAM_SIZES = (1, 100, 1200, 1400, 1950)


async def check_echo(proxy_port: int, origin: Origin, host: str | None = None) -> None:
    """Speak with a TCP echo: one byte, a line, and more than one chunk, in turns.

    Args:
        proxy_port: SOCKS5 proxy on 127.0.0.1.
        origin: from `start_echo`.
        host: the target's name, if not the origin's own.
    """
    async with await open_socks_stream(proxy_port, host or origin.host, origin.port) as stream:
        for message in (b"a", b"hello, origin\n", pattern(20_000)):
            await stream.send_all(message)
            assert await receive_exactly(stream, len(message)) == message


async def check_duplex(proxy_port: int, origin: Origin, size: int) -> None:
    """Push `size` bytes through a TCP echo while reading them back, both directions busy."""
    async with await open_socks_stream(proxy_port, origin.host, origin.port) as stream:
        await echo_file(stream, size)


async def check_download(proxy_port: int, origin: Origin, size: int) -> None:
    """Read `size` bytes from an origin made by `start_source(size)`."""
    digest, count = hashlib.sha256(), 0
    async with await open_socks_stream(proxy_port, origin.host, origin.port) as stream:
        while count < size and (data := await stream.receive_some(_READ_SIZE)):
            digest.update(data)
            count += len(data)
    assert (count, digest.hexdigest()) == (size, pattern_sha256(size))


async def check_upload(
    proxy_port: int, origin: Origin, size: int, *, half_close: bool = False
) -> None:
    """Send `size` bytes to an origin and read its verdict.

    Args:
        proxy_port: SOCKS5 proxy on 127.0.0.1.
        origin: from `start_sink(size=size)`, or from `start_sink()` with `half_close`.
        size: bytes.
        half_close: end this direction after the bytes. V2Ray, Xray and sing-box do not pass
            that on to the origin: it takes this project at both ends.
    """
    async with await open_socks_stream(proxy_port, origin.host, origin.port) as stream:
        for piece in pattern_pieces(size):
            await stream.send_all(piece)
        if half_close:
            await stream.send_eof()
        expected = sink_answer(pattern(size))
        assert await receive_exactly(stream, len(expected)) == expected


async def check_delayed_reply(proxy_port: int, origin: Origin, size: int = 1000) -> None:
    """Half-close towards an origin made by `start_delayed_reply`; its reply must still come.

    Like `check_upload` with `half_close`, no path through another implementation passes this.
    """
    message = pattern(size)
    async with await open_socks_stream(proxy_port, origin.host, origin.port) as stream:
        await stream.send_all(message)
        await stream.send_eof()
        assert await receive_exactly(stream, size) == message


async def exchange_datagram(
    association: SocksUdpAssociation, host: str, port: int, payload: bytes
) -> None:
    """Send one datagram to an echo and require it back, from there."""
    await association.send_to(host, port, payload)
    _, source_port, answer = await association.receive()
    assert (source_port, answer) == (port, payload)


async def check_full_cone(proxy_port: int) -> None:
    """Let one socket speak with many peers: they see one address, and strangers may answer."""
    sockets = [trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(12)]
    try:
        async with open_socks_udp(proxy_port) as association:
            for sock in sockets:
                await sock.bind((IPV4_LOOPBACK, 0))
            *asked, stranger = sockets
            addresses: set[object] = set()
            for number, sock in enumerate(asked):
                port = sock.getsockname()[1]
                await association.send_to(IPV4_LOOPBACK, port, b"question %d" % number)
                data, address = await sock.recvfrom(99)
                assert data == b"question %d" % number
                addresses.add(address)
            assert len(addresses) == 1
            for sock in sockets:
                await sock.sendto(b"answer", address)
                answer = await association.receive()
                assert answer == (IPV4_LOOPBACK, sock.getsockname()[1], b"answer")
            await association.send_to(IPV4_LOOPBACK, stranger.getsockname()[1], b"thanks")
            assert await stranger.recvfrom(99) == (b"thanks", address)
    finally:
        for sock in sockets:
            sock.close()


async def check_address_is_kept(client: RunningNode, cut: Cut) -> None:
    """Cut the carriers of a socket: its peers see the same address before and afterwards."""
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        await peer.bind((IPV4_LOOPBACK, 0))
        async with open_socks_udp(client.port) as association:
            addresses = set[object]()
            for number in range(3):
                await association.send_to(IPV4_LOOPBACK, peer.getsockname()[1], b"q%d" % number)
                data, address = await peer.recvfrom(99)
                assert data == b"q%d" % number
                addresses.add(address)
                await peer.sendto(b"answer", address)
                assert (await association.receive())[2] == b"answer"
                cut.now()
                await wait_until(lambda: not client.node.connections)
            assert len(addresses) == 1


async def check_udp_echo(proxy_port: int, origin: Origin, sizes: tuple[int, ...] = (100,)) -> None:
    """Send datagrams of `sizes` bytes to an origin made by `start_udp_echo`, one at a time."""
    async with open_socks_udp(proxy_port) as association:
        for size in sizes:
            await exchange_datagram(association, origin.host, origin.port, pattern(size))


async def check_all(proxy_port: int, *, size: int = 3 << 20) -> None:
    """Send everything through a proxy that can be sent, half-closes included."""
    async with (
        start_echo(LOCALHOST) as echo,
        start_source(size) as source,
        start_sink() as sink,
        start_delayed_reply(0.05) as delayed,
        start_udp_echo(LOCALHOST) as udp_echo,
    ):
        for host in target_hosts():
            await check_echo(proxy_port, echo, host)
        await check_download(proxy_port, source, size)
        await check_upload(proxy_port, sink, size, half_close=True)
        await check_duplex(proxy_port, echo, size)
        await check_delayed_reply(proxy_port, delayed)
        await check_udp_echo(proxy_port, udp_echo, DATAGRAM_SIZES)
