"""What many send through one link: in their order, bounded, and never in parts."""

from collections.abc import Sequence

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_vmess.transport import PacketSender
from trio_vmess.transport.packet_sender import QUEUE_COUNT_MAX, QUEUE_SIZE_MAX


class Link:
    """A link that takes datagrams when it may, and fails when it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.may_send = trio.Event()
        self.has_failed = False

    async def receive(self) -> Sequence[bytes]:
        return ()

    async def send(self, datagrams: Sequence[bytes], /) -> int:
        await self.may_send.wait()
        if self.has_failed:
            raise trio.BrokenResourceError("gone")
        self.batches.append([*datagrams])
        return 0

    async def aclose(self) -> None: ...


async def test_what_waits_goes_together_and_in_its_order() -> None:
    link = Link()
    sender = PacketSender(link)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.run)
        assert sender.put(b"1")
        await wait_all_tasks_blocked()
        assert sender.put(b"2")
        assert sender.put(b"3")
        link.may_send.set()
        await wait_all_tasks_blocked()
        assert link.batches == [[b"1"], [b"2", b"3"]]
        assert sender.put(b"4")
        await wait_all_tasks_blocked()
        assert link.batches[2:] == [[b"4"]]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("size", "count"), [(0, QUEUE_COUNT_MAX), (QUEUE_SIZE_MAX // 16, 16)], ids=["count", "size"]
)
async def test_what_finds_no_room_is_dropped_until_there_is_some(size: int, count: int) -> None:
    link = Link()
    link.may_send.set()
    sender = PacketSender(link)
    taken = [sender.put(bytes(size)) for _ in range(count + 5)]
    assert taken == [True] * count + [False] * 5
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.run)
        await wait_all_tasks_blocked()
        assert sender.put(b"again")
        nursery.cancel_scope.cancel()
    assert [len(batch) for batch in link.batches] == [count]


async def test_a_link_that_fails_ends_it() -> None:
    link = Link()
    link.has_failed = True
    link.may_send.set()
    sender = PacketSender(link)
    sender.put(b"1")
    with pytest.raises(trio.BrokenResourceError, match="gone"):
        await sender.run()
