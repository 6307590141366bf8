"""A relay in a test: started in the background, its result kept."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from trio_vmess.contracts import StreamSide
from trio_vmess.core.policy import Policy
from trio_vmess.relay import CloseReason, Meter, SharedBuffers, relay_streams


@attrs.define(eq=False)
class RunningRelay:
    """A relay that runs, or has run.

    Attributes:
        meter: what it has counted.
        result: what `relay_streams` has returned.
        ended: is set then.
        at: Trio's time then.
        scope: what cancels it.
    """

    meter: Meter = attrs.field(factory=Meter)
    result: tuple[CloseReason, str] | None = None
    ended: trio.Event = attrs.field(factory=trio.Event)
    at: float = 0.0
    scope: trio.CancelScope | None = None

    def _take_scope(self, scope: trio.CancelScope) -> None:
        self.scope = scope

    async def run(
        self, client: StreamSide, remote: StreamSide, buffers: SharedBuffers, policy: Policy
    ) -> None:
        """Relay, and close both sides as dispatch does."""
        try:
            self.result = await relay_streams(
                client,
                remote,
                buffers=buffers,
                policy=policy,
                meter=self.meter,
                on_start=self._take_scope,
            )
            self.at = trio.current_time()
        finally:
            try:
                await client.transport.aclose()
            finally:
                await remote.transport.aclose()
        self.ended.set()


@asynccontextmanager
async def running(
    client: StreamSide,
    remote: StreamSide,
    *,
    policy: Policy | None = None,
    buffers: SharedBuffers | None = None,
) -> AsyncIterator[RunningRelay]:
    """Run a relay while the block runs; one that has not ended by then is cancelled."""
    relay = RunningRelay()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            relay.run, client, remote, buffers or SharedBuffers(), policy or Policy()
        )
        yield relay
        nursery.cancel_scope.cancel()
