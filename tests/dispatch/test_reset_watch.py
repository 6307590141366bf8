"""Resets by clients that nobody reads from."""

import trio
from trio.testing import MockClock

from tests.dispatch.test_dispatcher import FLOW
from tests.kit.remote_ends import memory_pair
from tests.kit.scripted_remote import TrackedTransport
from trio_vmess.dispatch import Connection, ResetWatch
from trio_vmess.dispatch.reset_watch import INTERVAL
from trio_vmess.relay import CloseReason


def connection(*, is_reset: bool) -> Connection:
    transport = TrackedTransport(memory_pair()[0])
    transport.is_reset = is_reset
    return Connection(flow=FLOW, since=0.0, client=transport)


async def reason_after_looks(
    *connections: Connection, count: int, moving: Connection | None = None
) -> list[CloseReason | None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(ResetWatch(connections=lambda: connections).run)
        for _ in range(count):
            if moving is not None:
                moving.meter.uplink += 1
            await trio.sleep(INTERVAL * 1.01)
        nursery.cancel_scope.cancel()
    return [each.close_reason for each in connections]


async def test_one_that_stands_still_is_ended(autojump_clock: MockClock) -> None:
    left, quiet = connection(is_reset=True), connection(is_reset=False)
    reasons = await reason_after_looks(left, quiet, count=2)
    assert reasons == [CloseReason.CLIENT_RESET, None]


async def test_one_that_moves_is_not_examined(autojump_clock: MockClock) -> None:
    moving = connection(is_reset=True)
    assert await reason_after_looks(moving, count=3, moving=moving) == [None]


async def test_datagrams_have_no_client_to_examine(autojump_clock: MockClock) -> None:
    assert await reason_after_looks(Connection(flow=FLOW, since=0.0), count=3) == [None]
