"""What is done with a sniffed name."""

import attrs

from trio_vmess.core.flow import Flow
from trio_vmess.core.sniff.verdict import Sniffed


@attrs.frozen(kw_only=True)
class SniffingSettings:
    """How an inbound uses what was sniffed.

    Attributes:
        dest_override: beginnings of the protocols whose domain replaces the destination's host:
            `http` stands for `http1`.
        route_only: the domain is for routing alone; the destination stays.
    """

    dest_override: tuple[str, ...] = ()
    route_only: bool = False

    def apply(self, flow: Flow, found: Sniffed) -> Flow:
        """Return the flow with what was found; the port stays in any case.

        A domain of a protocol that is not to override is not for routing either.

        Source:
            v2ray-core, app/dispatcher/default.go, shouldOverride.
        """
        destination, domain = flow.destination, ""
        if found.domain and found.protocol.startswith(self.dest_override):
            domain = found.domain
            if not self.route_only:
                destination = attrs.evolve(destination, host=domain)
        return attrs.evolve(
            flow,
            destination=destination,
            sniffed_protocol=found.protocol,
            sniffed_domain=domain,
        )
