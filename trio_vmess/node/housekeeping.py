"""Periodic work: builds legacy tables ahead of time, and removes expired replay entries.

Who needs a second of a large table that is not built yet waits for it: nothing is built but here,
in slices.
"""

from collections.abc import Callable, Iterable
from typing import Final, NoReturn

import attrs
import trio

from trio_vmess.core.vmess import TIMESTAMP_JITTER, ReplayCache, UserRegistry

TICK: Final = 1.0
"""Seconds between two rounds over the registries: each second has its own part of the table."""

SWEEP_SLICE: Final = 200
"""Entries of a replay cache that are freed between two checkpoints: some 0.2 ms."""

SLICE: Final = 4096
"""HMACs between two checkpoints: 3 to 7 ms, much of it new memory."""

_NEAREST_SECONDS: Final = 2 * TIMESTAMP_JITTER + 1
"""The seconds that clients with a correct clock use, jitter included."""


@attrs.frozen(kw_only=True)
class Housekeeping:
    """Keeps registries and replay caches ready: a `Service`.

    Attributes:
        registries: returns the registries in use; they change with dynamic ports.
        replays: returns the replay caches in use.
        now: returns the UTC second, by the clock that authenticates requests.
        settled: the clock by which replays are forgotten: never ahead of the other, nor of real
            time where that can be told.
    """

    registries: Callable[[], Iterable[UserRegistry]]
    replays: Callable[[], Iterable[ReplayCache]]
    now: Callable[[], int]
    settled: Callable[[], int]

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Run until cancelled; see `Service.run`.

        The seconds around now come first: 30 each way, the jitter of clients. Nobody waits for
        them but requests that have come already.
        """
        task_status.started()
        await _build_nearest(list(self.registries()), self.now)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_sweeping, name="replay sweeper")
            await _keep_building(self.registries, self.now)

    async def _keep_sweeping(self) -> NoReturn:
        while True:
            await trio.sleep(TICK)
            now = self.settled()
            for replay in self.replays():
                while not replay.sweep(now, count=SWEEP_SLICE):
                    await trio.lowlevel.checkpoint()


async def _build_nearest(registries: Iterable[UserRegistry], now: Callable[[], int]) -> None:
    for registry in registries:
        # `prepare` builds the nearest seconds first, so counting HMACs shows when they are done.
        missing = _NEAREST_SECONDS * registry.legacy_id_count
        is_ready = False
        while missing > 0 and not is_ready:
            is_ready = registry.prepare(now(), budget=SLICE)
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
            # One slice of each in turn, so that a small registry does not wait for a large one.
            for registry in list(registries()):
                is_ready &= registry.prepare(now(), budget=SLICE)
                await trio.lowlevel.checkpoint()
        await trio.sleep_until(next_tick)
