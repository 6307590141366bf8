"""Routing in whole nodes, from V2Ray's own kind of configuration files."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from tests.kit.nodes import RunningNode, start_node, start_server_node
from tests.kit.origin import start_echo, start_udp_echo
from tests.kit.peer_specs import ServerSpec
from tests.kit.ports import free_port
from tests.kit.resolver import TableResolver
from tests.kit.socks_client import SocksError, open_socks_stream, open_socks_udp
from trio_vmess.config import parse_config
from trio_vmess.core.vmess import format_user_id, parse_user_id

USER = ServerSpec().user_id

GUIDE = """
{
  // A client as the guide has it: a local SOCKS proxy that sniffs, and a server.
  "log": {"loglevel": "warning", "access": "none"},
  "inbounds": [{
    "tag": "socks-in", "listen": "127.0.0.1", "port": 0, "protocol": "socks",
    "sniffing": {"enabled": true, "destOverride": ["http", "tls"]},
    "settings": {"auth": "noauth", "udp": true}
  }],
  "outbounds": [
    {"tag": "proxy", "protocol": "vmess", "settings": {"vnext": [{
      "address": "127.0.0.1", "port": SERVER,
      "users": [{"id": "USER", "alterId": 0, "security": "auto", "level": 0}]
    }]}},
    {"tag": "direct", "protocol": "freedom", "settings": {}},
    {"tag": "blocked", "protocol": "blackhole", "settings": {"response": {"type": "none"}}}
  ],
  "policy": {"levels": {"0": {
    "handshake": 4, "connIdle": 300, "uplinkOnly": 2, "downlinkOnly": 5
  }}},
  "routing": {
    "domainStrategy": "IPIfNonMatch",
    "rules": [
      {"type": "field", "domain": ["full:ads.example", "keyword:tracker"],
       "outboundTag": "blocked"},
      {"type": "field", "domain": ["domain:local.example"], "outboundTag": "direct"},
      {"type": "field", "ip": ["127.0.0.2/32"], "outboundTag": "direct"},
      {"type": "field", "network": "udp", "port": "1-65535", "outboundTag": "direct"},
      {"type": "field", "protocol": ["bittorrent"], "outboundTag": "blocked"}
    ]
  }
}
"""


@asynccontextmanager
async def start_guide_client(server_port: int) -> AsyncIterator[RunningNode]:
    text = GUIDE.replace("SERVER", str(server_port)).replace(
        "USER", format_user_id(parse_user_id(USER))
    )
    async with start_node(parse_config(text)) as node:
        yield node


async def way_of(node: RunningNode, host: str, port: int, first_bytes: bytes = b"hello") -> str:
    """Return the tag of the outbound that a connection takes."""
    async with await open_socks_stream(node.port, host, port) as stream:
        await stream.send_all(first_bytes)
        with trio.move_on_after(1):
            assert await stream.receive_some() == first_bytes
        tags = {connection.outbound_tag for connection in node.node.connections}
    return ",".join(sorted(tags))


async def test_the_rules_of_the_guide_choose_their_outbounds() -> None:
    TableResolver(
        {
            "www.example": ["127.0.0.1"],
            "local.example": ["127.0.0.1"],
            "second.example": ["127.0.0.2"],
            "127.0.0.1": ["127.0.0.1"],
        }
    ).use()
    async with (
        start_echo(host="0.0.0.0") as origin,
        start_server_node(ServerSpec()) as server,
        start_guide_client(server.port) as client,
    ):
        assert await way_of(client, "www.example", origin.port) == "proxy"
        assert await way_of(client, "local.example", origin.port) == "direct"
        # Resolved for the rule on addresses, though it leaves as a name.
        assert await way_of(client, "second.example", origin.port) == "direct"
        assert await way_of(client, "127.0.0.1", origin.port) == "proxy"
        # What an address really is comes out by its first bytes.
        head = b"GET / HTTP/1.1\r\nHost: local.example\r\n\r\n"
        assert await way_of(client, "127.0.0.1", origin.port, head) == "direct"
        async with await open_socks_stream(client.port, "ads.example", 80) as stream:
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b""
        async with await open_socks_stream(client.port, "127.0.0.1", origin.port) as stream:
            await stream.send_all(b"\x13BitTorrent protocol" + bytes(48))
            assert await stream.receive_some() == b""


async def test_datagrams_are_routed_too() -> None:
    async with (
        start_udp_echo() as origin,
        start_server_node(ServerSpec()) as server,
        start_guide_client(server.port) as client,
        open_socks_udp(client.port) as association,
    ):
        await association.send_to(origin.host, origin.port, b"hello")
        assert (await association.receive())[2] == b"hello"
        tags = {connection.outbound_tag for connection in client.node.connections}
    assert tags == {"direct"}


WEB_ALONE = """
{
  "inbounds": [{"tag": "web", "listen": "127.0.0.1", "port": 0, "protocol": "http",
    "sniffing": {"enabled": SNIFFS, "destOverride": ["http", "tls"], "routeOnly": true}}],
  "outbounds": [
    {"tag": "direct", "protocol": "freedom"},
    {"tag": "blocked", "protocol": "blackhole"}],
  "routing": {"rules": [{"inboundTag": ["web"], "protocol": ["PROTOCOL"],
    "outboundTag": "blocked"}]}
}
"""


@pytest.mark.parametrize("sniffs", ["true", "false"])
@pytest.mark.parametrize(
    ("protocol", "is_blocked"),
    [("http", True), ("http/1.1", True), ("tls", False), ("http/2", False)],
)
async def test_a_request_at_an_http_inbound_has_a_protocol_with_and_without_sniffing(
    protocol: str, sniffs: str, is_blocked: bool
) -> None:
    text = WEB_ALONE.replace("SNIFFS", sniffs).replace("PROTOCOL", protocol)
    async with start_echo() as origin, start_node(parse_config(text)) as node:
        where = f"127.0.0.1:{origin.port}"
        head = f"HTTP/1.1\r\nHost: {where}\r\n\r\n"
        with trio.fail_after(20):
            async with await trio.open_tcp_stream("127.0.0.1", node.port) as client:
                await client.send_all(f"GET http://{where}/ {head}".encode())
                answer = await client.receive_some()
            # The echo answers with the request, which is no response of HTTP.
            assert (b"malformed" in answer) is not is_blocked
            async with await trio.open_tcp_stream("127.0.0.1", node.port) as client:
                await client.send_all(f"CONNECT {where} {head}".encode())
                assert b" 200 " in await client.receive_some()
                await client.send_all(b"no HTTP")
                assert await client.receive_some() == b"no HTTP"


BY_ATTRIBUTES = """
{
  "inbounds": [{"listen": "127.0.0.1", "port": 0, "protocol": "PROTOCOL"}],
  "outbounds": [
    {"tag": "direct", "protocol": "freedom"},
    {"tag": "blocked", "protocol": "blackhole"}],
  "routing": {"rules": [{"attrs": "attrs[':method'] == 'PUT' and 'x-test' in attrs",
    "outboundTag": "blocked"}]}
}
"""


@pytest.mark.parametrize("protocol", ["http", "mixed"])
async def test_rules_ask_for_what_an_http_request_has(protocol: str) -> None:
    text = BY_ATTRIBUTES.replace("PROTOCOL", protocol)
    async with start_echo() as origin, start_node(parse_config(text)) as node:
        for method, header, is_blocked in (
            ("PUT", "X-Test: 1\r\n", True),
            ("PUT", "", False),
            ("GET", "X-Test: 1\r\n", False),
        ):
            where = f"127.0.0.1:{origin.port}"
            head = f"{method} http://{where}/ HTTP/1.1\r\nHost: {where}\r\n{header}\r\n"
            async with await trio.open_tcp_stream("127.0.0.1", node.port) as client:
                await client.send_all(head.encode())
                with trio.fail_after(20):
                    answer = await client.receive_some()
            # The echo answers with the request, which is no response of HTTP.
            assert (b"malformed" in answer) is not is_blocked


BALANCED = """
[[inbounds]]
tag = "socks-in"
protocol = "socks"
listen = "127.0.0.1"
port = 0

