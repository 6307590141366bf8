"""Which of a user's ids made a legacy user hash, and at which second.

A hash is an HMAC of its second, so all that can be done is to compute and to compare. Connections
of one recording are close to each other, and most may be none of VMess. So a part of each hash is
kept for those that follow, which is enough to say that a hash is not among them.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from trio_vmess.core.crypto import hmac_md5_many, hmac_md5_state
from trio_vmess.core.vmess.account import Account
from trio_vmess.core.vmess.auth import TIMESTAMP_MAX, TIMESTAMP_MIN, encode_timestamp
from trio_vmess.core.vmess.clock_search import NEAR_OFFSET_MAX
from trio_vmess.core.vmess.constants import TIMESTAMP_JITTER
from trio_vmess.core.vmess.diagnosis import ZONE_OFFSET_MAX, ZONE_STEP

WINDOW: Final = 120
"""Seconds each way that are searched for however many ids: what servers accept."""

_HASHES_MAX: Final = 2_000_000
"""Hashes of one search beyond the window: about a second of processor time."""

_KEPT_MAX: Final = 800_000
"""Hashes that a part is kept of, at some 90 bytes each: twice what 64 alter ids need at a time."""

_PART: Final = 8

_ZONE_SLACK: Final = TIMESTAMP_JITTER + 5


def _clock_errors() -> Iterator[int]:
    """Yield by how much a client's clock may be off, in seconds: the window, then what is likely.

    That is all up to a quarter of an hour, and then the time zones, with a legacy client's jitter.
    """
    yield 0
    for distance in range(1, NEAR_OFFSET_MAX + 1):
        yield distance
        yield -distance
    for zone in range(ZONE_STEP, ZONE_OFFSET_MAX + 1, ZONE_STEP):
        for slack in range(-_ZONE_SLACK, _ZONE_SLACK + 1):
            yield zone + slack
            yield slack - zone


class UserHashSearch:
    """Looks for legacy user hashes of one user.

    Args:
        account: its main id and its alter ids are tried.
    """

    def __init__(self, account: Account) -> None:
        self._states = [hmac_md5_state(each) for each in (account.user_id, *account.alter_ids)]
        self._tries = max(2 * WINDOW + 1, _HASHES_MAX // len(self._states))
        self._tries = min(self._tries, sum(1 for _ in _clock_errors()))
        self._is_keeping = self._tries * len(self._states) <= _KEPT_MAX // 2
        self._parts: set[bytes] = set()
        self._seconds: set[int] = set()
        self._now: int | None = None

    @property
    def reach(self) -> str:
        """What a search that finds nothing has tried, as a phrase."""
        ids = len(self._states) - 1
        names = f"its main id or {ids} alter ids" if ids else "its main id"
        whole = 2 * NEAR_OFFSET_MAX + 1
        if self._tries < whole:
            return f"{names} (clocks off by up to {self._tries // 2} s)"
        return f"{names} (clocks off by up to {NEAR_OFFSET_MAX // 60} minutes or a time zone)"

    def find(self, user_hash: bytes, *, now: int) -> tuple[int, int] | None:
        """Return the second of a hash, and the number of the id: 0 is the main id.

        Args:
            user_hash: 16 bytes.
            now: UTC seconds; the search begins there.
        """
        if self._is_keeping:
            if now != self._now:
                self._keep_all(now)
            if user_hash[:_PART] not in self._parts:
                return None
        for second in self._candidates(now):
            hashes = self._hashes(second)
            if user_hash in hashes:
                return second, hashes.index(user_hash)
        return None

    def _candidates(self, now: int) -> Iterator[int]:
        """Yield the seconds to be tried, the likely ones first."""
        for error in islice(_clock_errors(), self._tries):
            if TIMESTAMP_MIN <= now + error <= TIMESTAMP_MAX:
                yield now + error

    def _hashes(self, second: int) -> list[bytes]:
        return hmac_md5_many(self._states, encode_timestamp(second))

    def _keep_all(self, now: int) -> None:
        """Keep a part of all hashes that are searched at a time, for that time."""
        self._now = now
        if len(self._parts) + self._tries * len(self._states) > _KEPT_MAX:
            self._parts.clear()
            self._seconds.clear()
        for second in self._candidates(now):
            if second not in self._seconds:
                self._seconds.add(second)
                self._parts.update(each[:_PART] for each in self._hashes(second))
