"""Outbounds whose servers are reached through another outbound."""

from collections.abc import Callable

from trio_vmess.contracts import Connect, Outbound, Transport
from trio_vmess.core import Destination, Flow, Host
from trio_vmess.transport import SideTransport


def connect_through(find: Callable[[], Outbound]) -> Connect:
    """Return what connects to servers through an outbound.

    Args:
        find: returns the outbound, which may be built later than those that go through it.
    """

    async def connect(host: Host, port: int) -> Transport:
        flow = Flow(destination=Destination(host=host, port=port))
        return SideTransport((await find().connect(flow)).remote)

    return connect
