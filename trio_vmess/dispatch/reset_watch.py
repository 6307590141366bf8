"""Notices that a client has reset its connection while nobody reads from it.

A relay reads from a client only when the destination takes what was read before. While it does not,
a reset waits in the kernel, and the destination would wait for the idle limit.
"""

from collections.abc import Callable, Iterable
from typing import Final

import attrs
import trio

from trio_vmess.dispatch.connection import Connection
from trio_vmess.relay import CloseReason

INTERVAL: Final = 2.0
"""Seconds between two looks at all connections."""

LOOKS_PER_TURN: Final = 100
"""System calls before other tasks run: some 0.2 ms."""


@attrs.frozen(kw_only=True)
class ResetWatch:
    """Ends connections that stand still and whose client has reset them: a `Service`.

    It costs nothing while bytes move: only connections that have carried none since the last look
    are examined.

    Attributes:
        connections: returns those that are open.
    """

    connections: Callable[[], Iterable[Connection]]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look until cancelled; see `Service.run`."""
        task_status.started()
        uplinks: dict[Connection, int] = {}
        while True:
            await trio.sleep(INTERVAL)
            uplinks = await self._look(uplinks)

    async def _look(self, before: dict[Connection, int]) -> dict[Connection, int]:
        """Examine what stands still; return how much each connection has carried by now."""
        now = {each: each.meter.uplink for each in self.connections()}
        still = [each for each, uplink in now.items() if before.get(each) == uplink]
        for number, connection in enumerate(still, start=1):
            if connection.client is not None and connection.client.is_reset:
                connection.cancel(CloseReason.CLIENT_RESET)
            if number % LOOKS_PER_TURN == 0:
                await trio.lowlevel.checkpoint()
        return now
