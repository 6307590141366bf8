import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_vmess.core.vmess.replay import ReplayCache, legacy_key, session_key

NOW = 1_700_000_000
WINDOW = 120


def key_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def admit(cache: ReplayCache, number: int, *, timestamp: int = NOW, now: int = NOW) -> bool:
    """Let request `number` in, with a session of its own."""
    return cache.admit(
        key=key_of(number), session=b"session " + key_of(number), timestamp=timestamp, now=now
    )


def test_a_request_is_admitted_once() -> None:
    cache = ReplayCache(window=WINDOW)
    assert not cache.seen(key_of(1), now=NOW)
    assert admit(cache, 1)
    assert cache.seen(key_of(1), now=NOW)
    assert not admit(cache, 1)
    assert admit(cache, 2)
    assert len(cache) == 2


def test_a_session_is_admitted_once_whatever_its_key() -> None:
    cache = ReplayCache(window=WINDOW)
    session = session_key(bytes(16), b"k" * 16, b"i" * 16)
    assert cache.admit(key=key_of(1), session=session, timestamp=NOW, now=NOW)
    assert not cache.admit(key=key_of(2), session=session, timestamp=NOW, now=NOW)
    # A refused request leaves no trace.
    assert not cache.seen(key_of(2), now=NOW)


def test_a_key_is_admitted_once_whatever_its_session() -> None:
    cache = ReplayCache(window=WINDOW)
    assert cache.admit(key=key_of(1), session=b"one", timestamp=NOW, now=NOW)
    assert not cache.admit(key=key_of(1), session=b"two", timestamp=NOW, now=NOW)
    # A refused request leaves no session either.
    assert cache.admit(key=key_of(2), session=b"two", timestamp=NOW, now=NOW)


def test_a_repeated_user_hash_alone_is_no_replay() -> None:
    cache = ReplayCache(window=WINDOW)
    user_id, user_hash, iv = b"u" * 16, b"h" * 16, b"i" * 16
    for body_key, fresh in [(b"a" * 16, True), (b"b" * 16, True), (b"a" * 16, False)]:
        admitted = cache.admit(
            key=legacy_key(user_hash, body_key, iv),
            session=session_key(user_id, body_key, iv),
            timestamp=NOW,
            now=NOW,
        )
        assert admitted is fresh


@pytest.mark.parametrize("offset", [-WINDOW, 0, WINDOW])
def test_a_key_outlives_its_window_by_one_more(offset: int) -> None:
    cache = ReplayCache(window=WINDOW)
    timestamp = NOW + offset
    admit(cache, 1, timestamp=timestamp)
    last = timestamp + 2 * WINDOW
    for now in (timestamp + WINDOW, timestamp + WINDOW + 1, last):
        cache.sweep(now)
        assert cache.seen(key_of(1), now=now)
    assert not cache.seen(key_of(1), now=last + 1)
    cache.sweep(last + 1)
    assert len(cache) == 0


def test_a_clock_set_back_by_a_window_admits_no_replay() -> None:
    cache = ReplayCache(window=WINDOW)
    admit(cache, 1)
    # The request leaves the window, others come, and the clock is set back.
    admit(cache, 2, timestamp=NOW + 240, now=NOW + 240)
    assert not admit(cache, 1, timestamp=NOW, now=NOW + 120)


def test_a_session_is_remembered_for_three_minutes() -> None:
    cache = ReplayCache(window=30)
    for now, admitted in [(NOW, True), (NOW + 180, False), (NOW + 181, True)]:
        cache.sweep(now)
        key = key_of(now)
        assert cache.admit(key=key, session=b"session", timestamp=now, now=now) is admitted


def test_a_tainted_hash_stays_tainted_as_long_as_it_could_come_in() -> None:
    cache = ReplayCache(window=WINDOW)
    cache.taint(key_of(1), timestamp=NOW, now=NOW)
    cache.taint(key_of(1), timestamp=NOW, now=NOW + 1)
    assert cache.is_tainted(key_of(1), now=NOW)
    assert not cache.is_tainted(key_of(2), now=NOW)
    assert not cache.seen(key_of(1), now=NOW)
    cache.sweep(NOW + WINDOW)
    assert cache.is_tainted(key_of(1), now=NOW + WINDOW)
    cache.sweep(NOW + 2 * WINDOW + 1)
    assert not cache.is_tainted(key_of(1), now=NOW)


