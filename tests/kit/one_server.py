"""A server node and an echo origin behind it, for programs that use the library."""

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import trio

from tests.kit.origin import start_echo
from trio_vmess import Account, Node, serve
from trio_vmess.config import (
    PLAIN_STREAM,
    LogSettings,
    OutboundSettings,
    ShareLink,
    StreamSettings,
    format_share_link,
    share_link_outbound,
)
from trio_vmess.config.quickstart import server_config
from trio_vmess.core import parse_endpoint
from trio_vmess.core.vmess import format_user_id

LOOPBACK: Final = ipaddress.IPv4Address("127.0.0.1")
ACCOUNT: Final = Account("1f2b7d0e-5c7a-4c2c-9f55-6d0f4f6a3b11")
LINK: Final = ShareLink(address="192.0.2.1", port=443, uuid=format_user_id(ACCOUNT.user_id))


@attrs.frozen
class OneServer:
    """A server node, and an echo origin that it reaches.

    Attributes:
        port: the server's.
        origin_port: the origin's.
        node: the server.
    """

    port: int
    origin_port: int
    node: Node

    @property
    def link(self) -> str:
        """The share link for the server."""
        return self.link_with()

    @property
    def origin(self) -> tuple[str, int]:
        """Host and port of the origin."""
        return "127.0.0.1", self.origin_port

    def link_with(self, **changes: Any) -> str:
        """Return the share link with other fields."""
        return format_share_link(self._link(**changes))

    def outbound(self, stream: StreamSettings) -> OutboundSettings:
        """Return an outbound for the server."""
        return attrs.evolve(share_link_outbound(self._link()), stream=stream)

    def _link(self, **changes: Any) -> ShareLink:
        return attrs.evolve(LINK, address="127.0.0.1", port=self.port, **changes)


@asynccontextmanager
async def running_server(
    stream: StreamSettings = PLAIN_STREAM, *, grace: float = 1.0
) -> AsyncIterator[OneServer]:
    """Run a server node for `ACCOUNT`, and an origin, for the length of the block.

    Args:
        stream: what carries VMess.
        grace: seconds that connections have to end afterwards; flows of datagrams take all of it.
    """
    config = server_config(
        listen=LOOPBACK, port=0, user_id=ACCOUNT.user_id, allow_private=True, log=LogSettings()
    )
    (inbound,) = config.inbounds
    config = attrs.evolve(config, inbounds=(attrs.evolve(inbound, stream=stream),))
    async with start_echo() as origin, trio.open_nursery() as nursery:
        node: Node = await nursery.start(serve, config)
        yield OneServer(parse_endpoint(node.listening[0].address)[1], origin.port, node)
        node.stop(grace=grace)
