"""When a stream of datagrams counts as dead."""

from collections.abc import Sequence

import attrs
import pytest
import trio
from trio.testing import MockClock

from trio_vmess.outbound.answered_link import SILENCE_MAX, UNANSWERED_MIN, AnsweredPacketLink


@attrs.define(eq=False)
class Link:
    """Answers as often as it is told to."""

    sent: list[bytes] = attrs.field(factory=list)
    is_closed: bool = False

    async def receive(self) -> Sequence[bytes]:
        return [b"answer"]

    async def send(self, datagrams: Sequence[bytes], /) -> int:
        self.sent += datagrams
        return 7

    async def aclose(self) -> None:
        self.is_closed = True


async def test_a_stream_whose_answers_stop_breaks(autojump_clock: MockClock) -> None:
    inner = Link()
    link = AnsweredPacketLink(inner)
    assert await link.send([b"question"]) == 7
    assert await link.receive() == [b"answer"]
    await link.send([b"1", b"2", b"3"])
    await trio.sleep(SILENCE_MAX)
    with pytest.raises(trio.BrokenResourceError, match="answers have stopped"):
        await link.send([b"4"])
    assert inner.sent == [b"question", b"1", b"2", b"3"]
    await link.aclose()
    assert inner.is_closed


async def test_a_stream_that_was_quiet_does_not_break(autojump_clock: MockClock) -> None:
    link = AnsweredPacketLink(Link())
    await link.receive()
    for _ in range(5):
        # Nobody has asked for so long.
        await trio.sleep(SILENCE_MAX * 10)
        await link.send([b"x"] * UNANSWERED_MIN)
        await link.receive()


async def test_a_few_lost_datagrams_break_nothing(autojump_clock: MockClock) -> None:
    link = AnsweredPacketLink(Link())
    await link.receive()
    for _ in range(UNANSWERED_MIN - 1):
        await link.send([b"x"])
        await trio.sleep(SILENCE_MAX)


async def test_a_stream_without_answers_does_not_break(autojump_clock: MockClock) -> None:
    link = AnsweredPacketLink(Link())
    for _ in range(100):
        await link.send([b"x"])
        await trio.sleep(SILENCE_MAX)


async def test_a_burst_without_answers_breaks_nothing_at_once(autojump_clock: MockClock) -> None:
    link = AnsweredPacketLink(Link())
    await link.receive()
    for _ in range(1000):
        await link.send([b"x"])
    await trio.sleep(SILENCE_MAX / 2)
    await link.send([b"x"])