def test_a_full_cache_forgets_what_expires_first() -> None:
    cache = ReplayCache(window=WINDOW, capacity=3)
    for number, timestamp in [(1, NOW + 5), (2, NOW - 5), (3, NOW), (4, NOW + 9), (5, NOW + 1)]:
        assert admit(cache, number, timestamp=timestamp)
    assert len(cache) == 3
    assert [number for number in range(1, 6) if cache.seen(key_of(number), now=NOW)] == [1, 4, 5]


def test_of_equal_expiries_the_oldest_is_forgotten_first() -> None:
    cache = ReplayCache(window=WINDOW, capacity=2)
    for number in range(5):
        assert admit(cache, number)
    assert [number for number in range(5) if cache.seen(key_of(number), now=NOW)] == [3, 4]


def test_taints_are_bounded_by_themselves() -> None:
    cache = ReplayCache(window=WINDOW, capacity=2)
    admit(cache, 0)
    for number in range(5):
        cache.taint(key_of(number), timestamp=NOW + number, now=NOW)
    assert [n for n in range(5) if cache.is_tainted(key_of(n), now=NOW)] == [3, 4]
    assert cache.seen(key_of(0), now=NOW)
    assert "2 tainted" in repr(cache)


def test_admitting_frees_expired_entries() -> None:
    cache = ReplayCache(window=WINDOW)
    for second in range(2000):
        now = NOW + second
        assert admit(cache, second, timestamp=now, now=now)
        assert len(cache) <= 2 * WINDOW + 1
    assert "181 sessions" in repr(cache)


@pytest.mark.parametrize(("window", "capacity", "history"), [(-1, 1, 0), (0, 0, 0), (0, 1, -1)])
def test_impossible_bounds_are_refused(window: int, capacity: int, history: int) -> None:
    with pytest.raises(ValueError, match=r"must not be negative|at least 1, not 0"):
        ReplayCache(window=window, capacity=capacity, history_seconds=history)


@attrs.define
class NaiveMemory:
    """What the cache should hold, by looking at everything every time."""

    capacity: int
    entries: list[tuple[int, bytes]] = attrs.field(factory=list)

    def holds(self, key: bytes, now: int) -> bool:
        return any(each == key and now <= expiry for expiry, each in self.entries)

    def add(self, key: bytes, expiry: int, now: int) -> None:
        self.sweep(now)
        if expiry < now:
            return
        if len(self.entries) >= self.capacity:
            self.entries.remove(min(self.entries, key=lambda entry: entry[0]))
        self.entries.append((expiry, key))

    def sweep(self, now: int) -> None:
        self.entries = [entry for entry in self.entries if entry[0] >= now]


@given(
    st.integers(1, 6),
    st.lists(
        st.tuples(
            st.sampled_from(["admit", "admit", "taint", "sweep", "step"]),
            st.integers(0, 8),
            st.integers(0, 8),
            st.integers(-30, 12),
        ),
        max_size=60,
    ),
)
def test_it_agrees_with_a_naive_model(capacity: int, life: list[tuple[str, int, int, int]]) -> None:
    window, history = 10, 15
    cache = ReplayCache(window=window, capacity=capacity, history_seconds=history)
    requests, sessions, tainted = (NaiveMemory(capacity) for _ in range(3))
    now = NOW
    for verb, first, second, amount in life:
        key, session, timestamp = key_of(first), key_of(100 + second), now + amount
        expiry = timestamp + 2 * window
        match verb:
            case "admit":
                fresh = not (requests.holds(key, now) or sessions.holds(session, now))
                admitted = cache.admit(key=key, session=session, timestamp=timestamp, now=now)
                assert admitted is fresh
                if fresh:
                    requests.add(key, expiry, now)
                    sessions.add(session, now + history, now)
            case "taint":
                cache.taint(key, timestamp=timestamp, now=now)
                if not tainted.holds(key, now):
                    tainted.add(key, expiry, now)
            case "sweep":
                cache.sweep(now)
                for memory in (requests, sessions, tainted):
                    memory.sweep(now)
            case "step":
                now += amount
        for number in range(9):
            assert cache.seen(key_of(number), now=now) is requests.holds(key_of(number), now)
            assert cache.is_tainted(key_of(number), now=now) is tainted.holds(key_of(number), now)
    assert len(cache) == len(requests.entries)
    for number in range(9):
        # A key that was never used: whether it is admitted depends on the session alone.
        key, session = b"fresh " + key_of(number), key_of(100 + number)
        fresh = not sessions.holds(session, now)
        assert cache.admit(key=key, session=session, timestamp=now, now=now) is fresh
        if fresh:
            sessions.add(session, now + history, now)
