"""PROXY headers from a front that Xray is, to servers that demand them."""

import ipaddress
import logging
import re
from typing import Final

import attrs
import pytest
import trio

from tests.kit.carriers import BARE, TLS, WS, WS_TLS, CarrierSpec
from tests.kit.exchanges import check_duplex, check_echo
from tests.kit.nodes import (
    Running,
    proxy_inbound,
    start_client_node,
    start_node,
    start_server_node,
    vmess_outbound,
)
from tests.kit.origin import start_echo
from tests.kit.peers import V2RAY, XRAY, ClientSpec, Peer, ServerSpec, require
from tests.kit.proxy_front import start_proxy_front
from tests.kit.socks_client import SocksError
from trio_vmess import config

pytestmark = pytest.mark.limit(20)

SIZE: Final = 1 << 20
CLIENT: Final = "127.0.0.5"
UNREACHED: Final = (SocksError, trio.BrokenResourceError, trio.TooSlowError)


def _start_client(port: int, carrier: CarrierSpec) -> Running:
    """Run a client whose connections come from an address that nothing else has."""
    spec = ClientSpec(server_port=port, carrier=carrier)
    outbound = attrs.evolve(vmess_outbound(spec), send_through=ipaddress.ip_address(CLIENT))
    return start_node(config.Config(inbounds=(proxy_inbound(spec),), outbounds=(outbound,)))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("server", [V2RAY, XRAY], ids=str)
@pytest.mark.parametrize("carrier", [BARE, WS], ids=str)
async def test_peers_take_the_headers_of_the_front(
    server: Peer, carrier: CarrierSpec, version: int
) -> None:
    """The front is right."""
    require(server, XRAY)
    behind = attrs.evolve(carrier, proxy_protocol=True)
    async with (
        start_echo() as echo,
        server.start_server(ServerSpec(carrier=behind)) as running,
        start_proxy_front(running.port, version) as front,
        _start_client(front.port, carrier) as client,
    ):
        await check_echo(client.port, echo)
        assert re.search(rf" {CLIENT}:\d+ accepted", running.log())


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("carrier", [BARE, TLS, WS, WS_TLS], ids=str)
async def test_our_log_has_the_address_of_the_client(
    carrier: CarrierSpec, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    require(XRAY)
    behind = attrs.evolve(carrier, proxy_protocol=True)
    with caplog.at_level(logging.INFO, logger="trio_vmess"):
        async with (
            start_echo() as echo,
            start_server_node(ServerSpec(carrier=behind)) as server,
            start_proxy_front(server.port, version) as front,
            _start_client(front.port, carrier) as client,
        ):
            await check_echo(client.port, echo)
            await check_duplex(client.port, echo, SIZE)
    sources = re.findall(r"source=(\S+) user=user@test", caplog.text)
    assert sources
    assert {source.partition(":")[0] for source in sources} == {CLIENT}


async def test_who_comes_without_a_header_is_refused() -> None:
    async with (
        start_echo() as echo,
        start_server_node(ServerSpec(carrier=CarrierSpec(proxy_protocol=True))) as server,
        start_client_node(ClientSpec(server_port=server.port)) as client,
    ):
        with pytest.raises(UNREACHED), trio.fail_after(1):
            await check_echo(client.port, echo)
        assert echo.connection_count == 0
