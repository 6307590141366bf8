"""Outbounds whose servers are reached through another outbound (V2Ray's proxySettings)."""

import json

import pytest

from tests.kit.nodes import RunningNode, start_node, start_server_node
from tests.kit.origin import start_echo, start_udp_echo
from tests.kit.peer_specs import ServerSpec
from tests.kit.socks_client import SocksError, open_socks_stream, open_socks_udp
from trio_vmess.config import Config, parse_config
from trio_vmess.core.vmess import format_user_id, parse_user_id

USER = format_user_id(parse_user_id(ServerSpec().user_id))
PROXY = """
[[inbounds]]
protocol = "%s"
listen = "127.0.0.1"
port = 0
[[outbounds]]
protocol = "freedom"
"""


def vmess(tag: str, port: int, **more: object) -> dict[str, object]:
    server = {"address": "127.0.0.1", "port": port, "users": [{"id": USER}]}
    return {"tag": tag, "protocol": "vmess", "settings": {"vnext": [server]}, **more}


def client(*outbounds: object) -> Config:
    inbound = {
        "listen": "127.0.0.1",
        "port": 0,
        "protocol": "socks",
        "settings": {"udp": True},
    }
    return parse_config(json.dumps({"inbounds": [inbound], "outbounds": outbounds}))


def destinations(node: RunningNode) -> set[str]:
    return {str(each.flow.destination) for each in node.node.connections}


@pytest.mark.parametrize("mux", [False, True])
async def test_a_server_is_reached_through_another(mux: bool) -> None:
    async with (
        start_echo() as origin,
        start_server_node(ServerSpec()) as near,
        start_server_node(ServerSpec()) as far,
    ):
        outbounds = (
            vmess("far", far.port, proxySettings={"tag": "near"}, mux={"enabled": mux}),
            vmess("near", near.port),
        )
        async with (
            start_node(client(*outbounds)) as node,
            await open_socks_stream(node.port, "127.0.0.1", origin.port) as stream,
        ):
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"hello"
            assert destinations(near) == {f"tcp:127.0.0.1:{far.port}"}
            assert f"tcp:127.0.0.1:{origin.port}" in destinations(far)
            assert {each.outbound_tag for each in node.node.connections} == {"far"}


async def test_datagrams_go_that_way_too() -> None:
    async with (
        start_udp_echo() as origin,
        start_server_node(ServerSpec()) as near,
        start_server_node(ServerSpec()) as far,
    ):
        outbounds = (
            vmess("far", far.port, proxySettings={"tag": "near"}),
            vmess("near", near.port),
        )
        async with (
            start_node(client(*outbounds)) as node,
            open_socks_udp(node.port) as association,
        ):
            await association.send_to(origin.host, origin.port, b"hello")
            assert (await association.receive())[2] == b"hello"
            assert destinations(near) == {f"tcp:127.0.0.1:{far.port}"}


@pytest.mark.parametrize("protocol", ["socks", "http"])
async def test_a_parent_proxy_is_reached_through_a_server(protocol: str) -> None:
    async with (
        start_echo() as origin,
        start_server_node(ServerSpec()) as near,
        start_node(parse_config(PROXY % protocol, format="toml")) as proxy,
    ):
        far = {
            "tag": "far",
            "protocol": protocol,
            "settings": {"servers": [{"address": "127.0.0.1", "port": proxy.port}]},
            "proxySettings": {"tag": "near"},
        }
        async with (
            start_node(client(far, vmess("near", near.port))) as node,
            await open_socks_stream(node.port, "127.0.0.1", origin.port) as stream,
        ):
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"hello"
            assert destinations(near) == {f"tcp:127.0.0.1:{proxy.port}"}


async def test_a_server_that_is_not_reached_is_a_failure_of_the_outbound() -> None:
    outbounds = (
        vmess("far", 9, proxySettings={"tag": "near"}),
        {"tag": "near", "protocol": "http", "settings": {"servers": [CLOSED]}},
    )
    async with start_node(client(*outbounds)) as node:
        with pytest.raises(SocksError):
            await open_socks_stream(node.port, "192.0.2.1", 80)


CLOSED = {"address": "127.0.0.1", "port": 9}
