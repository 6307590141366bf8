"""Which id and which second made a user hash: the table behind the legacy header.

A user hash is an HMAC of a second under one of a user's ids. Nothing in it says which, so all that
are possible now are computed beforehand: 241 seconds by default, times every id. A server with
1000 users of 64 alter ids has 15.7 million of them. Two decisions keep that small and cheap, beside
the packed entries of `legacy_eras`.

Eras. The seconds are grouped by 32. An era owns its entries and is dropped whole once all of its
seconds have left the window, so nothing is ever deleted piece by piece. At most nine are alive.

Seconds in any order. Each second knows how many slots it covers, so it can be built ahead of time,
in parts, or, where little is missing, when a search needs it. A search that needs more says so, and
is repeated when more is built: a stranger costs a look at what is there, never the building of it.
New ids get the slots at the end, which makes every second incomplete by just these ids. Slots are
not used twice; when most of them are unused, later eras are given a new numbering, and the old one
disappears together with the eras that use it.
"""

import enum
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal

import attrs

from trio_vmess.core.crypto import hmac_md5_state
from trio_vmess.core.vmess.account import Account
from trio_vmess.core.vmess.auth import TIMESTAMP_MAX, TIMESTAMP_MIN
from trio_vmess.core.vmess.legacy_eras import ERA_BITS, ERA_SECONDS, Era, Roster

AHEAD_SECONDS: Final = 4
"""How far beyond the window's edge `prepare` works, so that a search never meets a new second."""

SEARCH_BUDGET: Final = 4096
"""HMACs that a search may compute to complete the window, at some 0.6 µs each."""

GROWTH_STEP: Final = 10
"""Seconds each way by which the ready range grows between two notices to those who wait."""

SLOT_LIMIT: Final = 1 << 24

_GROWTH_LIMIT: Final = 4
"""An era that holds this many times the ids it was laid out for is laid out anew."""
_UNUSED_SLOTS_MIN: Final = 1024
_FREED_BUCKETS: Final = 1024
"""Buckets that `prepare` frees at a time: an era of 65 000 ids has 16 384, and they take 10 ms."""
_DROPPED_ERAS_MAX: Final = 18
"""Eras that wait to be freed; more than the window has are there only if `prepare` never runs."""


class NotReady(enum.Enum):
    """The type of `NOT_READY`: an enum, so that `is` narrows."""

    NOT_READY = enum.auto()

    def __repr__(self) -> str:
        return "NOT_READY"


NOT_READY: Final[Literal[NotReady.NOT_READY]] = NotReady.NOT_READY


