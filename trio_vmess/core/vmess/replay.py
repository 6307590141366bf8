"""The memory that refuses a request which was sent before.

What a recorded request can be recognised by depends on its header:

- AEAD: the 16 bytes of the auth id are unique by themselves.
- Legacy: the user hash alone is not enough. Honest clients repeat it, because it knows only seconds
  and ids: sing-box sends the time without jitter, always under the first alter id, so all its
  connections of one second begin alike. Body key and body IV make the difference: `legacy_key`.
- Both: user, body key and body IV, the session, as V2Ray keeps it for three minutes.

A key is remembered until its request's time has left the window, when the clock check refuses it
anyway, plus one window more: so a clock that is set back by up to one window lets no request in
twice. A clock that is set back further does, for requests recorded before; nothing but an endless
memory could prevent it.

Memory is bounded. When it is full, what is nearest to its own expiry is forgotten first. A new
request is never refused for lack of space: that would let one busy user lock out the others.
"""

import heapq
from collections import deque
from typing import Final

import attrs

from trio_vmess.core.vmess.constants import SESSION_HISTORY_SECONDS

DEFAULT_CAPACITY: Final = 1_000_000


def legacy_key(user_hash: bytes, body_key: bytes, body_iv: bytes) -> bytes:
    """Return what tells one legacy request from all others; 16 bytes each."""
    return user_hash + body_key + body_iv


def session_key(user_id: bytes, body_key: bytes, body_iv: bytes) -> bytes:
    """Return what tells one session from all others; 16 bytes each.

    Source:
        v2ray-core, proxy/vmess/encoding/server.go, SessionHistory.
    """
    return user_id + body_key + body_iv


@attrs.define(eq=False)
class _Memory:
    """A bounded set of keys, each with the last second in which it counts.

    Keys of one expiry share a queue, and a heap knows the earliest: no step looks at all of them.
    """

    capacity: int
    _expiries: dict[bytes, int] = attrs.field(factory=dict[bytes, int])
    _queues: dict[int, deque[bytes]] = attrs.field(factory=dict[int, deque[bytes]])
    _order: list[int] = attrs.field(factory=list[int])

    def __len__(self) -> int:
        return len(self._expiries)

    def holds(self, key: bytes, now: int) -> bool:
        expiry = self._expiries.get(key)
        return expiry is not None and now <= expiry

    def add(self, key: bytes, expiry: int, now: int) -> None:
        """Remember a key that is not held; one whose time is over already is left out."""
        if self._order and self._order[0] < now:
            self.sweep(now)
        if expiry < now:
            return
        if len(self._expiries) >= self.capacity:
            self._forget_one()
        self._expiries[key] = expiry
        queue = self._queues.get(expiry)
        if queue is None:
            queue = self._queues[expiry] = deque()
            heapq.heappush(self._order, expiry)
        queue.append(key)

    def sweep(self, now: int) -> None:
        """Forget what does not count any more."""
        while self._order and self._order[0] < now:
            for key in self._queues.pop(heapq.heappop(self._order)):
                del self._expiries[key]

    def _forget_one(self) -> None:
        earliest = self._order[0]
        queue = self._queues[earliest]
        del self._expiries[queue.popleft()]
        if not queue:
            heapq.heappop(self._order)
            del self._queues[earliest]


class ReplayCache:
    """The requests that were admitted: one cache for all connections of an inbound.

    Ask `seen` or `is_tainted` before a header is opened, and `admit` once it has authenticated;
    nothing that an unknown user sends is ever stored.

    Args:
        window: seconds that a request's time may differ from ours: `UserRegistry.window`.
        capacity: how many requests, how many sessions and how many tainted hashes are remembered
            at most; an entry of each kind takes some 200 bytes.
        history_seconds: how long sessions are remembered at least.

    Raises:
        ValueError: `window` or `history_seconds` is negative, or `capacity` below 1.
    """

    def __init__(
        self,
        *,
        window: int,
        capacity: int = DEFAULT_CAPACITY,
        history_seconds: int = SESSION_HISTORY_SECONDS,
    ) -> None:
        if window < 0 or history_seconds < 0:
            raise ValueError(
                f"window and history_seconds must not be negative: {window=}, {history_seconds=}"
            )
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity}")
        self._window = window
        self._history_seconds = history_seconds
        self._requests = _Memory(capacity)
        self._sessions = _Memory(capacity)
        self._tainted = _Memory(capacity)

    def __repr__(self) -> str:
        return (
            f"<ReplayCache of {len(self._requests)} requests, {len(self._sessions)} sessions, "
            f"{len(self._tainted)} tainted hashes>"
        )

    def __len__(self) -> int:
        """How many requests are remembered."""
        return len(self._requests)

    def seen(self, key: bytes, *, now: int) -> bool:
        """Tell whether a request with this key was admitted before.

        Args:
            key: an auth id, or the result of `legacy_key`.
            now: UTC seconds.
        """
        return self._requests.holds(key, now)

    def admit(self, *, key: bytes, session: bytes, timestamp: int, now: int) -> bool:
        """Admit a request, if this is the first time.

        Args:
            key: the auth id, or the result of `legacy_key`.
            session: the result of `session_key`.
            timestamp: the request's time, UTC seconds; within the window.
            now: UTC seconds.

        Returns:
            False if the key or the session was admitted before; then nothing changes.
        """
        if self._requests.holds(key, now) or self._sessions.holds(session, now):
            return False
        self._requests.add(key, self._last_second(timestamp), now)
        self._sessions.add(session, now + self._history_seconds, now)
        return True

    def taint(self, user_hash: bytes, *, timestamp: int, now: int) -> None:
        """Refuse a legacy user hash from now on: somebody probes us with broken headers under it.

        Args:
            user_hash: 16 bytes that were found in the registry.
            timestamp: the second that it stands for.
            now: UTC seconds.
        """
        if not self._tainted.holds(user_hash, now):
            self._tainted.add(user_hash, self._last_second(timestamp), now)

    def is_tainted(self, user_hash: bytes, *, now: int) -> bool:
        """Tell whether a legacy user hash was tainted; it is refused like an unknown one."""
        return self._tainted.holds(user_hash, now)

    def sweep(self, now: int) -> None:
        """Free the memory of what does not count any more.

        `admit` does this too; a timer is for servers that have become idle.
        """
        for memory in (self._requests, self._sessions, self._tainted):
            memory.sweep(now)

    def _last_second(self, timestamp: int) -> int:
        return timestamp + 2 * self._window
