"""The settings of connections that carry many; part of the model, see `trio_vmess.config.model`."""

from typing import Final

import attrs

from trio_vmess.config.enums import QuicOverMux
from trio_vmess.config.location import Location, Locations

MUX_CONCURRENCY: Final = 8
"""Sub-connections on one connection, in V2Ray and Xray, too."""


@attrs.frozen(kw_only=True)
class MuxSettings:
    """How the connections of a VMess outbound share connections to its servers.

    Attributes:
        enabled: whether they do.
        concurrency: how many share one at a time; below 0, streams do not share any.
        xudp_concurrency: the same for sockets of programs whose datagrams go by XUDP; 0 puts them
            beside the streams, and below 0, each has a connection of its own.
        xudp_proxy_udp443: what becomes of QUIC then: programs mostly do without it.
    """

    enabled: bool = False
    concurrency: int = MUX_CONCURRENCY
    xudp_concurrency: int = 0
    xudp_proxy_udp443: QuicOverMux = QuicOverMux.REJECT
    locations: Locations = attrs.field(factory=dict[str, Location], eq=False, repr=False)

    @property
    def carries_streams(self) -> bool:
        """Whether streams share connections."""
        return self.enabled and self.concurrency >= 0


NO_MUX: Final = MuxSettings()