@attrs.define(eq=False, init=False)
class LegacyTable:
    """Finds the owner and the second of a user hash, exactly, at any `now`.

    Args:
        window: seconds each way, inclusive.
    """

    window: int
    _roster: Roster
    _rosters: list[Roster]
    _eras: dict[int, Era]
    _dropped: list[Era]
    _span: tuple[int, int]
    _ready: tuple[int, int] | None
    _waiting: dict[Callable[[], None], None]
    _announced: int

    def __init__(self, window: int) -> None:
        self.window = window
        self._roster = Roster()
        self._rosters = [self._roster]
        self._eras = {}
        self._dropped = []
        self._span = (0, -1)
        self._ready = None
        self._waiting = {}
        self._announced = 0

    def __len__(self) -> int:
        """How many ids are in the table."""
        return len(self._roster.owners) - self._roster.unused_count

    def add(self, account: Account, ids: Iterable[bytes]) -> None:
        """Find hashes of these ids (16 bytes each) from now on.

        Raises:
            ValueError: there would be more than 16 777 216 ids.
        """
        states = list(map(hmac_md5_state, ids))
        if not states:
            return
        if max(len(roster.owners) for roster in self._rosters) + len(states) > SLOT_LIMIT:
            raise ValueError(f"the legacy table holds at most {SLOT_LIMIT} ids")
        for roster in self._rosters:
            roster.add(account, states)
        self._ready, self._announced = None, 0
        for number, era in list(self._eras.items()):
            if len(era.roster.owners) > _GROWTH_LIMIT * era.laid_out_for:
                self._drop(number)

    def remove(self, user_id: bytes) -> None:
        """Stop finding a user's ids, at once; does nothing if there are none."""
        if user_id not in self._roster.slots:
            return
        for roster in self._rosters:
            roster.remove(user_id)
        if self._roster.unused_count > max(_UNUSED_SLOTS_MIN, len(self)):
            self._roster = self._roster.renumbered()
            self._rosters.append(self._roster)
            self._drop_rosters()

    def find(self, user_hash: bytes, now: int) -> tuple[Account, int] | NotReady | None:
        """Return whose hash it is and of which second, None, or NOT_READY.

        Seconds that are not built yet are built here if they cost no more than SEARCH_BUDGET in
        all, from `now` outward, until the hash is found. Otherwise the answer is NOT_READY: the
        hash may be of a second that is missing. See `call_when_grown`.

        Args:
            user_hash: 16 bytes.
            now: UTC seconds.
        """
        if not len(self):
            return None
        low, high = now - self.window, now + self.window
        self._move(now)
        for era in self._eras.values():
            if (match := era.find(user_hash, low, high)) is not None:
                return match
        if self._missing_count(now) * len(self) > SEARCH_BUDGET:
            return NOT_READY
        for second in self._unready(now, high):
            era, match = self._era(second), None
            if not era.is_complete(second):
                era.build(second, SLOT_LIMIT)
                match = era.find(user_hash, second, second)
            self._extend_ready(second)
            if match is not None:
                return match
        return None

    def call_when_grown(self, callback: Callable[[], None]) -> None:
        """Call once, from `prepare`, when a search that was NOT_READY is worth repeating.

        That is each time the range that is ready has grown by GROWTH_STEP seconds each way, and
        when it is complete.
        """
        self._waiting[callback] = None

    def forget_call(self, callback: Callable[[], None]) -> None:
        """Do not call; does nothing if the call is over."""
        self._waiting.pop(callback, None)

    def prepare(self, now: int, budget: int) -> bool:
        """Build what searches at `now` and shortly after will need.

        Args:
            now: UTC seconds.
            budget: how many HMACs this may cost, at some 0.6 µs each.

        Returns:
            True if nothing is left to do.
        """
        self._move(now)
        is_complete = not len(self) or self._build(now, budget)
        self._announce(now, is_complete)
        self._free(_FREED_BUCKETS)
        return is_complete and not self._dropped

    def _build(self, now: int, budget: int) -> bool:
        for second in self._unready(now, now + self.window + AHEAD_SECONDS):
            era = self._era(second)
            budget -= era.build(second, max(budget, 0))
            if not era.is_complete(second):
                return False
            self._extend_ready(second)
        return True

    def _announce(self, now: int, is_complete: bool) -> None:
        radius = self.window
        if not is_complete:
            low, high = self._ready or (now, now)
            radius = min(now - low, high - now)
        self._announced = min(self._announced, radius)
        if is_complete or radius >= self._announced + GROWTH_STEP:
            self._announced = radius
            waiting, self._waiting = self._waiting, {}
            for callback in waiting:
                callback()

    def _missing_count(self, now: int) -> int:
        """Return how many seconds of the window may be incomplete."""
        first, last = max(now - self.window, TIMESTAMP_MIN), min(now + self.window, TIMESTAMP_MAX)
        if self._ready is None or not self._ready[0] <= now <= self._ready[1]:
            return last - first + 1
        return max(self._ready[0] - first, 0) + max(last - self._ready[1], 0)

    def _era(self, second: int) -> Era:
        number = second >> ERA_BITS
        era = self._eras.get(number)
        if era is None:
            era = self._eras[number] = Era(number << ERA_BITS, self._roster)
        return era

    def _move(self, now: int) -> None:
        """Drop the eras that have nothing in common with the window."""
        span = (
            (now - self.window) >> ERA_BITS,
            (now + self.window + AHEAD_SECONDS) >> ERA_BITS,
        )
        if span == self._span:
            return
        first, last = self._span = span
        gone = [number for number in self._eras if not first <= number <= last]
        for number in gone:
            self._drop(number)
        if gone and self._ready is not None:
            low = max(self._ready[0], first << ERA_BITS)
            high = min(self._ready[1], (last << ERA_BITS) + ERA_SECONDS - 1)
            self._ready = (low, high) if low <= high else None
        self._drop_rosters()

    def _drop(self, number: int) -> None:
        """Let an era go; `prepare` frees its memory in parts."""
        self._dropped.append(self._eras.pop(number))
        del self._dropped[:-_DROPPED_ERAS_MAX]

    def _free(self, count: int) -> None:
        while self._dropped and count > 0:
            freed = self._dropped[-1].shrink(count)
            if freed < count:
                self._dropped.pop()
            count -= freed

    def _drop_rosters(self) -> None:
        if len(self._rosters) > 1:
            used = {id(era.roster) for era in self._eras.values()}
            self._rosters = [
                roster for roster in self._rosters if roster is self._roster or id(roster) in used
            ]

    def _unready(self, now: int, last: int) -> Iterator[int]:
        """Yield the seconds from the window's start to `last` that may be incomplete.

        The nearest to `now` come first. The caller completes each and passes it to `_extend_ready`;
        so the seconds that are ready stay one unbroken range around `now`.
        """
        if self._ready is None or not self._ready[0] <= now <= self._ready[1]:
            self._ready, self._announced = None, 0
            yield now
            low = high = now
        else:
            low, high = self._ready
        first, last = max(now - self.window, TIMESTAMP_MIN), min(last, TIMESTAMP_MAX)
        for distance in range(min(now - low, high - now) + 1, last - now + 1):
            if high < now + distance <= last:
                yield now + distance
            if first <= now - distance < low:
                yield now - distance

    def _extend_ready(self, second: int) -> None:
        low, high = self._ready or (second, second)
        self._ready = (min(low, second), max(high, second))
