"""Dynamic ports between two of our nodes, on a clock that runs forty times as fast.

A minute is a second and a half here: ports come and go as configured, over real sockets.
"""

import itertools

import pytest
import trio
import trio.testing

from tests.kit.exchanges import check_echo
from tests.kit.nodes import DYNAMIC_TAG, RunningNode, start_client_node, start_server_node
from tests.kit.origin import start_echo
from tests.kit.peer_specs import ClientSpec, DynamicPorts, ServerSpec
from tests.kit.ports import free_port_range
from tests.kit.socks_client import open_socks_stream, receive_exactly
from trio_vmess.core import PortPlan
from trio_vmess.outbound import VMessOutbound

RATE = 40.0
MINUTE = 60.0


@pytest.fixture
def fast_clock() -> trio.testing.MockClock:
    return trio.testing.MockClock(rate=RATE)


def _offered(client: RunningNode) -> set[int]:
    (outbound,) = client.node.outbounds
    assert isinstance(outbound, VMessOutbound)
    return {port for _, port in outbound.offered_ports}


async def _is_refused(port: int) -> bool:
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return True
    await stream.aclose()
    return False


@pytest.mark.parametrize("alter_id", [0, 2])
async def test_generations_are_replaced_during_traffic(
    fast_clock: trio.testing.MockClock, alter_id: int
) -> None:
    plan = DynamicPorts(ports=free_port_range(12), refresh=1, alter_id=alter_id)
    async with (
        start_echo() as echo,
        start_server_node(ServerSpec(dynamic_ports=plan)) as server,
        start_client_node(ClientSpec(server_port=server.port)) as client,
    ):
        begin = trio.current_time()
        generations = [set(server.dynamic_ports)]
        assert len(generations[0]) == plan.concurrency
        await check_echo(client.port, echo)
        assert _offered(client)
        assert _offered(client) <= generations[0]

        used = set()
        while len(generations) < 4:
            await check_echo(client.port, echo)
            used |= _offered(client)
            newest = set(server.dynamic_ports[-plan.concurrency :])
            if newest != generations[-1]:
                generations.append(newest)
            await trio.sleep(1)
        assert trio.current_time() - begin >= 3 * MINUTE

        for older, newer in itertools.pairwise(generations):
            assert not older & newer
            assert used & older
        assert set(server.dynamic_ports) == generations[2] | generations[3]
        for port in generations[0] | generations[1]:
            assert await _is_refused(port) == (port not in server.dynamic_ports)
        assert _offered(client) <= generations[2] | generations[3]


async def test_a_connection_outlives_its_port(
    fast_clock: trio.testing.MockClock,
) -> None:
    plan = DynamicPorts(ports=free_port_range(12), refresh=1)
    async with (
        start_echo() as echo,
        start_server_node(ServerSpec(dynamic_ports=plan)) as server,
        start_client_node(ClientSpec(server_port=server.port)) as client,
    ):
        begin = trio.current_time()
        await check_echo(client.port, echo)
        await trio.sleep_until(begin + MINUTE / 2)
        async with await open_socks_stream(client.port, echo.host, echo.port) as stream:
            await stream.send_all(b"here")
            assert await receive_exactly(stream, 4) == b"here"
            tags = {connection.flow.inbound_tag for connection in server.node.connections}
            assert tags == {DYNAMIC_TAG}
            await trio.sleep_until(begin + 2 * MINUTE + 5)
            # The third generation is open, so the first, by which it came, is not.
            assert len(server.dynamic_ports) == PortPlan.GENERATIONS * plan.concurrency
            await stream.send_all(b"still here")
            assert await receive_exactly(stream, 10) == b"still here"