[[outbounds]]
tag = "vps-dead"
protocol = "vmess"
servers = [{ address = "127.0.0.1", port = DEAD, users = [{ id = "USER" }] }]

[[outbounds]]
tag = "vps-well"
protocol = "vmess"
servers = [{ address = "127.0.0.1", port = SERVER, users = [{ id = "USER" }] }]

[[routing.rules]]
inbound_tags = ["socks-in"]
balancer_tag = "vps"

[[routing.balancers]]
tag = "vps"
selector = ["vps-"]
strategy = "roundRobin"
"""


async def test_a_balancer_passes_over_a_dead_server(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "trio_vmess.dispatch.selection")
    async with start_echo() as origin, start_server_node(ServerSpec()) as server:
        text = (
            BALANCED.replace("DEAD", str(free_port()))
            .replace("SERVER", str(server.port))
            .replace("USER", format_user_id(parse_user_id(USER)))
        )
        async with start_node(parse_config(text)) as client:
            for _ in range(8):
                assert await way_of(client, origin.host, origin.port) == "vps-well"
    # It is tried some times, each with a line that says why, and then no more.
    *attempts, last = (line.partition(" ")[0] for line in caplog.messages)
    assert set(attempts) == {"vmess.server_unreachable"}
    assert last == "outbound.unhealthy"


async def test_no_server_left_is_told_to_the_program() -> None:
    text = (
        BALANCED.replace("DEAD", str(free_port()))
        .replace("SERVER", str(free_port()))
        .replace("USER", format_user_id(parse_user_id(USER)))
    )
    async with start_node(parse_config(text)) as client:
        with pytest.raises(SocksError):
            await open_socks_stream(client.port, "127.0.0.1", 80)
