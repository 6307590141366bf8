"""Sorting datagrams into flows."""

from collections.abc import Sequence

import attrs
import pytest
import trio
import trio.testing

from trio_vmess.contracts import Answer, PacketLink, StreamSide
from trio_vmess.core import Destination, Flow, Network
from trio_vmess.inbound.flow_table import (
    QUEUE_COUNT_MAX,
    QUEUE_SIZE_MAX,
    FlowTable,
    Opening,
    QueuedLink,
)


class HeldFlows:
    """A dispatch whose flows last until the test ends them."""

    def __init__(self) -> None:
        self.links: list[PacketLink] = []
        self.names: list[str] = []
        self.cancelled: list[str] = []
        self.let_go = trio.Event()

    async def stream(self, flow: Flow, client: StreamSide, answer: Answer, /) -> None:
        raise TypeError("there are no streams here")

    async def packets(self, flow: Flow, client: PacketLink, /) -> None:
        self.links.append(client)
        self.names.append(flow.source)
        try:
            await self.let_go.wait()
        except trio.Cancelled:
            self.cancelled.append(flow.source)
            raise


class Replies:
    """A client that takes everything but empty datagrams."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def __call__(self, datagrams: Sequence[bytes]) -> int:
        taken = [datagram for datagram in datagrams if datagram]
        self.sent += taken
        return len(datagrams) - len(taken)


def opening(name: str) -> Opening:
    target = Destination(host="example.com", port=53, network=Network.UDP)
    return Opening(flow=Flow(destination=target, source=name), reply=Replies())


async def test_receive_returns_everything_queued(autojump_clock: trio.testing.MockClock) -> None:
    link = QueuedLink(Replies())
    assert link.put(b"one")
    assert link.put(b"")
    assert await link.receive() == [b"one", b""]
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def put_later() -> None:
            await trio.sleep(1)
            link.put(b"late")

        assert await link.receive() == [b"late"]


async def test_a_full_queue_drops_new_datagrams() -> None:
    link = QueuedLink(Replies())
    taken = [link.put(b"%d" % number) for number in range(QUEUE_COUNT_MAX + 10)]
    assert taken == [True] * QUEUE_COUNT_MAX + [False] * 10
    assert await link.receive() == [b"%d" % number for number in range(QUEUE_COUNT_MAX)]
    assert link.put(b"again")


async def test_a_queue_is_bounded_in_bytes_too() -> None:
    link = QueuedLink(Replies())
    half = bytes(QUEUE_SIZE_MAX // 2)
    assert [link.put(half) for _ in range(3)] == [True, True, False]
    assert len(await link.receive()) == 2
    assert link.put(half)


async def test_a_closed_link_ends_receive_and_refuses_datagrams(
    autojump_clock: trio.testing.MockClock,
) -> None:
    replies = Replies()
    link = QueuedLink(replies)
    assert await link.send([b"a", b"", b"b"]) == 1
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def close_later() -> None:
            await trio.sleep(1)
            await link.aclose()

        assert list(await link.receive()) == []
    assert not link.put(b"late")
    assert list(await link.receive()) == []
    with pytest.raises(trio.BrokenResourceError):
        await link.send([b"c"])
    assert replies.sent == [b"a", b"b"]


async def test_one_flow_for_each_key(autojump_clock: trio.testing.MockClock) -> None:
    dispatch = HeldFlows()
    async with trio.open_nursery() as nursery:
        flows: FlowTable[str] = FlowTable(dispatch, open_flow=opening)
        for key, datagram in [("a", b"1"), ("b", b"2"), ("a", b"3")]:
            assert flows.deliver(key, datagram, nursery)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(dispatch.names) == ["a", "b"]
        assert len(flows) == 2
        received = {
            name: await link.receive()
            for name, link in zip(dispatch.names, dispatch.links, strict=True)
        }
        assert received == {"a": [b"1", b"3"], "b": [b"2"]}
        # A flow that has ended is removed, and its key opens a new one.
        dispatch.let_go.set()
        await trio.testing.wait_all_tasks_blocked()
        assert len(flows) == 0
        dispatch.let_go = trio.Event()
        flows.deliver("a", b"4", nursery)
        await trio.testing.wait_all_tasks_blocked()
        assert await dispatch.links[-1].receive() == [b"4"]
        nursery.cancel_scope.cancel()


async def test_a_full_table_evicts_the_least_recently_used_flow(
    autojump_clock: trio.testing.MockClock,
) -> None:
    dispatch = HeldFlows()
    async with trio.open_nursery() as nursery:
        flows: FlowTable[str] = FlowTable(dispatch, open_flow=opening, limit=3)
        for key in "abca":
            flows.deliver(key, b"", nursery)
        await trio.testing.wait_all_tasks_blocked()
        flows.deliver("d", b"", nursery)
        await trio.testing.wait_all_tasks_blocked()
        assert dispatch.cancelled == ["b"]
        assert len(flows) == 3
        # The end of an evicted flow does not remove a new flow with the same key.
        flows.deliver("b", b"", nursery)
        flows.deliver("b", b"", nursery)
        await trio.testing.wait_all_tasks_blocked()
        assert dispatch.cancelled == ["b", "c"]
        assert len(flows) == 3
        nursery.cancel_scope.cancel()


async def test_a_key_can_be_evicted_and_opened_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    dispatch = HeldFlows()
    async with trio.open_nursery() as nursery:
        flows: FlowTable[str] = FlowTable(dispatch, open_flow=opening, limit=1)
        for _ in range(3):
            flows.deliver("a", b"", nursery)
            flows.deliver("b", b"", nursery)
        await trio.testing.wait_all_tasks_blocked()
        assert len(flows) == 1
        assert flows.deliver("b", b"still there", nursery)
        nursery.cancel_scope.cancel()


async def test_an_end_is_told_once_and_late_datagrams_open_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    dispatch = HeldFlows()
    ended: list[str] = []

    def open_flow(key: str) -> Opening:
        return attrs.evolve(opening(key), close=lambda: ended.append(key))

    async with trio.open_nursery() as nursery:
        flows: FlowTable[str] = FlowTable(dispatch, open_flow=open_flow, limit=1)
        flows.deliver("a", b"", nursery)
        await trio.testing.wait_all_tasks_blocked()
        assert ended == []
        flows.deliver("b", b"", nursery)  # evicts "a"
        await trio.testing.wait_all_tasks_blocked()
        assert ended == ["a"]
        dispatch.let_go.set()
        await trio.testing.wait_all_tasks_blocked()
        assert ended == ["a", "b"]


async def test_a_datagram_without_a_flow_evicts_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    dispatch = HeldFlows()

    def open_flow(key: str) -> Opening | None:
        return opening(key) if key == "a" else None

    async with trio.open_nursery() as nursery:
        flows: FlowTable[str] = FlowTable(dispatch, open_flow=open_flow, limit=1)
        assert flows.deliver("a", b"", nursery)
        assert not flows.deliver("b", b"", nursery)
        assert "a" in flows
        assert "b" not in flows
        nursery.cancel_scope.cancel()
