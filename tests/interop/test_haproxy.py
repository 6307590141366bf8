"""haproxy with TLS in front, which tells by PROXY headers where connections come from."""

import ipaddress
import logging
import os
import re
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio

from tests.kit.carriers import CarrierSpec, Network
from tests.kit.exchanges import check_download, check_duplex, check_echo
from tests.kit.haproxy import start_haproxy
from tests.kit.nodes import (
    Running,
    proxy_inbound,
    start_node,
    start_server_node,
    vmess_outbound,
)
from tests.kit.origin import start_echo, start_source
from tests.kit.peers import SING_BOX, V2RAY, XRAY, ClientSpec, Peer, ServerSpec, require
from trio_vmess import config

pytestmark = pytest.mark.limit(20)

SIZE: Final = 3 << 20
CLIENT: Final = "127.0.0.5"
ALPN: Final = {"grpc": "h2", "h2": "h2"}


def _socket(kind: str, folder: Path) -> str:
    return f"@@trio-vmess-{os.getpid()}" if kind == "abstract" else str(folder / "vmess.sock")


def _start_client(port: int, carrier: CarrierSpec) -> Running:
    """Run a client whose connections come from an address that nothing else has."""
    spec = ClientSpec(server_port=port, carrier=carrier)
    outbound = attrs.evolve(vmess_outbound(spec), send_through=ipaddress.ip_address(CLIENT))
    return start_node(config.Config(inbounds=(proxy_inbound(spec),), outbounds=(outbound,)))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("kind", ["path", "abstract"])
async def test_v2ray_stands_behind_haproxy(version: int, kind: str, tmp_path: Path) -> None:
    """Nothing of our server: the recipe is right."""
    require(V2RAY)
    carrier = CarrierSpec(network="ws", unix=_socket(kind, tmp_path), proxy_protocol=True)
    in_front = CarrierSpec(network="ws", tls=True)
    async with (
        start_echo() as echo,
        V2RAY.start_server(ServerSpec(carrier=carrier)),
        start_haproxy(carrier.unix, tmp_path, version=version, alpn="http/1.1") as front,
        V2RAY.start_client(ClientSpec(server_port=front.port, carrier=in_front)) as client,
    ):
        await check_echo(client.port, echo)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("kind", ["path", "abstract"])
@pytest.mark.parametrize("network", ["tcp", "ws", "grpc"])
async def test_our_server_stands_behind_haproxy(
    network: Network, kind: str, version: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    behind = CarrierSpec(network=network, unix=_socket(kind, tmp_path), proxy_protocol=True)
    alpn = ALPN.get(network, "http/1.1")
    with caplog.at_level(logging.INFO, logger="trio_vmess"):
        async with (
            start_echo() as echo,
            start_server_node(ServerSpec(carrier=behind)),
            start_haproxy(behind.unix, tmp_path, version=version, alpn=alpn) as front,
            _start_client(front.port, CarrierSpec(network=network, tls=True)) as client,
        ):
            await check_echo(client.port, echo)
            await check_duplex(client.port, echo, SIZE)
    sources = re.findall(r"source=(\S+) user=user@test", caplog.text)
    assert sources
    assert {source.partition(":")[0] for source in sources} == {CLIENT}


@pytest.mark.parametrize(
    ("client", "network"), [(V2RAY, "ws"), (XRAY, "grpc"), (SING_BOX, "httpupgrade")], ids=str
)
async def test_peers_come_to_us_through_haproxy(
    client: Peer, network: Network, tmp_path: Path
) -> None:
    require(client)
    behind = CarrierSpec(network=network, unix=_socket("path", tmp_path), proxy_protocol=True)
    in_front = CarrierSpec(network=network, tls=True)
    alpn = ALPN.get(network, "http/1.1")
    async with (
        start_source(SIZE) as source,
        start_server_node(ServerSpec(carrier=behind)),
        start_haproxy(behind.unix, tmp_path, version=2, alpn=alpn) as front,
        client.start_client(ClientSpec(server_port=front.port, carrier=in_front)) as running,
    ):
        for _ in range(3):
            await check_download(running.port, source, SIZE)


async def test_health_checks_are_not_taken_for_clients(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """haproxy connects, says that nobody has come (LOCAL), and leaves.

    A server that refused that three times would be down.
    """
    behind = CarrierSpec(network="ws", unix=_socket("path", tmp_path), proxy_protocol=True)
    with caplog.at_level(logging.INFO, logger="trio_vmess"):
        async with (
            start_echo() as echo,
            start_server_node(ServerSpec(carrier=behind)),
            start_haproxy(behind.unix, tmp_path, version=2, alpn="http/1.1") as front,
            _start_client(front.port, CarrierSpec(network="ws", tls=True)) as client,
        ):
            await trio.sleep(0.5)
            await check_echo(client.port, echo)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
