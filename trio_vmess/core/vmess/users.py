"""The users of an inbound, and how the first 16 bytes of a request find one of them.

Time. A request is good while its time differs from ours by no more than the window: the jitter of
legacy clients plus what two clocks may differ, 30 + 90 = 120 seconds each way, inclusive. The same
window holds for both forms of header and for every user, whatever the phase of any timer.

AEAD headers. The auth id does not name its user; each user's key is tried, and a checksum tells
the right one. Most requests come from a source whose user is known from last time, or from one of
the recent users: these are tried first. All are tried in blocks, without a step of Python between
two keys; of the results only those with three zero bytes at the top (a time before the year 36812)
are looked at.

Legacy headers are looked up in `LegacyTable`.

Adding and removing users takes effect at once, on both paths.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import attrs

from trio_vmess.core.crypto import aes_block_decryptor
from trio_vmess.core.vmess.account import Account
from trio_vmess.core.vmess.auth import read_auth_time
from trio_vmess.core.vmess.constants import AUTH_SIZE, DEFAULT_MAX_CLOCK_SKEW, TIMESTAMP_JITTER
from trio_vmess.core.vmess.legacy_table import NOT_READY, LegacyTable, NotReady

SOURCES_MAX: Final = 65_536
"""How many sources are remembered with their user; the least recent goes first."""

RECENT_USERS_MAX: Final = 512
"""How many users who came last are tried before all the others: many can share one address."""

_RECENT_BLOCK: Final = 32
_BLOCK: Final = 256
_TIME_TOP: Final = bytes(3)


@attrs.frozen(kw_only=True)
class AuthMatch:
    """What the first 16 bytes of a request tell.

    Attributes:
        account: the user whose id or key made them.
        timestamp: the client's UTC seconds.
    """

    account: Account
    timestamp: int


@attrs.frozen(kw_only=True)
class _Member:
    account: Account
    decrypt: Callable[[bytes], bytes]

    def open(self, auth_id: bytes) -> AuthMatch | None:
        return _read(self.account, self.decrypt(auth_id))


def _read(account: Account, plain: bytes) -> AuthMatch | None:
    if not plain.startswith(_TIME_TOP) or (timestamp := read_auth_time(plain)) is None:
        return None
    return AuthMatch(account=account, timestamp=timestamp)


def _open_all(
    members: Sequence[_Member], decrypts: Sequence[Callable[[bytes], bytes]], auth_id: bytes
) -> Iterator[AuthMatch]:
    """Yield the matches among members, given their `decrypt` besides: for many, this is quick."""
    plains = b"".join([decrypt(auth_id) for decrypt in decrypts])
    position = plains.find(_TIME_TOP)
    while position >= 0:
        if position % AUTH_SIZE == 0:
            account = members[position // AUTH_SIZE].account
            match = _read(account, plains[position : position + AUTH_SIZE])
            if match is not None:
                yield match
        position = plains.find(_TIME_TOP, position + 1)


def authentication_window(max_clock_skew: float) -> int:
    """Return how many seconds, each way, a request's time may differ from ours.

    Args:
        max_clock_skew: seconds that two clocks may differ; the jitter of clients comes on top.

    Raises:
        ValueError: it is negative, or not a finite number.
    """
    if not 0 <= max_clock_skew < math.inf:
        raise ValueError(
            f"max_clock_skew must be a finite number of seconds, at least 0: {max_clock_skew}"
        )
    return TIMESTAMP_JITTER + math.floor(max_clock_skew)


class UserRegistry:
    """The users of an inbound.

    Args:
        accounts: the users to begin with.
        max_clock_skew: seconds that a client's clock and ours may differ; the jitter comes on top.
        legacy_without_alter_ids: take legacy headers under the main id from users without alter
            ids, too: the protocol as it was before AEAD headers.

    Raises:
        ValueError: as `add`, or `max_clock_skew` is negative or not finite.
    """

    def __init__(
        self,
        accounts: Iterable[Account] = (),
        *,
        max_clock_skew: float = DEFAULT_MAX_CLOCK_SKEW,
        legacy_without_alter_ids: bool = False,
    ) -> None:
        self._window = authentication_window(max_clock_skew)
        self._legacy_without_alter_ids = legacy_without_alter_ids
        self._accounts: dict[bytes, Account] = {}
        self._by_email: dict[str, Account] = {}
        # The scan wants two dense lists. `_index` says where a user is in them; the last one moves
        # to the index of one that is removed.
        self._members: list[_Member] = []
        self._decrypts: list[Callable[[bytes], bytes]] = []
        self._index: dict[bytes, int] = {}
        self._sources: OrderedDict[str, bytes] = OrderedDict()
        self._recent: OrderedDict[bytes, _Member] = OrderedDict()
        self._table = LegacyTable(self._window)
        for account in accounts:
            self.add(account)

    def __repr__(self) -> str:
        return f"<UserRegistry of {len(self)} users, ±{self._window} s>"

    def __len__(self) -> int:
        return len(self._accounts)

    def __iter__(self) -> Iterator[Account]:
        """Iterate over the users in the order in which they came."""
        return iter(self._accounts.values())

    def __contains__(self, user_id: bytes) -> bool:
        return user_id in self._accounts

    @property
    def window(self) -> int:
        """Seconds each way that a request's time may differ from ours."""
        return self._window

    @property
    def legacy_id_count(self) -> int:
        """How many ids legacy headers are accepted from; 0 means that there can be none."""
        return len(self._table)

    def accepts(self, timestamp: int, now: int) -> bool:
        """Tell whether a request of that second is admitted now."""
        return abs(timestamp - now) <= self._window

    def accepts_legacy(self, account: Account) -> bool:
        """Tell whether legacy headers are accepted from this user."""
        return account.alter_id_count > 0 or self._legacy_without_alter_ids

    # Membership ---------------------------------------------------------------------------------

    def add(self, account: Account) -> None:
        """Admit a user from now on.

        The seconds of the legacy table that exist already gain the user's ids when a search or
        `prepare` comes to them; no search misses them.

        Raises:
            ValueError: the id, or the email in any case, is taken; or there are too many ids.
        """
        user_id = account.user_id
        if user_id in self._accounts:
            raise ValueError(f"user {account.name}: another user has the same id")
        email = account.email.casefold()
        if email and email in self._by_email:
            raise ValueError(f"user {account.name}: another user has the same email")
        if self.accepts_legacy(account):
            self._table.add(account, (user_id, *account.alter_ids))
        if email:
            self._by_email[email] = account
        self._accounts[user_id] = account
        member = _Member(account=account, decrypt=aes_block_decryptor(account.auth_id_key).update)
        self._index[user_id] = len(self._members)
        self._members.append(member)
        self._decrypts.append(member.decrypt)

    def remove(self, user_id: bytes) -> Account:
        """Refuse a user from now on; connections that exist already go on.

        Raises:
            KeyError: there is no such user.
        """
        account = self._accounts.pop(user_id)
        if account.email:
            del self._by_email[account.email.casefold()]
        index = self._index.pop(user_id)
        last = self._members.pop()
        self._decrypts.pop()
        if index < len(self._members):
            self._members[index] = last
            self._decrypts[index] = last.decrypt
            self._index[last.account.user_id] = index
        self._recent.pop(user_id, None)
        self._table.remove(user_id)
        return account

    def find_by_email(self, email: str) -> Account | None:
        """Return the user with this email, in whatever case it is written."""
        return self._by_email.get(email.casefold())

    # AEAD ---------------------------------------------------------------------------------------

    def find_auth_id(
        self, auth_id: bytes, *, now: int, source: str | None = None
    ) -> AuthMatch | None:
        """Find whose auth id this is.

        Args:
            auth_id: the first 16 bytes as received.
            now: UTC seconds.
            source: the client's address, as passed to `remember`; only makes the search faster.

        Returns:
            The user and the time; None if it is no user's. If only a match with a time outside the
            window was found, that one, for the log: the caller asks `accepts`.

        Raises:
            ValueError: `auth_id` does not have 16 bytes.
        """
        if len(auth_id) != AUTH_SIZE:
            raise ValueError(f"an auth id must have {AUTH_SIZE} bytes, not {len(auth_id)}")
        stale: AuthMatch | None = None
        if source is not None and (user_id := self._sources.get(source)) is not None:
            index = self._index.get(user_id)
            if index is None:
                del self._sources[source]
            elif (match := self._members[index].open(auth_id)) is not None:
                if self.accepts(match.timestamp, now):
                    return match
                stale = match
        for match in self._matches(auth_id):
            if self.accepts(match.timestamp, now):
                return match
            stale = stale or match
        return stale

    def remember(self, source: str, account: Account) -> None:
        """Try this user first when a request comes from `source`.

        To be called once a header has authenticated, so that unknown clients cannot displace
        known ones.

        Args:
            source: the client's IP address.
            account: the user who connected from there.
        """
        user_id = account.user_id
        index = self._index.get(user_id)
        if index is None:
            return
        self._sources[source] = user_id
        self._sources.move_to_end(source)
        if len(self._sources) > SOURCES_MAX:
            self._sources.popitem(last=False)
        self._recent[user_id] = self._members[index]
        self._recent.move_to_end(user_id)
        if len(self._recent) > RECENT_USERS_MAX:
            self._recent.popitem(last=False)

    def _matches(self, auth_id: bytes) -> Iterator[AuthMatch]:
        """Yield every match, the latest users first; one may come up twice."""
        recent = reversed(self._recent.values())
        while members := list(islice(recent, _RECENT_BLOCK)):
            yield from _open_all(members, [member.decrypt for member in members], auth_id)
        for start in range(0, len(self._decrypts), _BLOCK):
            end = start + _BLOCK
            yield from _open_all(self._members[start:end], self._decrypts[start:end], auth_id)

    # Legacy -------------------------------------------------------------------------------------

    def find_user_hash(self, user_hash: bytes, *, now: int) -> AuthMatch | NotReady | None:
        """Find whose user hash this is; what is found is within the window.

        Costs some microseconds if `prepare` has returned True at this `now`, or up to AHEAD_SECONDS
        before. Otherwise what is missing is computed here if it is little, some 2 ms at most.

        Args:
            user_hash: the first 16 bytes as received.
            now: UTC seconds.

        Returns:
            The user and the second; None if it is nobody's; NOT_READY if that cannot be said before
            `prepare` has done more: ask again when what was passed to `call_when_grown` is called.

        Raises:
            ValueError: `user_hash` does not have 16 bytes.
            LocalProtocolError: `now` does not fit 64 bits.
        """
        if len(user_hash) != AUTH_SIZE:
            raise ValueError(f"a user hash must have {AUTH_SIZE} bytes, not {len(user_hash)}")
        found = self._table.find(user_hash, now)
        if found is None or found is NOT_READY:
            return found
        return AuthMatch(account=found[0], timestamp=found[1])

    def call_when_grown(self, callback: Callable[[], None]) -> None:
        """Call once when `find_user_hash` may say more: from `prepare`, after every few slices."""
        self._table.call_when_grown(callback)

    def forget_call(self, callback: Callable[[], None]) -> None:
        """Do not call; does nothing if the call is over."""
        self._table.forget_call(callback)

    def prepare(self, now: int, *, budget: int) -> bool:
        """Do some of the legacy table's work ahead of time: the seconds nearest to `now` first.

        In the steady state each second costs `legacy_id_count` HMACs once. Also drops what has left
        the window, so a timer that calls this keeps an idle server small.

        Args:
            now: UTC seconds.
            budget: how many HMACs this call may compute, at some 0.6 µs each.

        Returns:
            True if nothing is left to do at this `now`.
        """
        return self._table.prepare(now, budget)
