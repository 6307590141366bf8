"""Our carriers at the servers of V2Ray and Xray: many sub-connections, and their ends.

sing-box's server is not here: it mixes up the frames of downloads that run at the same time, with
every client. The matrix has what it can carry, one busy sub-connection at a time.
"""

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import pytest
import trio

from tests.kit.cut import start_cut
from tests.kit.exchanges import (
    check_address_is_kept,
    check_download,
    check_duplex,
    check_echo,
    check_full_cone,
    check_upload,
    exchange_datagram,
)
from tests.kit.names import IPV4_LOOPBACK, LOCALHOST, target_hosts
from tests.kit.nodes import RunningNode, start_client_node
from tests.kit.origin import start_echo, start_silent, start_sink, start_source, start_udp_echo
from tests.kit.pattern import pattern
from tests.kit.peer_process import RunningPeer
from tests.kit.peers import SING_BOX, V2RAY, XRAY, ClientSpec, Peer, ServerSpec, require
from tests.kit.sockets import refused_port
from tests.kit.socks_client import open_socks_stream, open_socks_udp, read_on, receive_exactly
from tests.kit.waiting import wait_until

pytestmark = pytest.mark.limit(40)

SIZE: Final = 3 << 20
ENDLESS: Final = 256 << 20
COUNT: Final = 200

SERVERS: Final = {"v2ray": (V2RAY, 0), "v2ray-legacy": (V2RAY, 4), "xray": (XRAY, 0)}

servers = pytest.mark.parametrize(("peer", "alter_id"), SERVERS.values(), ids=SERVERS)


@attrs.frozen
class Path:
    """A node of ours in front of a peer's server.

    Attributes:
        server: the peer's process.
        client: the node, with its SOCKS port.
    """

    server: RunningPeer
    client: RunningNode


@asynccontextmanager
async def _start(peer: Peer, alter_id: int) -> AsyncIterator[Path]:
    require(peer)
    async with peer.start_server(ServerSpec(alter_id=alter_id)) as server:
        spec = ClientSpec(server_port=server.port, alter_id=alter_id, mux=True)
        async with start_client_node(spec) as client:
            yield Path(server, client)


@servers
async def test_many_sub_connections_at_once(peer: Peer, alter_id: int) -> None:
    async with (
        start_echo() as echo,
        start_source(SIZE) as source,
        start_sink(size=SIZE) as sink,
        _start(peer, alter_id) as path,
        trio.open_nursery() as nursery,
    ):
        port = path.client.port
        for _ in range(COUNT):
            nursery.start_soon(check_echo, port, echo)
        for _ in range(3):
            nursery.start_soon(check_duplex, port, echo, SIZE)
            nursery.start_soon(check_download, port, source, SIZE)
            nursery.start_soon(check_upload, port, sink, SIZE)


@servers
async def test_programs_that_hang_up_harm_no_other(peer: Peer, alter_id: int) -> None:
    linger = struct.pack("ii", 1, 0)
    async with (
        start_source(ENDLESS) as endless,
        start_source(SIZE) as source,
        _start(peer, alter_id) as path,
    ):
        port = path.client.port
        for number in range(10):
            async with await open_socks_stream(port, endless.host, endless.port) as stream:
                await stream.receive_some(1)
                if number % 2:
                    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            await check_download(port, source, SIZE)


@servers
async def test_a_destination_that_refuses_is_a_reset(peer: Peer, alter_id: int) -> None:
    async with (
        start_echo() as echo,
        _start(peer, alter_id) as path,
        await open_socks_stream(path.client.port, IPV4_LOOPBACK, refused_port()) as stream,
    ):
        await stream.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some(1)
        await check_echo(path.client.port, echo)


@servers
async def test_a_server_that_is_killed_resets_all_programs(peer: Peer, alter_id: int) -> None:
    async with (
        start_echo() as echo,
        start_silent() as silent,
        start_source(ENDLESS) as endless,
        _start(peer, alter_id) as path,
    ):
        streams = [
            await open_socks_stream(path.client.port, origin.host, origin.port)
            for origin in (echo, silent, endless)
            for _ in range(5)
        ]
        for stream in streams:
            await stream.send_all(b"hello")
        for stream in streams[:5]:
            await receive_exactly(stream, 5)
        await path.server.kill()
        for stream in streams:
            with pytest.raises(trio.BrokenResourceError):
                await read_on(stream)
            await stream.aclose()
        await wait_until(lambda: not path.client.node.connections)


DATAGRAMS: Final = {
    "xray-xudp": (XRAY, ClientSpec(server_port=0, packet_encoding="xudp")),
    "xray-mux-xudp": (XRAY, ClientSpec(server_port=0, packet_encoding="xudp", mux=True)),
    "sing-box-xudp": (SING_BOX, ClientSpec(server_port=0, packet_encoding="xudp")),
    "sing-box-mux-xudp": (SING_BOX, ClientSpec(server_port=0, packet_encoding="xudp", mux=True)),
    "sing-box-packetaddr": (SING_BOX, ClientSpec(server_port=0, packet_encoding="packetaddr")),
    "sing-box-mux-packetaddr": (
        SING_BOX,
        ClientSpec(server_port=0, packet_encoding="packetaddr", mux=True),
    ),
}


@pytest.mark.parametrize(("peer", "spec"), DATAGRAMS.values(), ids=DATAGRAMS)
async def test_one_socket_speaks_with_many(peer: Peer, spec: ClientSpec) -> None:
    """All see the same address, and one who was never written to can answer."""
    require(peer)
    async with (
        peer.start_server(ServerSpec()) as server,
        start_client_node(attrs.evolve(spec, server_port=server.port)) as client,
    ):
        await check_full_cone(client.port)


@pytest.mark.parametrize(
    "spec", [DATAGRAMS["xray-xudp"][1], DATAGRAMS["xray-mux-xudp"][1]], ids=["xudp", "mux-xudp"]
)
async def test_a_socket_keeps_its_address_when_its_carrier_was_cut(spec: ClientSpec) -> None:
    """Of the servers that speak XUDP, Xray's alone keeps global ids."""
    require(XRAY)
    async with (
        XRAY.start_server(ServerSpec()) as server,
        start_cut(server.port) as cut,
        start_client_node(attrs.evolve(spec, server_port=cut.port)) as client,
    ):
        await check_address_is_kept(client, cut)


@pytest.mark.parametrize(("peer", "spec"), DATAGRAMS.values(), ids=DATAGRAMS)
async def test_datagrams_go_to_names_and_in_all_sizes(peer: Peer, spec: ClientSpec) -> None:
    require(peer)
    async with (
        start_udp_echo(LOCALHOST) as echo,
        peer.start_server(ServerSpec()) as server,
        start_client_node(attrs.evolve(spec, server_port=server.port)) as client,
        open_socks_udp(client.port) as association,
    ):
        for host in target_hosts():
            for size in (1, 100, 1200, 1400):
                await exchange_datagram(association, host, echo.port, pattern(size))
