"""Sniffing in whole nodes: addresses go in, names come out, and every byte arrives.

Clients ask for an address of loopback where nobody listens. So what they get comes from the place
that the sniffed name stands for.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import attrs
import pytest
import trio

from tests.kit.client_hello import KINDS, handshake_of, make_hello
from tests.kit.nodes import (
    RunningNode,
    freedom,
    proxy_inbound,
    start_client_node,
    start_node,
    vmess_inbounds,
    vmess_outbound,
)
from tests.kit.origin import start_echo, start_source, start_udp_echo
from tests.kit.pattern import pattern
from tests.kit.peer_specs import ClientSpec, ServerSpec
from tests.kit.quic_client import crypto_frame, seal_initial
from tests.kit.resolver import TableResolver
from tests.kit.socks_client import SocksError, open_socks_stream, open_socks_udp, receive_exactly
from trio_vmess.config import (
    Config,
    HttpInboundSettings,
    InboundProtocolSettings,
    SocksInboundSettings,
)
from trio_vmess.core import Flow
from trio_vmess.core.sniff import SniffingSettings

NAME: Final = "site.example"
NOWHERE: Final = "127.0.0.9"
HELLO: Final = make_hello(NAME)
HEAD: Final = b"GET / HTTP/1.1\r\nHost: Site.Example:8080\r\n\r\n"
OVERRIDE: Final = SniffingSettings(dest_override=("http", "tls"))


def resolve_names() -> TableResolver:
    resolver = TableResolver({NAME: ["127.0.0.1"], "127.0.0.1": ["127.0.0.1"]})
    resolver.use()
    return resolver


@asynccontextmanager
async def start_proxy(
    sniffing: SniffingSettings | None, protocol: InboundProtocolSettings | None = None
) -> AsyncIterator[RunningNode]:
    """Run a local proxy that sniffs and goes straight to destinations."""
    inbound = attrs.evolve(proxy_inbound(ClientSpec(server_port=1), protocol), sniffing=sniffing)
    async with start_node(Config(inbounds=(inbound,), outbounds=(freedom(),))) as node:
        yield node


@asynccontextmanager
async def start_sniffing_server() -> AsyncIterator[RunningNode]:
    """Run a VMess server that sniffs, and a client of it that does not; give the client."""
    (inbound,) = vmess_inbounds(ServerSpec())
    inbound = attrs.evolve(inbound, sniffing=OVERRIDE)
    async with (
        start_node(Config(inbounds=(inbound,), outbounds=(freedom(),))) as server,
        start_client_node(ClientSpec(server_port=server.port)) as client,
    ):
        yield client


async def check_echo(stream: trio.SocketStream, first_bytes: bytes) -> None:
    for data in (first_bytes, b"x", pattern(100_000)):
        await stream.send_all(data)
        assert await receive_exactly(stream, len(data)) == data


def flow_of(node: RunningNode) -> Flow:
    (connection,) = node.node.connections
    return connection.flow


@pytest.mark.parametrize(
    ("first_bytes", "protocol"), [(HELLO, "tls"), (HEAD, "http1")], ids=["tls", "http"]
)
async def test_socks(first_bytes: bytes, protocol: str) -> None:
    resolve_names()
    async with (
        start_echo() as origin,
        start_proxy(OVERRIDE) as node,
        await open_socks_stream(node.port, NOWHERE, origin.port) as stream,
    ):
        await check_echo(stream, first_bytes)
        flow = flow_of(node)
        assert str(flow.destination) == f"tcp:{NAME}:{origin.port}"
        assert (flow.sniffed_protocol, flow.sniffed_domain) == (protocol, NAME)


async def test_the_name_is_for_routing_alone() -> None:
    resolver = resolve_names()
    settings = attrs.evolve(OVERRIDE, route_only=True)
    async with (
        start_echo() as origin,
        start_proxy(settings) as node,
        await open_socks_stream(node.port, origin.host, origin.port) as stream,
    ):
        await check_echo(stream, HELLO)
        flow = flow_of(node)
        assert (str(flow.destination.host), flow.sniffed_domain) == (origin.host, NAME)
    assert NAME not in resolver.asked


async def test_http_connect() -> None:
    resolve_names()
    async with (
        start_echo() as origin,
        start_proxy(OVERRIDE, HttpInboundSettings()) as node,
        await trio.open_tcp_stream("127.0.0.1", node.port) as stream,
    ):
        target = f"{NOWHERE}:{origin.port}"
        await stream.send_all(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await receive_exactly(stream, 1)
        assert answer.startswith(b"HTTP/1.1 200 ")
        await check_echo(stream, HELLO)


@pytest.mark.parametrize("first_bytes", [HELLO, HEAD], ids=["tls", "http"])
async def test_a_vmess_server(first_bytes: bytes) -> None:
    resolve_names()
    async with (
        start_echo() as origin,
        start_sniffing_server() as client,
        await open_socks_stream(client.port, NOWHERE, origin.port) as stream,
    ):
        await check_echo(stream, first_bytes)


async def test_a_vmess_client_sends_the_name() -> None:
    resolve_names()
    (inbound,) = vmess_inbounds(ServerSpec())
    async with (
        start_echo() as origin,
        start_node(Config(inbounds=(inbound,), outbounds=(freedom(),))) as server,
    ):
        spec = ClientSpec(server_port=server.port)
        proxy = attrs.evolve(proxy_inbound(spec), sniffing=OVERRIDE)
        async with (
            start_node(Config(inbounds=(proxy,), outbounds=(vmess_outbound(spec),))) as client,
            await open_socks_stream(client.port, NOWHERE, origin.port) as stream,
        ):
            await check_echo(stream, HELLO)
            assert flow_of(server).destination.host == NAME


@pytest.mark.parametrize("start", [start_proxy, start_sniffing_server])
async def test_a_server_that_speaks_first(start: object) -> None:
    resolve_names()
    running = start_proxy(OVERRIDE) if start is start_proxy else start_sniffing_server()
    async with start_source(100, half_close=True) as origin, running as node:
        began = trio.current_time()
        async with await open_socks_stream(node.port, origin.host, origin.port) as stream:
            assert await receive_exactly(stream, 100) == pattern(100)
        assert trio.current_time() - began < 2


async def test_an_unreachable_destination_closes_the_connection() -> None:
    """The client was told that it is connected, so all that can follow is a close."""
    resolve_names()
    async with start_echo() as origin:
        port = origin.port
        async with (
            start_proxy(SniffingSettings()) as node,
            await open_socks_stream(node.port, NOWHERE, port) as stream,
        ):
            await stream.send_all(HELLO)
            with suppress(trio.BrokenResourceError):
                assert await stream.receive_some() == b""
        async with start_proxy(None) as node:
            with pytest.raises(SocksError):
                await open_socks_stream(node.port, NOWHERE, port)


async def test_quic() -> None:
    resolver = resolve_names()
    initial = seal_initial(crypto_frame(0, handshake_of(make_hello(NAME, KINDS["1.3"]))))
    settings = SniffingSettings(dest_override=("quic",))
    async with (
        start_udp_echo() as origin,
        start_proxy(settings, SocksInboundSettings(udp=True)) as node,
        open_socks_udp(node.port) as association,
    ):
        for datagram in (initial, b"more"):
            await association.send_to(NOWHERE, origin.port, datagram)
            assert await association.receive() == (NOWHERE, origin.port, datagram)
        flow = flow_of(node)
        assert str(flow.destination) == f"udp:{NAME}:{origin.port}"
        # To another place, and nothing that could be QUIC.
        await association.send_to(origin.host, origin.port, b"a query")
        assert await association.receive() == (origin.host, origin.port, b"a query")
    assert NAME in resolver.asked
