"""Dynamic ports with V2Ray, the only other implementation that knows them, at either end.

The slow test lives through a real minute; it runs where CI=true or HYPOTHESIS_PROFILE=deep. How a
generation of ports ends between two of our nodes is in tests/loopback/test_dynamic_ports.py, on a
faster clock.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from tests.kit.descriptors import connected_ports
from tests.kit.exchanges import check_echo
from tests.kit.nodes import DYNAMIC_TAG, RunningNode, start_client_node, start_server_node
from tests.kit.origin import Origin, start_echo
from tests.kit.peers import V2RAY, ClientSpec, DynamicPorts, RunningPeer, ServerSpec, require
from tests.kit.ports import free_port_range
from tests.kit.socks_client import open_socks_stream
from tests.kit.transfer import echo_file
from tests.kit.waiting import wait_until
from trio_vmess.outbound import VMessOutbound

FILE_SIZE = 1 << 20
STREAM_COUNT = 6

SLOW = os.environ.get("CI", "").lower() == "true" or os.environ.get("HYPOTHESIS_PROFILE") == "deep"
LIFE = 68.0
"""Seconds: past the first refresh, after which everything offered before it has expired."""

HASTE = 6.0
"""Seconds of dense traffic at the end."""


def _plan(alter_id: int, refresh: int = 5) -> DynamicPorts:
    return DynamicPorts(ports=free_port_range(10), refresh=refresh, alter_id=alter_id)


def _offered(client: RunningNode) -> set[int]:
    """Return the ports that a client node has been offered and uses now."""
    (outbound,) = client.node.outbounds
    assert isinstance(outbound, VMessOutbound)
    return {port for _, port in outbound.offered_ports}


def _dialled(client: RunningPeer, ports: range) -> set[int]:
    """Return those of `ports` that V2Ray's log shows as recently dialled."""
    log = client.log()
    return {port for port in ports if f"dialing TCP to tcp:127.0.0.1:{port}\n" in log}


@asynccontextmanager
async def _open_stream(client_port: int, origin: Origin) -> AsyncIterator[trio.SocketStream]:
    async with await open_socks_stream(client_port, origin.host, origin.port) as stream:
        await stream.send_all(b"?")
        assert await stream.receive_some(1) == b"?"
        yield stream


@pytest.mark.parametrize("server_alter_id", [0, 4])
@pytest.mark.parametrize("alter_id", [0, 2])
async def test_v2ray_client_moves_to_our_dynamic_ports(alter_id: int, server_alter_id: int) -> None:
    require(V2RAY)
    plan = _plan(alter_id)
    async with (
        start_echo() as echo,
        start_server_node(ServerSpec(alter_id=server_alter_id, dynamic_ports=plan)) as server,
        V2RAY.start_client(ClientSpec(server_port=server.port, alter_id=server_alter_id)) as client,
    ):
        assert len(server.dynamic_ports) == plan.concurrency
        await check_echo(client.port, echo)
        for _ in range(STREAM_COUNT):
            async with _open_stream(client.port, echo) as stream:
                await echo_file(stream, FILE_SIZE)
                # V2Ray takes turns: some streams go by the main port still.
                by_dynamic_port = [
                    connection.meter
                    for connection in server.node.connections
                    if connection.flow.inbound_tag == DYNAMIC_TAG
                ]
                if any(FILE_SIZE < meter.downlink < 2 * FILE_SIZE for meter in by_dynamic_port):
                    break
        else:
            pytest.fail("no file took a dynamic port")
        assert _dialled(client, plan.ports) & set(server.dynamic_ports)


@pytest.mark.parametrize("server_alter_id", [0, 4])
@pytest.mark.parametrize("alter_id", [0, 2])
async def test_our_client_moves_to_v2rays_dynamic_ports(
    alter_id: int, server_alter_id: int
) -> None:
    require(V2RAY)
    plan = _plan(alter_id)
    async with (
        start_echo() as echo,
        V2RAY.start_server(ServerSpec(alter_id=server_alter_id, dynamic_ports=plan)) as server,
        start_client_node(ClientSpec(server_port=server.port, alter_id=server_alter_id)) as client,
    ):
        await check_echo(client.port, echo)
        offered = _offered(client)
        assert offered
        assert offered <= set(plan.ports)
        # The first connection ends a second after its stream.
        await wait_until(lambda: server.port not in connected_ports())
        for _ in range(STREAM_COUNT):
            async with _open_stream(client.port, echo) as stream:
                ours = connected_ports()
                assert ours & set(plan.ports)
                assert server.port not in ours
                await echo_file(stream, FILE_SIZE)


@pytest.mark.skipif(not SLOW, reason="takes over a minute; set CI=true to run it")
@pytest.mark.limit(LIFE + 20)
async def test_traffic_goes_on_when_ports_expire() -> None:
    """Both directions at once, through the end of the first ports' minute."""
    require(V2RAY)
    our_plan, their_plan = _plan(0, refresh=1), _plan(2, refresh=1)
    async with (
        start_echo() as echo,
        start_server_node(ServerSpec(dynamic_ports=our_plan)) as our_server,
        V2RAY.start_client(ClientSpec(server_port=our_server.port)) as their_client,
        V2RAY.start_server(ServerSpec(dynamic_ports=their_plan)) as their_server,
        start_client_node(ClientSpec(server_port=their_server.port)) as our_client,
    ):
        end = trio.current_time() + LIFE
        first_ports = set(our_server.dynamic_ports)
        first_offers: set[int] = set()
        while trio.current_time() < end:
            for port in (our_client.port, their_client.port):
                await check_echo(port, echo)
            first_offers = first_offers or _offered(our_client)
            # V2Ray takes turns among all that it was ever offered: it meets new ports by and by.
            await trio.sleep(1.0 if trio.current_time() < end - HASTE else 0.05)
        newest = set(our_server.dynamic_ports[-our_plan.concurrency :])
        assert not newest & first_ports
        assert _dialled(their_client, our_plan.ports) & newest
        assert first_offers
        assert _offered(our_client)
        # A generation closes after two minutes, so its ports cannot have been chosen again.
        assert not _offered(our_client) & first_offers
