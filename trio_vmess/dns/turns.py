"""Turns at something of which there is only so much: nobody's share is another one's wait."""

from collections import deque
from collections.abc import AsyncGenerator, Hashable
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

TURNS_OF_ONE: Final = 32
"""Lookups in flight of one owner. Most last milliseconds, so even a browser hardly ever waits."""

TURNS_OF_ALL: Final = 256
"""Lookups in flight of all owners: twice as many sockets at most."""


@attrs.define(eq=False)
class _Waiter:
    ready: trio.Event = attrs.field(factory=trio.Event)


class Turns:
    """Hands out turns: so many to each owner, and so many to all.

    Who has as many as he may waits for his own to end. Where all are taken, the next one goes to
    the owner who has the fewest.

    Args:
        of_one: turns that one owner may have at a time.
        of_all: turns that all may have together.
    """

    def __init__(self, of_one: int = TURNS_OF_ONE, of_all: int = TURNS_OF_ALL) -> None:
        self._of_one = of_one
        self._free = of_all
        # Owners who have nothing and wait for nothing have no entry.
        self._taken: dict[Hashable, int] = {}
        self._waiting: dict[Hashable, deque[_Waiter]] = {}

    @asynccontextmanager
    async def turn(self, owner: Hashable) -> AsyncGenerator[None, None]:
        """Take a turn for the length of the block."""
        await self.take(owner)
        try:
            yield
        finally:
            self.give_back(owner)

    async def take(self, owner: Hashable) -> None:
        """Wait for a turn, which must be given back.

        Raises:
            trio.Cancelled: from outside; no turn is taken then.
        """
        if self._free and self._may_have_one(owner) and owner not in self._waiting:
            self._grant(owner)
            return
        waiter = _Waiter()
        self._waiting.setdefault(owner, deque()).append(waiter)
        try:
            await waiter.ready.wait()
        except trio.Cancelled:
            if waiter.ready.is_set():
                self.give_back(owner)
            else:
                self._leave(owner, waiter)
            raise

    def give_back(self, owner: Hashable) -> None:
        """Let somebody else have the turn."""
        self._free += 1
        left = self._taken.pop(owner) - 1
        if left:
            self._taken[owner] = left
        while self._free and (next_owner := self._next_owner()) is not _NOBODY:
            waiter = self._waiting[next_owner][0]
            self._leave(next_owner, waiter)
            self._grant(next_owner)
            waiter.ready.set()

    def _may_have_one(self, owner: Hashable) -> bool:
        return self._taken.get(owner, 0) < self._of_one

    def _grant(self, owner: Hashable) -> None:
        self._free -= 1
        self._taken[owner] = self._taken.get(owner, 0) + 1

    def _leave(self, owner: Hashable, waiter: _Waiter) -> None:
        queue = self._waiting[owner]
        queue.remove(waiter)
        if not queue:
            del self._waiting[owner]

    def _next_owner(self) -> Hashable:
        entitled = filter(self._may_have_one, self._waiting)
        return min(entitled, key=lambda owner: self._taken.get(owner, 0), default=_NOBODY)


_NOBODY: Final = object()


@attrs.frozen
class ThreadTurns:
    """The turns of one owner as a limiter of Trio's threads.

    A thread cannot be stopped: its turn ends with it, however early its caller gives up.

    Attributes:
        turns: where they come from.
        owner: whose they are.
    """

    turns: Turns
    owner: Hashable

    async def acquire_on_behalf_of(self, _borrower: object, /) -> None:
        """Wait for a turn, as a `trio.CapacityLimiter` does."""
        await self.turns.take(self.owner)

    def release_on_behalf_of(self, _borrower: object, /) -> None:
        """Give it back."""
        self.turns.give_back(self.owner)
