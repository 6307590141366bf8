"""A relay in a test: started in the background, its result kept."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from trio_vmess.contracts import StreamSide
from trio_vmess.core.policy import Policy
from trio_vmess.relay import Ending, Meter, Scratch, relay_streams


@attrs.define(eq=False)
class RunningRelay:
    """A relay that runs, or has run.

    Attributes:
        meter: what it has counted.
        result: what `relay_streams` has returned.
        ended: is set then.
        at: Trio's time then.
    """

    meter: Meter = attrs.field(factory=Meter)
    result: tuple[Ending, str] | None = None
    ended: trio.Event = attrs.field(factory=trio.Event)
    at: float = 0.0

    async def run(
        self, near: StreamSide, far: StreamSide, scratch: Scratch, policy: Policy
    ) -> None:
        """Relay, and close both sides as dispatch does."""
        try:
            self.result = await relay_streams(
                near, far, scratch=scratch, policy=policy, meter=self.meter
            )
            self.at = trio.current_time()
        finally:
            try:
                await near.transport.aclose()
            finally:
                await far.transport.aclose()
        self.ended.set()


@asynccontextmanager
async def running(
    near: StreamSide,
    far: StreamSide,
    *,
    policy: Policy | None = None,
    scratch: Scratch | None = None,
) -> AsyncIterator[RunningRelay]:
    """Run a relay while the block runs; one that has not ended by then is cancelled."""
    relay = RunningRelay()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay.run, near, far, scratch or Scratch(), policy or Policy())
        yield relay
        nursery.cancel_scope.cancel()
