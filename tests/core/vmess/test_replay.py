import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_vmess.core.vmess.replay import (
    REPLAY_KEY_SIZE,
    SPAN_GAP,
    SPANS_MAX,
    ForgottenTimes,
    OwnMemory,
    ReplayCache,
    legacy_key,
    session_key,
)

NOW = 1_700_000_000
WINDOW = 120


def key_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


MANY = 1_000_000


def admit(cache: ReplayCache, number: int, *, timestamp: int = NOW, now: int = NOW) -> bool:
    """Let request `number` in, with a session of its own."""
    return cache.admit(
        key=key_of(number), session=b"session " + key_of(number), timestamp=timestamp, now=now
    )


def test_a_request_is_admitted_once() -> None:
    cache = ReplayCache(window=WINDOW)
    assert admit(cache, 1)
    assert not admit(cache, 1)
    assert admit(cache, 2)
    assert len(cache) == 2


def test_a_session_is_admitted_once_whatever_its_key() -> None:
    cache = ReplayCache(window=WINDOW)
    session = session_key(bytes(16), b"k" * 16, b"i" * 16)
    assert cache.admit(key=key_of(1), session=session, timestamp=NOW, now=NOW)
    assert not cache.admit(key=key_of(2), session=session, timestamp=NOW, now=NOW)
    # A refused request leaves no trace.
    assert len(cache) == 1
    assert cache.admit(key=key_of(2), session=b"another", timestamp=NOW, now=NOW)


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
        key = legacy_key(user_hash, body_key, iv)
        assert len(key) == REPLAY_KEY_SIZE
        admitted = cache.admit(
            key=key, session=session_key(user_id, body_key, iv), timestamp=NOW, now=NOW
        )
        assert admitted is fresh


@pytest.mark.parametrize("offset", [-WINDOW, 0, WINDOW])
def test_a_key_outlives_its_window_by_one_more(offset: int) -> None:
    cache = ReplayCache(window=WINDOW, history_seconds=0)
    timestamp = NOW + offset
    admit(cache, 1, timestamp=timestamp)
    last = timestamp + 2 * WINDOW
    for now in (timestamp + WINDOW, timestamp + WINDOW + 1, last):
        assert cache.sweep(now, count=MANY)
        assert len(cache) == 1
        assert not cache.is_forgotten(timestamp)
    cache.sweep(last + 1, count=MANY)
    assert len(cache) == 0


@pytest.mark.parametrize("back", [1, WINDOW, 3600, 10 * 365 * 86_400])
def test_no_request_is_admitted_twice_however_far_the_clock_is_set_back(back: int) -> None:
    cache = ReplayCache(window=WINDOW, history_seconds=0)
    assert admit(cache, 1)
    later = NOW + back
    assert admit(cache, 2, timestamp=later, now=later)
    cache.sweep(later, count=MANY)
    # The clock is set back to the time of the first request.
    assert not admit(cache, 1)
    # Seconds of which nothing was forgotten are as good as before.
    assert admit(cache, 3, timestamp=NOW + 1, now=NOW)


def test_a_time_is_forgotten_only_if_a_request_was() -> None:
    cache = ReplayCache(window=WINDOW)
    cache.sweep(NOW + 3600, count=MANY)
    assert not cache.memory.forgotten
    assert admit(cache, 1)
    cache.sweep(NOW + 3600, count=MANY)
    assert cache.is_forgotten(NOW)
    assert not cache.is_forgotten(NOW - 1)
    assert not cache.is_forgotten(NOW + 1)


def test_times_between_two_that_are_forgotten_stay_open() -> None:
    times = ForgottenTimes()
    for second in (NOW, NOW + SPAN_GAP, NOW + 10**6, NOW + 10**6 - 1):
        times.add(second)
    for second, forgotten in [
        (NOW - 1, False),
        (NOW, True),
        (NOW + 7, True),
        (NOW + SPAN_GAP, True),
        (NOW + SPAN_GAP + 1, False),
        (NOW + 10**6 - 2, False),
        (NOW + 10**6 - 1, True),
        (NOW + 10**6, True),
        (NOW + 10**6 + 1, False),
    ]:
        assert (second in times) is forgotten


def test_many_spans_become_fewer_and_nothing_is_remembered_again() -> None:
    times = ForgottenTimes()
    seconds = [NOW + 1000 * number for number in range(SPANS_MAX + 3)]
    for second in seconds:
        times.add(second)
    assert all(second in times for second in seconds)
    assert NOW + 500 in times
    assert seconds[-1] - 500 not in times


def test_only_sweeping_forgets() -> None:
    cache = ReplayCache(window=WINDOW)
    assert admit(cache, 1)
    assert admit(cache, 2, timestamp=NOW + 10**6, now=NOW + 10**6)
    assert not admit(cache, 1)
    assert len(cache) == 2


def test_sweeping_goes_by_slices_and_the_oldest_first() -> None:
    cache = ReplayCache(window=WINDOW, history_seconds=0)
    for number in range(10):
        assert admit(cache, number, timestamp=NOW - number)
    late = NOW + 1000
    assert [cache.sweep(late, count=4) for _ in range(4)] == [False, False, True, True]
    memory = OwnMemory()
    for number in range(10):
        memory.add(key_of(number), NOW - number)
    assert not memory.sweep(late, 3)
    assert [number for number in range(10) if key_of(number) in memory] == list(range(7))
    assert [number for number in range(12) if NOW - number in memory.forgotten] == [7, 8, 9]


