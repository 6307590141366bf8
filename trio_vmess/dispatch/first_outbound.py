"""The choice of a node without routing rules."""

from collections.abc import Sequence

from trio_vmess.contracts import Outbound
from trio_vmess.core import Flow
from trio_vmess.errors import NoRouteError


class FirstOutbound:
    """Chooses the first outbound for every flow.

    Args:
        outbounds: in the order of the configuration.
    """

    def __init__(self, outbounds: Sequence[Outbound]) -> None:
        self._outbounds = outbounds

    async def __call__(self, flow: Flow) -> Outbound:
        """See `Choose`."""
        if not self._outbounds:
            raise NoRouteError(f"{flow.destination}: no outbound is configured")
        return self._outbounds[0]
