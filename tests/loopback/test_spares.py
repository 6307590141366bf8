"""Spare connections between two nodes: round trips that nobody waits for."""

from collections.abc import Sequence

import pytest
import trio
import trio.testing

from tests.kit.carriers import BARE, EARLY_DATA, TLS, WS, WS_TLS, CarrierSpec
from tests.kit.cut import start_cut
from tests.kit.delayed_path import DelayedPath, start_delayed_path
from tests.kit.exchanges import check_all, check_echo
from tests.kit.nodes import RunningNode, start_client_node, start_server_node
from tests.kit.origin import start_echo, start_udp_echo
from tests.kit.peer_specs import ClientSpec, DynamicPorts, ServerSpec
from tests.kit.ports import free_port_range
from tests.kit.socks_client import open_socks_stream, open_socks_udp, receive_exactly
from tests.kit.spares import find_trips, ready_count, spares_of, wait_for_spares
from tests.kit.waiting import wait_until
from trio_vmess.config import PolicyLevelSettings, PolicySettings
from trio_vmess.outbound import VMessOutbound

pytestmark = pytest.mark.limit(30)

HTTP_UPGRADE_TLS = CarrierSpec(network="httpupgrade", tls=True)
EARLY_TLS = CarrierSpec(network="ws", tls=True, early_data=EARLY_DATA)
TRIPS = {
    BARE: 2,
    CarrierSpec(network="tcp-http"): 2,
    TLS: 3,
    WS: 3,
    WS_TLS: 4,
    HTTP_UPGRADE_TLS: 4,
    CarrierSpec(network="ws", early_data=EARLY_DATA): 2,
    EARLY_TLS: 3,
    CarrierSpec(network="httpupgrade", is_eager=True): 2,
}
"""Round trips from a program's request to the answer, with TCP's own and TLS 1.3."""


async def settle(client: RunningNode, count: int, paths: Sequence[DelayedPath] = ()) -> None:
    """Wait until there are so many spares, and neither paths nor nodes have anything to do."""
    await wait_for_spares(client, count, paths)
    # The tickets of TLS follow the handshake.
    await trio.testing.wait_all_tasks_blocked(0.05)


@pytest.mark.parametrize("carrier", TRIPS, ids=str)
async def test_an_exchange_waits_for_one_round_trip(carrier: CarrierSpec) -> None:
    async with (
        start_echo() as echo,
        start_server_node(ServerSpec(carrier=carrier)) as server,
        start_delayed_path(server.port) as path,
        start_client_node(ClientSpec(server_port=path.port, carrier=carrier), spares=1) as client,
    ):
        await check_echo(client.port, echo)
        for _ in range(3):
            await settle(client, 1, [path])
            assert await find_trips(client.port, path, echo) == 1


@pytest.mark.parametrize("carrier", TRIPS, ids=str)
async def test_without_spares_it_waits_for_all_of_them(carrier: CarrierSpec) -> None:
    async with (
        start_echo() as echo,
        start_server_node(ServerSpec(carrier=carrier)) as server,
        start_delayed_path(server.port) as path,
        start_client_node(ClientSpec(server_port=path.port, carrier=carrier)) as client,
    ):
        assert await find_trips(client.port, path, echo) >= TRIPS[carrier]


async def test_a_client_that_nobody_uses_connects_to_nothing() -> None:
    async with (
        start_server_node() as server,
        start_delayed_path(server.port) as path,
        start_client_node(ClientSpec(server_port=path.port), spares=2) as client,
    ):
        assert len(spares_of(client)) == 2
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert path.connections == []


@pytest.mark.parametrize("mux", [False, True], ids=["", "mux"])
@pytest.mark.parametrize("carrier", [BARE, WS_TLS, EARLY_TLS], ids=str)
async def test_everything_goes_over_spares(carrier: CarrierSpec, mux: bool) -> None:
    async with (
        start_server_node(ServerSpec(carrier=carrier)) as server,
        start_client_node(
            ClientSpec(server_port=server.port, carrier=carrier, mux=mux), spares=2
        ) as client,
    ):
        for _ in range(2):
            if mux:
                async with start_echo() as echo:
                    await check_echo(client.port, echo)
            else:
                await check_all(client.port, size=1 << 20)


