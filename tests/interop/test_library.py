"""The library at the servers of V2Ray, Xray and sing-box: on asyncio, with httpx, and by UDP."""

import asyncio
import ipaddress
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import httpx
import pytest
import trio

from tests.kit.carriers import BARE, TLS, WS, WS_TLS, CarrierSpec
from tests.kit.http_origin import start_http
from tests.kit.node_carriers import node_stream
from tests.kit.origin import start_echo, start_udp_echo
from tests.kit.peers import SING_BOX, V2RAY, XRAY, Peer, ServerSpec, require
from trio_vmess import Account, open_vmess_datagrams
from trio_vmess.asyncio import open_vmess_connection
from trio_vmess.config import (
    OutboundSettings,
    OutboundUserSettings,
    VMessOutboundSettings,
    VMessServerSettings,
)
from trio_vmess.httpx import VMessTransport

pytestmark = pytest.mark.limit(40)

peers = pytest.mark.parametrize("peer", [V2RAY, XRAY, SING_BOX], ids=str)
carriers = pytest.mark.parametrize("carrier", [BARE, TLS, WS, WS_TLS], ids=str)


@asynccontextmanager
async def running(peer: Peer, carrier: CarrierSpec = BARE) -> AsyncIterator[OutboundSettings]:
    """Run a server of a peer; give our outbound for it."""
    require(peer)
    spec = ServerSpec(carrier=carrier)
    async with peer.start_server(spec) as server:
        vmess = VMessOutboundSettings(
            servers=(
                VMessServerSettings(
                    address=ipaddress.IPv4Address(spec.host),
                    port=server.port,
                    users=(OutboundUserSettings(id=Account(spec.user_id).user_id),),
                ),
            )
        )
        stream = node_stream(carrier, "client")
        yield attrs.evolve(OutboundSettings(protocol=vmess), stream=stream)


@peers
@carriers
async def test_a_stream_on_asyncio(peer: Peer, carrier: CarrierSpec) -> None:
    sent = secrets.token_bytes(1 << 20)
    # asyncio's TLS has no end of one direction, nor have WebSockets; so the end is VMess's alone,
    # which sing-box's server does not pass on.
    can_end = carrier is BARE or peer is not SING_BOX

    async def exchange(outbound: OutboundSettings, target: tuple[str, int]) -> bytes:
        async with asyncio.timeout(30):
            reader, writer = await open_vmess_connection(outbound, target)
            writer.write(sent)
            received = await reader.readexactly(len(sent))
            if can_end:
                writer.write_eof()
                assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            return received

    async with running(peer, carrier) as outbound, start_echo() as origin:
        coroutine = exchange(outbound, (origin.host, origin.port))
        assert await trio.to_thread.run_sync(asyncio.run, coroutine) == sent


@peers
async def test_datagrams(peer: Peer) -> None:
    async with (
        running(peer) as outbound,
        start_udp_echo() as origin,
        open_vmess_datagrams(outbound, (origin.host, origin.port)) as datagrams,
    ):
        for size in (1, 1000, 1900):
            sent = secrets.token_bytes(size)
            await datagrams.send(sent)
            assert await datagrams.receive() == sent


@peers
async def test_requests_of_httpx(peer: Peer) -> None:
    async with (
        running(peer) as outbound,
        start_http() as origin,
        httpx.AsyncClient(transport=VMessTransport(outbound)) as client,
    ):
        for text in ("one", "two"):
            url = f"http://{origin.host}:{origin.port}/echo"
            assert (await client.post(url, content=text)).text == text
        assert origin.connection_count == 1
