"""The spare connections of a client node, and what they save."""

from collections.abc import Sequence

from tests.kit.delayed_path import DelayedPath
from tests.kit.nodes import RunningNode
from tests.kit.origin import Origin
from tests.kit.socks_client import open_socks_stream, receive_exactly
from tests.kit.waiting import wait_until
from trio_vmess.transport.spares import SpareConnections


def spares_of(client: RunningNode) -> Sequence[SpareConnections]:
    """Return, for a client with one VMess outbound, what it keeps for streams and for datagrams."""
    services = client.node._lifecycle.services
    return [each for each in services if isinstance(each, SpareConnections)]


def ready_count(client: RunningNode) -> int:
    """Return how many spares a client has."""
    return sum(each.ready_count for each in spares_of(client))


async def wait_for_spares(
    client: RunningNode, count: int, paths: Sequence[DelayedPath] = ()
) -> None:
    """Wait until a client has so many, and nothing is under way on any path."""
    await wait_until(lambda: ready_count(client) == count)
    await wait_until(lambda: all(path.is_quiet for path in paths))


async def find_trips(proxy_port: int, path: DelayedPath, echo: Origin) -> int:
    """Exchange some bytes, and return for how many round trips of the path that has waited.

    Args:
        proxy_port: of a client whose server is at the end of the path.
        path: has nothing under way.
        echo: the destination.
    """
    known = list(path.connections)
    for each in known:
        each.events.clear()
    async with await open_socks_stream(proxy_port, echo.host, echo.port) as stream:
        await stream.send_all(b"question")
        assert await receive_exactly(stream, 8) == b"question"
        # What has carried it was there before, or is the first new one: spares are opened later.
        used = [each for each in known if each.events] or [path.connections[len(known)]]
        assert len(used) == 1
        return used[0].trips
