"""The memory that refuses a request which was sent before.

What a recorded request can be recognised by depends on its header:

- AEAD: the 16 bytes of the auth id are unique by themselves.
- Legacy: the user hash alone is not enough. Honest clients repeat it, because it knows only seconds
  and ids: sing-box sends the time without jitter, always under the first alter id, so all its
  connections of one second begin alike. Body key and body IV make the difference: `legacy_key`.
- Both: user, body key and body IV, the session, as V2Ray keeps it for three minutes.

A key is remembered until its request's time has left the window, when the clock check refuses it
anyway, plus one window more. How late it is, `sweep` is told, and nothing else forgets: the caller
knows which of its clocks to trust. What may have been forgotten is refused: if the clock is set
back to a time whose requests were swept, requests of that time are not admitted again.

Request keys lie in a `ReplayMemory`, which may outlive the process and be shared with others;
sessions and tainted hashes lie in the cache itself.

Memory is bounded. When it is full, what is nearest to its own expiry is forgotten first. A new
request is never refused for lack of space: that would let one busy user lock out the others.
"""

import heapq
from collections import deque
from typing import Final, Protocol

from trio_vmess.core.crypto import sha256
from trio_vmess.core.vmess.constants import SESSION_HISTORY_SECONDS

REPLAY_KEY_SIZE: Final = 16
"""Bytes of a request's key: the size of an auth id."""

SPAN_GAP: Final = 600
"""Seconds without a forgotten request that lie between two spans of forgotten times."""

SPANS_MAX: Final = 64
"""How many such spans are kept apart."""

DEFAULT_CAPACITY: Final = 1_000_000


def legacy_key(user_hash: bytes, body_key: bytes, body_iv: bytes) -> bytes:
    """Return what tells one legacy request from all others: 16 bytes of a hash of 16 each."""
    return sha256(user_hash + body_key + body_iv)[:REPLAY_KEY_SIZE]


def session_key(user_id: bytes, body_key: bytes, body_iv: bytes) -> bytes:
    """Return what tells one session from all others; 16 bytes each.

    Source:
        v2ray-core, proxy/vmess/encoding/server.go, SessionHistory.
    """
    return user_id + body_key + body_iv


class ForgottenTimes:
    """The seconds of which requests were forgotten, as a few spans.

    Usually there is one, which ends where the memory begins. Another one begins where the clock was
    wrong for a while: between them, nothing was forgotten.
    """

    def __init__(self) -> None:
        self._spans: list[tuple[int, int]] = []

    def __repr__(self) -> str:
        return f"<ForgottenTimes {self._spans}>"

    def __bool__(self) -> bool:
        return bool(self._spans)

    def __contains__(self, second: int) -> bool:
        # `any` takes three times as long, for each request.
        for first, last in self._spans:  # noqa: SIM110
            if first <= second <= last:
                return True
        return False

    def add(self, second: int) -> None:
        """Note that a request of this second was forgotten."""
        if self._spans:
            first, last = self._spans[-1]
            if first - SPAN_GAP <= second <= last + SPAN_GAP:
                self._spans[-1] = min(first, second), max(last, second)
                return
        self._spans.append((second, second))
        if len(self._spans) > SPANS_MAX:
            # The two oldest become one, and what lies between them is closed, too.
            pair = self._spans[:2]
            self._spans[:2] = [(min(each[0] for each in pair), max(each[1] for each in pair))]


class ReplayMemory(Protocol):
    """A set of keys, each of a second."""

    @property
    def forgotten(self) -> ForgottenTimes:
        """The seconds of which `sweep` has forgotten anything."""
        ...

    def __len__(self) -> int:
        """How many keys there are."""
        ...

    def add(self, key: bytes, second: int) -> bool:
        """Remember a key.

        Args:
            key: 16 bytes.
            second: UTC seconds of the request; the same whenever the key is the same.

        Returns:
            False if it is there already.
        """
        ...

    def sweep(self, before: int, count: int) -> bool:
        """Forget at most `count` keys of the seconds before `before`, the oldest first.

        Returns:
            True if nothing is left to forget.
        """
        ...


