"""Whose legacy header was refused, and by how much the client's clock or alterId is wrong.

A user hash is an HMAC, so the only way to find out is to guess and compare. That takes up to
`MAX_HMACS` of them, so `ClockSearch` works in slices, after the connection has been dealt with.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Final

import attrs

from trio_vmess.core.crypto import HmacState, hmac_md5_many, hmac_md5_state
from trio_vmess.core.vmess.account import Account, next_alter_id
from trio_vmess.core.vmess.auth import encode_timestamp
from trio_vmess.core.vmess.constants import TIMESTAMP_JITTER
from trio_vmess.core.vmess.diagnosis import (
    ZONE_OFFSET_MAX,
    ZONE_STEP,
    Diagnosis,
    wrong_clock,
)
from trio_vmess.core.vmess.users import UserRegistry
from trio_vmess.errors import Refusal

MAX_HMACS: Final = 2_000_000
"""What one `ClockSearch` may cost: about a second of processor time."""

NEAR_OFFSET_MAX: Final = 15 * 60
"""Seconds: clocks that are off by no more than this are found whatever the offset."""

_GUESSED_ALTER_IDS: Final = 64
"""How many alter ids a client may have that the server does not know of."""
_BATCH: Final = 512
_RIGHT_CLOCK_SLACK: Final = TIMESTAMP_JITTER + 5
"""Seconds: the time of a clock that is right, but for its time zone, is off by no more."""


@attrs.frozen(kw_only=True)
class _Id:
    """One id to try: its number is 0 for the main id, n for the n-th alter id."""

    account: Account
    number: int
    state: HmacState


def _id_numbers(account: Account, start: int, stop: int) -> Iterator[_Id]:
    """Derive a user's ids from number `start` up to, not including, `stop`."""
    if start >= stop:
        return
    current = account.user_id
    for number in range(stop):
        if number:
            current = next_alter_id(current)
        if number >= start:
            yield _Id(account=account, number=number, state=hmac_md5_state(current))


_Batch = tuple[int, Sequence[_Id]]


def _rings(window: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return 0, 1, -1, ... up to the window's edges, cut where a right clock's jitter ends."""
    slacks = [0]
    for distance in range(1, window + 1):
        slacks += (distance, -distance)
    inner = 2 * _RIGHT_CLOCK_SLACK + 1
    return slacks[:inner], slacks[inner:]


def _offsets(window: int) -> Iterator[int]:
    """Yield the clock errors to try, in seconds, outside the window; the likely ones first."""
    for distance in range(window + 1, NEAR_OFFSET_MAX + 1):
        yield distance
        yield -distance
    whole = range(2 * ZONE_STEP, ZONE_OFFSET_MAX + 1, 2 * ZONE_STEP)
    half = range(ZONE_STEP, ZONE_OFFSET_MAX, 2 * ZONE_STEP)
    for ring in _rings(window):
        for zone in (sign * step for step in chain(whole, half) for sign in (1, -1)):
            for slack in ring:
                yield zone + slack


class ClockSearch:
    """Finds out about a user hash that the registry does not know, in slices.

    It is run to the end so: `while not search.step(budget): ...` with a checkpoint in the loop;
    then `search.found` holds the result. It tries, in this order and never for more HMACs than
    allowed:

    1. Times within the window, ids that are not accepted: any id of a user with alterId 0, and
       alter ids beyond a user's own number (clients choose among all of theirs).
    2. Times outside the window, ids that are accepted: the main and the first alter id of each
       user, with clocks off by up to 15 minutes, then by whole and half hours up to 14; then the
       same for the other alter ids.

    Args:
        registry: its users of this moment are tried.
        user_hash: 16 bytes that `find_user_hash` does not know.
        now: UTC seconds.
        max_hmacs: the bound of the whole search.

    Attributes:
        found: the explanation, once there is one.
    """

    def __init__(
        self, registry: UserRegistry, user_hash: bytes, now: int, *, max_hmacs: int = MAX_HMACS
    ) -> None:
        self.found: Diagnosis | None = None
        self._user_hash = user_hash
        self._now = now
        self._window = registry.window
        self._left = max_hmacs
        accounts = tuple(registry)
        self._silent = [account for account in accounts if not registry.accepts_legacy(account)]
        self._legacy = [account for account in accounts if registry.accepts_legacy(account)]
        self._work = self._batches()

    def step(self, budget: int) -> bool:
        """Go on for about `budget` HMACs, at 0.4 to 1 µs each.

        Returns:
            True when the search is over: look at `found`.
        """
        budget = min(budget, self._left)
        while budget > 0 and self.found is None:
            batch = next(self._work, None)
            if batch is None:
                self._left = 0
                break
            offset, ids = batch
            ids = ids[: self._left]
            message = encode_timestamp(self._now + offset)
            digests = hmac_md5_many([each.state for each in ids], message)
            budget -= len(ids)
            self._left -= len(ids)
            # The hash is only named in the log: nothing hangs on how long the comparison takes.
            if self._user_hash in digests:
                self.found = self._explain(ids[digests.index(self._user_hash)], offset)
        return self.found is not None or self._left <= 0

    def _batches(self) -> Iterator[_Batch]:
        """Yield what is to be tried: ids that share a clock error."""
        # Many users without alter ids must not use up what is there to find wrong clocks.
        yield from _limited(self._with_other_ids(), self._left // 2)
        main = (
            _id_numbers(account, 0, min(account.alter_id_count, 1) + 1) for account in self._legacy
        )
        alter = (_id_numbers(account, 2, account.alter_id_count + 1) for account in self._legacy)
        offsets = list(_offsets(self._window))
        yield from _product(offsets, main)
        yield from _product(offsets, alter)

    def _with_other_ids(self) -> Iterator[_Batch]:
        stop = _GUESSED_ALTER_IDS + 1
        for ring in _rings(self._window):
            yield from _product(ring, (_id_numbers(each, 0, 2) for each in self._silent))
            yield from _product(ring, (_id_numbers(each, 2, stop) for each in self._silent))
            beyond = (_id_numbers(each, each.alter_id_count + 1, stop) for each in self._legacy)
            yield from _product(ring, beyond)

    def _explain(self, guess: _Id, offset: int) -> Diagnosis:
        account = guess.account
        if guess.number <= account.alter_id_count and account in self._legacy:
            return wrong_clock(account, offset, self._window)
        if account.alter_id_count == 0:
            return Diagnosis(
                reason=Refusal.WRONG_FORM,
                message=f"user {account.name}: a legacy header from a user whose alterId is 0 "
                "here; set the same alterId on both sides",
                account=account,
            )
        return Diagnosis(
            reason=Refusal.WRONG_FORM,
            message=f"user {account.name}: a legacy header under alter id {guess.number}, but the "
            f"user's alterId is {account.alter_id_count} here; set the same on both sides",
            account=account,
        )


def _product(offsets: Sequence[int], groups: Iterable[Iterable[_Id]]) -> Iterator[_Batch]:
    """Yield every offset with every id, some hundred ids at a time."""
    ids = chain.from_iterable(groups)
    while batch := list(islice(ids, _BATCH)):
        for offset in offsets:
            yield offset, batch


def _limited(batches: Iterable[_Batch], hmac_count: int) -> Iterator[_Batch]:
    """Yield from `batches` until they have cost this many HMACs."""
    for batch in batches:
        if hmac_count <= 0:
            return
        yield batch
        hmac_count -= len(batch[1])
