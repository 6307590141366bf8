"""The timers behind the listeners: legacy tables are built ahead, old replays are forgotten.

Both work without this, too; then the request that needs a second of the table pays for it.
"""

from collections.abc import Callable, Iterable
from typing import Final, NoReturn

import attrs
import trio

from trio_vmess.core.vmess import TIMESTAMP_JITTER, ReplayCache, UserRegistry

TICK: Final = 1.0
"""Seconds between two looks at the registries: each second has its own part of the table."""

SWEEP_INTERVAL: Final = 30.0
"""Seconds between two sweeps. Source: v2ray-core, proxy/vmess/encoding/server.go."""

SLICE: Final = 16_000
"""HMACs between two checkpoints: some 10 ms."""

_NEAREST_SECONDS: Final = 2 * TIMESTAMP_JITTER + 1
"""What honest clients with a good clock need."""


@attrs.frozen(kw_only=True)
class Housekeeping:
    """Keeps registries and replay caches ready: a `Service`.

    Attributes:
        registries: returns those that are in use now: they come and go with dynamic ports.
        replays: likewise.
        now: the clock that requests are judged by, in UTC seconds.
    """

    registries: Callable[[], Iterable[UserRegistry]]
    replays: Callable[[], Iterable[ReplayCache]]
    now: Callable[[], int]

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Run for as long as the node does; see `Service.run`.

        The seconds around now come first: 30 each way, the jitter of clients. Requests need not
        wait for them, so neither need anybody else.
        """
        task_status.started()
        await _build_nearest(list(self.registries()), self.now)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_sweeping, name="replay sweeper")
            await _keep_building(self.registries, self.now)

    async def _keep_sweeping(self) -> NoReturn:
        while True:
            await trio.sleep(SWEEP_INTERVAL)
            for replay in self.replays():
                replay.sweep(self.now())


async def _build_nearest(registries: Iterable[UserRegistry], now: Callable[[], int]) -> None:
    for registry in registries:
        # The nearest seconds come first, so it is enough to count.
        missing = _NEAREST_SECONDS * registry.legacy_id_count
        while missing > 0 and not registry.prepare(now(), budget=SLICE):
            missing -= SLICE
            await trio.lowlevel.checkpoint()


async def _keep_building(
    registries: Callable[[], Iterable[UserRegistry]], now: Callable[[], int]
) -> NoReturn:
    while True:
        next_tick = trio.current_time() + TICK
        is_ready = False
        while not is_ready:
            is_ready = True
            # One slice for each in turn: a small registry does not wait for a large one.
            for registry in list(registries()):
                if not registry.prepare(now(), budget=SLICE):
                    is_ready = False
                    await trio.lowlevel.checkpoint()
        await trio.sleep_until(next_tick)
