"""HTTP/2 and gRPC share a connection between streams: what one does, others must not feel."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
import trio

from tests.kit.carriers import CarrierSpec
from tests.kit.exchanges import check_download, check_duplex, check_echo
from tests.kit.nodes import start_client_node, start_server_node
from tests.kit.origin import start_echo, start_source
from tests.kit.peers import SING_BOX, V2RAY, XRAY, ClientSpec, Peer, ServerSpec, require
from tests.kit.ports import free_port
from tests.kit.socks_client import open_socks_stream

pytestmark = pytest.mark.limit(30)

SIZE: Final = 1 << 20
STALLED_SIZE: Final = 64 << 20
"""More than all buffers and windows on the way hold."""

H2: Final = CarrierSpec(network="h2", tls=True)
GRPC: Final = CarrierSpec(network="grpc", tls=True)
MULTI: Final = CarrierSpec(network="grpc", tls=True, is_multi=True)

PEERS_AND_CARRIERS: Final = [
    (V2RAY, H2),
    (SING_BOX, H2),
    (XRAY, GRPC),
    (XRAY, MULTI),
    (SING_BOX, GRPC),
]


@asynccontextmanager
async def _start_pair(peer: Peer, carrier: CarrierSpec, *, ours: str) -> AsyncIterator[int]:
    """Start a peer and a node of ours; give the client's SOCKS port."""
    if ours == "server":
        async with (
            start_server_node(ServerSpec(carrier=carrier)) as node,
            peer.start_client(ClientSpec(server_port=node.port, carrier=carrier)) as client,
        ):
            yield client.port
        return
    async with (
        peer.start_server(ServerSpec(carrier=carrier)) as server,
        start_client_node(ClientSpec(server_port=server.port, carrier=carrier)) as client,
    ):
        yield client.port


@pytest.mark.parametrize("ours", ["server", "client"])
@pytest.mark.parametrize(("peer", "carrier"), PEERS_AND_CARRIERS, ids=str)
async def test_many_streams_at_once(peer: Peer, carrier: CarrierSpec, ours: str) -> None:
    """Downloads alone where Xray is the client.

    It ends a request whose program is silent for its first 100 ms, which happens where so much is
    going on, and our server passes that on.
    """
    require(peer)
    async with (
        start_echo() as echo,
        start_source(SIZE) as source,
        _start_pair(peer, carrier, ours=ours) as port,
        trio.open_nursery() as nursery,
    ):
        for _ in range(10):
            nursery.start_soon(check_download, port, source, SIZE)
        if peer is XRAY and ours == "server":
            return
        for _ in range(60):
            nursery.start_soon(check_echo, port, echo)
        for _ in range(5):
            nursery.start_soon(check_duplex, port, echo, SIZE)


@pytest.mark.parametrize("ours", ["server", "client"])
@pytest.mark.parametrize(("peer", "carrier"), PEERS_AND_CARRIERS, ids=str)
async def test_a_stream_that_nobody_reads_does_not_hold_up_the_others(
    peer: Peer, carrier: CarrierSpec, ours: str
) -> None:
    require(peer)
    async with (
        start_source(STALLED_SIZE) as endless,
        start_source(SIZE) as source,
        start_echo() as echo,
        _start_pair(peer, carrier, ours=ours) as port,
        await open_socks_stream(port, endless.host, endless.port) as stalled,
    ):
        await stalled.receive_some(1)
        for _ in range(3):
            await check_download(port, source, SIZE)
            await check_duplex(port, echo, SIZE)


@pytest.mark.parametrize("ours", ["server", "client"])
@pytest.mark.parametrize(("peer", "carrier"), PEERS_AND_CARRIERS, ids=str)
async def test_streams_that_are_given_up_leave_room_for_others(
    peer: Peer, carrier: CarrierSpec, ours: str
) -> None:
    """What a stream that is reset has not read is given back to the connection's window."""
    require(peer)
    async with (
        start_source(STALLED_SIZE) as endless,
        start_source(SIZE) as source,
        _start_pair(peer, carrier, ours=ours) as port,
    ):
        for _ in range(20):
            async with await open_socks_stream(port, endless.host, endless.port) as stream:
                await stream.receive_some(1)
        await check_download(port, source, SIZE)


@pytest.mark.parametrize(
    ("peer", "carrier"),
    [*PEERS_AND_CARRIERS, (V2RAY, CarrierSpec(network="ws", tls=True))],
    ids=str,
)
async def test_a_server_that_comes_back_is_reached_again(peer: Peer, carrier: CarrierSpec) -> None:
    require(peer)
    spec = ServerSpec(carrier=carrier, port=free_port())
    assert spec.port is not None
    async with (
        start_echo() as echo,
        start_client_node(ClientSpec(server_port=spec.port, carrier=carrier)) as client,
    ):
        for _ in range(2):
            async with peer.start_server(spec) as server:
                await check_echo(client.port, echo)
                await server.kill()