def test_a_session_is_remembered_for_three_minutes() -> None:
    cache = ReplayCache(window=30)
    for now, admitted in [(NOW, True), (NOW + 180, False), (NOW + 181, True)]:
        cache.sweep(now, count=MANY)
        key = key_of(now)
        assert cache.admit(key=key, session=b"session", timestamp=now, now=now) is admitted


def test_a_tainted_hash_stays_tainted_as_long_as_it_could_come_in() -> None:
    cache = ReplayCache(window=WINDOW)
    cache.taint(key_of(1), timestamp=NOW)
    cache.taint(key_of(1), timestamp=NOW)
    assert cache.is_tainted(key_of(1))
    assert not cache.is_tainted(key_of(2))
    cache.sweep(NOW + 2 * WINDOW, count=MANY)
    assert cache.is_tainted(key_of(1))
    cache.sweep(NOW + 2 * WINDOW + 1, count=MANY)
    assert not cache.is_tainted(key_of(1))


def test_a_full_cache_forgets_what_expires_first() -> None:
    cache = ReplayCache(window=WINDOW, capacity=3)
    for number, timestamp in [(1, NOW + 5), (2, NOW - 5), (3, NOW), (4, NOW + 9), (5, NOW + 1)]:
        assert admit(cache, number, timestamp=timestamp)
    assert len(cache) == 3
    memory = cache.memory
    assert isinstance(memory, OwnMemory)
    assert [number for number in range(1, 6) if key_of(number) in memory] == [1, 4, 5]
    # A busy user must not lock out the others: what was crowded out closes no second.
    assert not cache.is_forgotten(NOW - 5)


def test_of_equal_expiries_the_oldest_is_forgotten_first() -> None:
    memory = OwnMemory(2)
    for number in range(5):
        assert memory.add(key_of(number), NOW)
    assert [number for number in range(5) if key_of(number) in memory] == [3, 4]


def test_taints_are_bounded_by_themselves() -> None:
    cache = ReplayCache(window=WINDOW, capacity=2)
    admit(cache, 0)
    for number in range(5):
        cache.taint(key_of(number), timestamp=NOW + number)
    assert [n for n in range(5) if cache.is_tainted(key_of(n))] == [3, 4]
    assert not admit(cache, 0)
    assert "2 tainted" in repr(cache)


@pytest.mark.parametrize(("window", "capacity", "history"), [(-1, 1, 0), (0, 0, 0), (0, 1, -1)])
def test_impossible_bounds_are_refused(window: int, capacity: int, history: int) -> None:
    with pytest.raises(ValueError, match=r"must not be negative|at least 1, not 0"):
        ReplayCache(window=window, capacity=capacity, history_seconds=history)


@attrs.define
class NaiveMemory:
    """What a memory should hold, by looking at everything every time."""

    capacity: int
    entries: list[tuple[int, bytes]] = attrs.field(factory=list)
    forgotten: set[int] = attrs.field(factory=set)

    def add(self, key: bytes, second: int) -> bool:
        if any(each == key for _, each in self.entries):
            return False
        if len(self.entries) >= self.capacity:
            self.entries.remove(min(self.entries, key=lambda entry: entry[0]))
        self.entries.append((second, key))
        return True

    def sweep(self, before: int, count: int) -> bool:
        for _ in range(count):
            gone = min(self.entries, key=lambda entry: entry[0], default=None)
            if gone is None or gone[0] >= before:
                break
            self.forgotten.add(gone[0])
            self.entries.remove(gone)
        return all(second >= before for second, _ in self.entries)


@given(
    st.integers(1, 6),
    st.lists(
        st.tuples(
            st.sampled_from(["add", "add", "sweep"]), st.integers(0, 8), st.integers(-30, 12)
        ),
        max_size=60,
    ),
)
def test_a_memory_agrees_with_a_naive_model(
    capacity: int, life: list[tuple[str, int, int]]
) -> None:
    memory, naive = OwnMemory(capacity), NaiveMemory(capacity)
    for verb, number, amount in life:
        if verb == "add":
            assert memory.add(key_of(number), NOW + amount) is naive.add(
                key_of(number), NOW + amount
            )
        else:
            assert memory.sweep(NOW + amount, number) is naive.sweep(NOW + amount, number)
        assert len(memory) == len(naive.entries)
        span = range(min(naive.forgotten, default=0), max(naive.forgotten, default=-1) + 1)
        for second in range(NOW - 40, NOW + 20):
            assert (second in memory.forgotten) is (second in span)
    for number in range(9):
        assert (key_of(number) in memory) is any(key_of(number) == key for _, key in naive.entries)


class SharedMemory(OwnMemory):
    """A memory that stands for one outside of the process."""


def test_two_caches_of_one_memory_admit_a_request_once() -> None:
    memory = SharedMemory()
    first, second = (ReplayCache(window=WINDOW, memory=memory) for _ in range(2))
    assert admit(first, 1)
    assert not admit(second, 1)
    assert admit(second, 2)
    assert not admit(first, 2)
