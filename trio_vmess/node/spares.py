"""Builds the spare connections of a VMess outbound."""

from collections.abc import Callable

from trio_vmess.config import OutboundSettings, VMessOutboundSettings
from trio_vmess.contracts import Connect
from trio_vmess.node.lifecycle import Service


def spares_of(
    settings: OutboundSettings, *, add_service: Callable[[Service], None]
) -> Callable[[Connect], Connect] | None:
    """Build what keeps spare connections; the result puts it around what dials.

    Args:
        settings: the outbound's.
        add_service: called with what the node must run, each time the result is used.

    Returns:
        None for an outbound without any.
    """
    protocol = settings.protocol
    if not isinstance(protocol, VMessOutboundSettings) or not protocol.spare_connections:
        return None
    from trio_vmess.transport.spares import SpareConnections

    def around(connect: Connect) -> Connect:
        spares = SpareConnections(
            connect,
            count=protocol.spare_connections,
            keep=protocol.spare_keep,
            tag=settings.tag,
        )
        add_service(spares)
        return spares.connect

    return around