class OwnMemory:
    """A bounded set of keys in this process.

    Keys of one second share a queue, and a heap knows the earliest: no step looks at all of them.

    Args:
        capacity: how many keys are remembered at most; each takes some 200 bytes.
        forgotten: where it is noted what sweeping forgets, if somebody else notes it there, too.
    """

    def __init__(
        self, capacity: int = DEFAULT_CAPACITY, *, forgotten: ForgottenTimes | None = None
    ) -> None:
        self.forgotten = ForgottenTimes() if forgotten is None else forgotten
        self._capacity = capacity
        self._keys: set[bytes] = set()
        self._queues: dict[int, deque[bytes]] = {}
        self._order: list[int] = []

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self._keys)

    def __contains__(self, key: bytes) -> bool:
        return key in self._keys

    def add(self, key: bytes, second: int) -> bool:
        """See `ReplayMemory.add`; a key may have any size here."""
        if key in self._keys:
            return False
        if len(self._keys) >= self._capacity:
            self._forget_one()
        self._keys.add(key)
        queue = self._queues.get(second)
        if queue is None:
            queue = self._queues[second] = deque()
            heapq.heappush(self._order, second)
        queue.append(key)
        return True

    def sweep(self, before: int, count: int) -> bool:
        """See `ReplayMemory.sweep`."""
        while self._order and self._order[0] < before:
            if count <= 0:
                return False
            self.forgotten.add(self._order[0])
            self._forget_one()
            count -= 1
        return True

    def _forget_one(self) -> None:
        earliest = self._order[0]
        queue = self._queues[earliest]
        self._keys.remove(queue.popleft())
        if not queue:
            heapq.heappop(self._order)
            del self._queues[earliest]


class ReplayCache:
    """The requests that were admitted: one cache for all inbounds that a user may come in by.

    Call `admit` once a header has authenticated; nothing that an unknown user sends is ever stored.
    A timer calls `sweep`.

    Args:
        window: seconds that a request's time may differ from ours: `UserRegistry.window`, the
            largest if there are several.
        capacity: how many requests, how many sessions and how many tainted hashes are remembered
            at most; an entry of each kind takes some 200 bytes.
        history_seconds: how long sessions are remembered at least.
        memory: where the keys of requests are kept; None for this process.

    Attributes:
        memory: where the keys of requests are kept.

    Raises:
        ValueError: `window` or `history_seconds` is negative, or `capacity` below 1.
    """

    def __init__(
        self,
        *,
        window: int,
        capacity: int = DEFAULT_CAPACITY,
        history_seconds: int = SESSION_HISTORY_SECONDS,
        memory: ReplayMemory | None = None,
    ) -> None:
        if window < 0 or history_seconds < 0:
            raise ValueError(
                f"window and history_seconds must not be negative: {window=}, {history_seconds=}"
            )
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity}")
        self.memory = OwnMemory(capacity) if memory is None else memory
        self._window = window
        self._history_seconds = history_seconds
        self._sessions = OwnMemory(capacity)
        self._tainted = OwnMemory(capacity)

    def __repr__(self) -> str:
        return (
            f"<ReplayCache of {len(self.memory)} requests, {len(self._sessions)} sessions, "
            f"{len(self._tainted)} tainted hashes>"
        )

    def __len__(self) -> int:
        """How many requests are remembered."""
        return len(self.memory)

    def admit(self, *, key: bytes, session: bytes, timestamp: int, now: int) -> bool:
        """Admit a request, if this is the first time.

        Args:
            key: the auth id, or the result of `legacy_key`; 16 bytes.
            session: the result of `session_key`.
            timestamp: the request's time, UTC seconds; within the window.
            now: UTC seconds.

        Returns:
            False if the key or the session was admitted before, or the time `is_forgotten`; then
            nothing changes.
        """
        memory = self.memory
        if timestamp in memory.forgotten or session in self._sessions:
            return False
        if not memory.add(key, timestamp):
            return False
        self._sessions.add(session, now)
        return True

    def is_forgotten(self, timestamp: int) -> bool:
        """Tell whether requests of this second may have been admitted and swept."""
        return timestamp in self.memory.forgotten

    def taint(self, user_hash: bytes, *, timestamp: int) -> None:
        """Refuse a legacy user hash from now on: somebody probes us with broken headers under it.

        Args:
            user_hash: 16 bytes that were found in the registry.
            timestamp: the second that it stands for.
        """
        self._tainted.add(user_hash, timestamp)

    def is_tainted(self, user_hash: bytes) -> bool:
        """Tell whether a legacy user hash was tainted; it is refused like an unknown one."""
        return user_hash in self._tainted

    def sweep(self, now: int, *, count: int) -> bool:
        """Forget what cannot come again.

        Args:
            now: UTC seconds, and if clocks disagree the earliest that it can be: requests of the
                seconds that are forgotten here are never admitted again.
            count: how many entries of each kind this call may free.

        Returns:
            True if nothing is left to do at this `now`.
        """
        oldest = now - 2 * self._window
        is_done = self.memory.sweep(oldest, count)
        is_done &= self._tainted.sweep(oldest, count)
        return self._sessions.sweep(now - self._history_seconds, count) and is_done
