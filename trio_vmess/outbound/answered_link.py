"""Notices that a stream of datagrams is dead, although its connection is not."""

from collections.abc import Sequence
from typing import Final

import trio

from trio_vmess.contracts import PacketLink

SILENCE_MAX: Final = 10.0
"""Seconds without an answer after which a stream that had answers counts as dead."""

UNANSWERED_MIN: Final = 4
"""Datagrams that must have been sent meanwhile: fewer may have been lost on their way."""


class AnsweredPacketLink:
    """A packet link that breaks when answers stop: its owner opens another, which may have some.

    A link that never had an answer does not break so: there are protocols without answers. One
    whose destination is gone breaks once, for its successor has no answers.

    QUIRK: V2Ray's server drops all further datagrams of a stream, in silence, after one that was
    larger than its buffers. Source: V2Ray's behaviour; tests/interop/test_datagram_sizes.py.

    Args:
        link: carries the datagrams; it belongs to this link from now on.
    """

    def __init__(self, link: PacketLink) -> None:
        self._link = link
        self._has_answers = False
        self._unanswered = 0
        self._since = 0.0

    async def receive(self) -> Sequence[bytes]:
        """See `PacketLink.receive`."""
        datagrams = await self._link.receive()
        self._has_answers = True
        self._unanswered = 0
        return datagrams

    async def send(self, datagrams: Sequence[bytes], /) -> int:
        """See `PacketLink.send`."""
        if self._has_answers:
            now = trio.current_time()
            if not self._unanswered:
                self._since = now
            self._unanswered += len(datagrams)
            if self._unanswered >= UNANSWERED_MIN and now - self._since >= SILENCE_MAX:
                raise trio.BrokenResourceError("the answers have stopped")
        return await self._link.send(datagrams)

    async def aclose(self) -> None:
        """See `PacketLink.aclose`."""
        await self._link.aclose()