async def test_a_carrier_of_mux_is_put_on_a_spare() -> None:
    async with (
        start_echo() as echo,
        start_server_node() as server,
        start_delayed_path(server.port) as path,
        start_client_node(ClientSpec(server_port=path.port, mux=True), spares=1) as client,
        trio.open_nursery() as nursery,
    ):
        await check_echo(client.port, echo)
        await settle(client, 1, [path])
        assert len(path.connections) == 2

        async def hold() -> None:
            async with await open_socks_stream(client.port, echo.host, echo.port) as stream:
                await stream.send_all(b"x")
                assert await receive_exactly(stream, 1) == b"x"
                held.append(stream)
                await trio.sleep_forever()

        held: list[trio.abc.Stream] = []
        for _ in range(9):
            nursery.start_soon(hold)
        await wait_until(lambda: len(held) == 9)
        # Eight on the first carrier; the spare has become the second.
        await settle(client, 1, [path])
        assert len(path.connections) == 3
        nursery.cancel_scope.cancel()


async def test_datagrams_have_spares_of_their_own() -> None:
    async with (
        start_server_node() as server,
        start_delayed_path(server.port) as path,
        start_client_node(ClientSpec(server_port=path.port, udp=True), spares=1) as client,
        start_udp_echo() as first,
        start_udp_echo() as second,
    ):
        streams, datagrams = spares_of(client)
        async with open_socks_udp(client.port) as association:
            await association.send_to(first.host, first.port, b"one")
            assert (await association.receive())[2] == b"one"
            await settle(client, 1, [path])
            assert (streams.ready_count, datagrams.ready_count) == (0, 1)
            await association.send_to(second.host, second.port, b"two")
            assert (await association.receive())[2] == b"two"
            assert path.connections[1].events == ["open", "up", "down"]


async def test_every_server_has_spares() -> None:
    async with (
        start_echo() as echo,
        start_server_node() as first,
        start_server_node() as second,
        start_delayed_path(first.port) as to_first,
        start_delayed_path(second.port) as to_second,
        start_client_node(
            ClientSpec(server_port=to_first.port), other_ports=(to_second.port,), spares=1
        ) as client,
    ):
        for _ in range(2):
            await check_echo(client.port, echo)
        await settle(client, 2, [to_first, to_second])
        for path in (to_first, to_second):
            assert await find_trips(client.port, path, echo) == 1


async def test_offered_ports_have_spares() -> None:
    plan = DynamicPorts(ports=free_port_range(6), refresh=5)
    async with (
        start_echo() as echo,
        start_server_node(ServerSpec(dynamic_ports=plan)) as server,
        start_client_node(ClientSpec(server_port=server.port), spares=1) as client,
    ):
        (outbound,) = client.node.outbounds
        assert isinstance(outbound, VMessOutbound)
        for _ in range(12):
            await check_echo(client.port, echo)
        offered = {port for _, port in outbound.offered_ports}
        streams, _ = spares_of(client)
        await wait_until(lambda: offered <= {port for _, port in streams._servers})
        await wait_until(lambda: streams.ready_count >= len(offered))
        for _ in range(6):
            await check_echo(client.port, echo)


@pytest.mark.parametrize("is_reset", [False, True], ids=["ended", "reset"])
@pytest.mark.parametrize("carrier", [BARE, WS_TLS, EARLY_TLS], ids=str)
async def test_spares_that_were_cut_are_not_used(carrier: CarrierSpec, is_reset: bool) -> None:
    async with (
        start_echo() as echo,
        start_server_node(ServerSpec(carrier=carrier)) as server,
        start_cut(server.port, is_reset=is_reset) as cut,
        start_client_node(ClientSpec(server_port=cut.port, carrier=carrier), spares=2) as client,
    ):
        for _ in range(3):
            await check_echo(client.port, echo)
            await settle(client, 2)
            cut.now()
            await wait_until(lambda: ready_count(client) == 0)


async def test_a_server_that_waits_less_than_the_spares_costs_nothing_but_them() -> None:
    """Its limit ends them, one after the other, and each next connection dials."""
    policy = PolicySettings(levels={0: PolicyLevelSettings(handshake=0.2)})
    async with (
        start_echo() as echo,
        start_server_node(policy=policy) as server,
        start_client_node(ClientSpec(server_port=server.port), spares=1) as client,
    ):
        for _ in range(3):
            await check_echo(client.port, echo)
            await settle(client, 1)
            await wait_until(lambda: ready_count(client) == 0)
