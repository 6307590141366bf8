"""Carriers of V2Ray, Xray and sing-box at our server: many sub-connections, and their ends."""

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import attrs
import pytest
import trio

from tests.kit.exchanges import check_download, check_duplex, check_echo, check_full_cone
from tests.kit.nodes import RunningNode, start_server_node
from tests.kit.origin import start_echo, start_silent, start_source, start_tcp_origin
from tests.kit.peer_process import RunningPeer
from tests.kit.peers import SING_BOX, V2RAY, XRAY, ClientSpec, Peer, ServerSpec, require
from tests.kit.socks_client import open_socks_stream
from tests.kit.waiting import wait_until

pytestmark = pytest.mark.limit(40)

SIZE: Final = 3 << 20
ENDLESS: Final = 256 << 20
COUNT: Final = 200

MUX: Final = ClientSpec(server_port=0, mux=True)
STREAMS: Final = {
    "v2ray": (V2RAY, MUX),
    "v2ray-legacy": (V2RAY, attrs.evolve(MUX, alter_id=4)),
    "xray": (XRAY, MUX),
    "xray-xudp": (XRAY, attrs.evolve(MUX, packet_encoding="xudp")),
}
DATAGRAMS: Final = {
    "xray-xudp": (XRAY, ClientSpec(server_port=0, packet_encoding="xudp")),
    "xray-mux-xudp": (XRAY, attrs.evolve(MUX, packet_encoding="xudp")),
    "sing-box-xudp": (SING_BOX, ClientSpec(server_port=0, packet_encoding="xudp")),
    "sing-box-packetaddr": (SING_BOX, ClientSpec(server_port=0, packet_encoding="packetaddr")),
}

streams = pytest.mark.parametrize(("peer", "spec"), STREAMS.values(), ids=STREAMS)


@attrs.frozen
class Path:
    """A peer's client in front of a node of ours.

    Attributes:
        node: the server.
        client: the peer's process, with its SOCKS port.
    """

    node: RunningNode
    client: RunningPeer


@asynccontextmanager
async def _start(peer: Peer, spec: ClientSpec) -> AsyncIterator[Path]:
    require(peer)
    async with (
        start_server_node(ServerSpec(alter_id=spec.alter_id)) as node,
        peer.start_client(attrs.evolve(spec, server_port=node.port)) as client,
    ):
        yield Path(node, client)


@streams
async def test_many_sub_connections_at_once(peer: Peer, spec: ClientSpec) -> None:
    async with (
        start_echo() as echo,
        _start(peer, spec) as path,
        trio.open_nursery() as nursery,
    ):
        for _ in range(COUNT):
            nursery.start_soon(check_echo, path.client.port, echo)
        for _ in range(4):
            nursery.start_soon(check_duplex, path.client.port, echo, SIZE)


@streams
async def test_programs_and_destinations_that_hang_up_harm_no_other(
    peer: Peer, spec: ClientSpec
) -> None:
    linger = struct.pack("ii", 1, 0)

    async def hang_up(stream: trio.abc.HalfCloseableStream) -> None:
        await stream.receive_some(10)
        raw = stream._inner.socket  # type: ignore[attr-defined]
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with (
        start_source(ENDLESS) as endless,
        start_source(SIZE) as source,
        start_tcp_origin(hang_up) as rude,
        _start(peer, spec) as path,
    ):
        port = path.client.port
        for number in range(10):
            async with await open_socks_stream(port, endless.host, endless.port) as stream:
                await stream.receive_some(1)
                if number % 2:
                    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            async with await open_socks_stream(port, rude.host, rude.port) as stream:
                await stream.send_all(b"hello")
                with trio.move_on_after(5) as limit:
                    with suppress(trio.BrokenResourceError):
                        assert await stream.receive_some(10) == b""
                assert not limit.cancelled_caught
            await check_download(port, source, SIZE)


@streams
async def test_a_client_that_is_killed_leaves_nothing(peer: Peer, spec: ClientSpec) -> None:
    async with (
        start_source(ENDLESS) as endless,
        start_silent() as silent,
        _start(peer, spec) as path,
        trio.open_nursery() as nursery,
    ):
        port = path.client.port

        async def use(host: str, target: int) -> None:
            try:
                async with await open_socks_stream(port, host, target) as stream:
                    await stream.send_all(bytes(1000))
                    while await stream.receive_some():
                        pass
            except trio.BrokenResourceError:
                return

        for _ in range(10):
            nursery.start_soon(use, endless.host, endless.port)
            nursery.start_soon(use, silent.host, silent.port)
        await wait_until(lambda: len(path.node.node.connections) == 20)
        await path.client.kill()
        await wait_until(lambda: not path.node.node.connections)


@pytest.mark.parametrize(("peer", "spec"), DATAGRAMS.values(), ids=DATAGRAMS)
async def test_one_socket_speaks_with_many(peer: Peer, spec: ClientSpec) -> None:
    """All see the same address, and one who was never written to can answer."""
    async with _start(peer, spec) as path:
        await check_full_cone(path.client.port)
