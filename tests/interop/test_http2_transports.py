"""The transports `http` and `grpc` with V2Ray, Xray and sing-box, in both directions."""

from pathlib import Path

import pytest
import trio

from tests.interop.http2_bridges import (
    Certificate,
    Setting,
    client_bridge,
    server_bridge,
    start_peer,
)
from tests.kit.exchanges import check_download, check_duplex, check_echo, check_upload
from tests.kit.origin import start_echo, start_sink, start_source
from tests.kit.peers import SING_BOX, V2RAY, XRAY, Peer, require

pytestmark = pytest.mark.limit(30)

SIZE = 3 << 20

HTTP = Setting(kind="http", has_tls=False)
HTTP_TLS = Setting(kind="http", has_tls=True)
GRPC = Setting(kind="grpc", has_tls=False)
GRPC_TLS = Setting(kind="grpc", has_tls=True)
MULTI = Setting(kind="multi", has_tls=False)

# Without TLS, sing-box's client and V2Ray's do not speak HTTP/2 for `http`; their servers do.
CLIENTS = [
    *((V2RAY, each) for each in (HTTP_TLS,)),
    *((XRAY, each) for each in (GRPC, GRPC_TLS, MULTI)),
    *((SING_BOX, each) for each in (HTTP_TLS, GRPC, GRPC_TLS)),
]
SERVERS = [*CLIENTS, (V2RAY, HTTP), (SING_BOX, HTTP)]


async def check_traffic(proxy_port: int) -> None:
    """Speak, send a lot, receive a lot, both at once, and several at a time."""
    async with start_echo() as echo, start_sink(size=SIZE) as sink, start_source(SIZE) as source:
        await check_echo(proxy_port, echo)
        await check_upload(proxy_port, sink, SIZE)
        await check_download(proxy_port, source, SIZE)
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(check_duplex, proxy_port, echo, SIZE // 4)


@pytest.mark.parametrize(("peer", "setting"), CLIENTS, ids=str)
async def test_clients_reach_our_server(peer: Peer, setting: Setting, tmp_path: Path) -> None:
    require(peer)
    certificate = Certificate(tmp_path)
    running, plain_port = start_peer(peer, None, certificate, server_port=None)
    async with running, server_bridge(setting, certificate, plain_port) as port:
        running, proxy_port = start_peer(peer, setting, certificate, server_port=port)
        async with running:
            await check_traffic(proxy_port)


@pytest.mark.parametrize(("peer", "setting"), SERVERS, ids=str)
async def test_our_client_reaches_servers(peer: Peer, setting: Setting, tmp_path: Path) -> None:
    require(peer)
    certificate = Certificate(tmp_path)
    running, peer_port = start_peer(peer, setting, certificate, server_port=None)
    async with running, client_bridge(setting, certificate, peer_port) as port:
        running, proxy_port = start_peer(peer, None, certificate, server_port=port)
        async with running:
            await check_traffic(proxy_port)
