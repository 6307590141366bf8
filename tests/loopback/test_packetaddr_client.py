"""Our client's packetaddr: all datagrams of a program's socket in one connection to a server."""

import attrs
import pytest
import trio

from tests.kit.cut import start_cut
from tests.kit.exchanges import check_echo, check_full_cone, check_udp_echo, exchange_datagram
from tests.kit.names import IPV4_LOOPBACK, LOCALHOST, target_hosts
from tests.kit.nodes import RunningNode, start_chain_node, start_client_node, start_server_node
from tests.kit.origin import start_echo, start_udp_echo
from tests.kit.pattern import pattern
from tests.kit.peer_specs import ClientSpec, ServerSpec
from tests.kit.ports import free_port
from tests.kit.socks_client import open_socks_udp
from tests.kit.waiting import wait_until
from tests.loopback.test_garbage import check_garbage
from trio_vmess.outbound import PacketAddrOutbound

pytestmark = pytest.mark.limit(30)

PACKETADDR = ClientSpec(server_port=0, packet_encoding="packetaddr")


def connection_count(client: RunningNode) -> int:
    (outbound,) = client.node.outbounds
    assert isinstance(outbound, PacketAddrOutbound)
    return outbound.connection_count


async def test_one_socket_speaks_with_many_through_one_connection() -> None:
    async with start_server_node() as server, start_cut(server.port) as path:
        spec = attrs.evolve(PACKETADDR, server_port=path.port)
        async with start_client_node(spec) as client:
            await check_full_cone(client.port)
            assert path.connection_count == 1
            await wait_until(lambda: not client.node.connections)
            assert connection_count(client) == 0


async def test_a_program_that_writes_to_many_at_once_has_one_connection() -> None:
    async with (
        start_udp_echo() as one,
        start_udp_echo() as two,
        start_udp_echo() as three,
        start_server_node() as server,
        start_cut(server.port) as path,
        start_client_node(attrs.evolve(PACKETADDR, server_port=path.port)) as client,
        open_socks_udp(client.port) as association,
    ):
        echoes = {echo.port: echo for echo in (one, two, three)}
        for echo in echoes.values():
            await association.send_to(echo.host, echo.port, b"question")
        answered = {(await association.receive())[1] for _ in echoes}
        assert answered == echoes.keys()
        assert path.connection_count == 1


async def test_with_mux_datagrams_have_a_connection_beside_the_streams() -> None:
    async with start_echo() as echo, start_server_node() as server, start_cut(server.port) as path:
        spec = attrs.evolve(PACKETADDR, server_port=path.port, mux=True)
        async with start_client_node(spec) as client:
            await check_echo(client.port, echo)
            await check_full_cone(client.port)
            await check_echo(client.port, echo)
            assert path.connection_count == 2


async def test_a_program_behind_two_servers_has_one_address() -> None:
    async with (
        start_server_node() as server,
        start_chain_node(ServerSpec(), attrs.evolve(PACKETADDR, server_port=server.port)) as chain,
        start_client_node(attrs.evolve(PACKETADDR, server_port=chain.port)) as client,
    ):
        await check_full_cone(client.port)


async def test_datagrams_go_to_addresses_and_names_in_all_sizes() -> None:
    async with (
        start_udp_echo(LOCALHOST) as echo,
        start_server_node() as server,
        start_client_node(attrs.evolve(PACKETADDR, server_port=server.port)) as client,
        open_socks_udp(client.port) as association,
    ):
        for host in target_hosts():
            for size in (1, 100, 1200, 1931):
                await exchange_datagram(association, host, echo.port, pattern(size))


async def test_a_datagram_that_is_too_large_is_dropped_and_no_other() -> None:
    async with (
        start_udp_echo() as echo,
        start_server_node() as server,
        start_cut(server.port) as path,
        start_client_node(attrs.evolve(PACKETADDR, server_port=path.port)) as client,
        open_socks_udp(client.port) as association,
    ):
        await exchange_datagram(association, echo.host, echo.port, b"before")
        await association.send_to(echo.host, echo.port, bytes(1944))
        await association.send_to(echo.host, echo.port, bytes(20_000))
        await exchange_datagram(association, echo.host, echo.port, b"after")
        assert path.connection_count == 1


async def test_datagrams_go_on_when_their_connection_was_cut() -> None:
    async with (
        start_udp_echo() as echo,
        start_server_node() as server,
        start_cut(server.port) as path,
        start_client_node(attrs.evolve(PACKETADDR, server_port=path.port)) as client,
        open_socks_udp(client.port) as association,
    ):
        await exchange_datagram(association, echo.host, echo.port, b"before")
        path.now()
        await wait_until(lambda: not client.node.connections)
        await exchange_datagram(association, echo.host, echo.port, b"after")
        assert path.connection_count == 2


@pytest.mark.parametrize("is_reset", [True, False], ids=["reset", "closed"])
async def test_connections_leave_no_garbage(is_reset: bool) -> None:
    async with (
        start_udp_echo() as echo,
        start_server_node() as server,
        start_cut(server.port, is_reset=is_reset) as path,
        start_client_node(attrs.evolve(PACKETADDR, server_port=path.port)) as client,
    ):

        async def attempt() -> None:
            await check_udp_echo(client.port, echo)
            async with open_socks_udp(client.port) as association:
                await exchange_datagram(association, echo.host, echo.port, b"hello")
                path.now()
                await wait_until(lambda: not client.node.connections)

        await check_garbage(attempt, client, server)


async def test_a_server_that_is_not_there_leaves_no_garbage() -> None:
    async with start_client_node(attrs.evolve(PACKETADDR, server_port=free_port())) as client:

        async def attempt() -> None:
            async with open_socks_udp(client.port) as association:
                for port in (1, 2, 3):
                    await association.send_to(IPV4_LOOPBACK, port, b"hello")
                with trio.move_on_after(0.05):
                    await association.receive()
            await wait_until(lambda: not client.node.connections)

        await check_garbage(attempt, client)


async def test_a_server_that_does_not_know_the_user_leaves_no_garbage() -> None:
    spec = attrs.evolve(PACKETADDR, user_id="5783a3e7-e373-51cd-8642-c83782b807c5")
    async with (
        start_server_node() as server,
        start_client_node(attrs.evolve(spec, server_port=server.port)) as client,
    ):

        async def attempt() -> None:
            async with open_socks_udp(client.port) as association:
                await association.send_to(IPV4_LOOPBACK, 9, b"hello")
                await wait_until(lambda: len(client.node.connections) == 1)

        await check_garbage(attempt, client, server)
