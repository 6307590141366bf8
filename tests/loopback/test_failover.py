"""Several servers behind one client: they are used in turn, and an unreachable one is skipped."""

import pytest
import trio

from tests.kit.exchanges import check_echo, check_udp_echo
from tests.kit.nodes import start_client_node, start_server_node
from tests.kit.origin import start_echo, start_udp_echo
from tests.kit.peer_specs import ClientSpec, ServerSpec
from tests.kit.ports import free_port
from tests.kit.socks_client import SocksError, open_socks_stream


async def test_servers_take_turns() -> None:
    async with (
        start_echo() as echo,
        start_server_node() as first,
        start_server_node() as second,
        start_client_node(ClientSpec(server_port=first.port), other_ports=(second.port,)) as client,
    ):
        streams = []
        for _ in range(4):
            stream = await open_socks_stream(client.port, echo.host, echo.port)
            streams.append(stream)
            await stream.send_all(b"?")
            assert await stream.receive_some(1) == b"?"
        assert len(first.node.connections) == len(second.node.connections) == 2
        for stream in streams:
            await stream.aclose()


@pytest.mark.parametrize("unreachable_is_first", [True, False])
async def test_an_unreachable_server_is_skipped(unreachable_is_first: bool) -> None:
    async with (
        start_echo() as echo,
        start_udp_echo() as udp_echo,
        start_server_node() as server,
    ):
        ports = [free_port(), server.port] if unreachable_is_first else [server.port, free_port()]
        async with start_client_node(
            ClientSpec(server_port=ports[0]), other_ports=ports[1:]
        ) as client:
            for _ in range(4):
                await check_echo(client.port, echo)
                await check_udp_echo(client.port, udp_echo)


async def test_a_server_may_recover() -> None:
    port, other_port = free_port(), free_port()
    spec = ServerSpec(port=port)
    async with (
        start_echo() as echo,
        start_client_node(ClientSpec(server_port=port), other_ports=(other_port,)) as client,
    ):
        for _ in range(3):
            async with start_server_node(spec) as server:
                await check_echo(client.port, echo)
                await check_echo(client.port, echo)
                assert server.port == port
            with pytest.raises((SocksError, trio.BrokenResourceError)):
                await check_echo(client.port, echo)
