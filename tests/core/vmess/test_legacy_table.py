import hashlib
import itertools
import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_vmess.core.vmess.account import Account
from trio_vmess.core.vmess.auth import derive_user_hash
from trio_vmess.core.vmess.legacy_eras import Era, Roster
from trio_vmess.core.vmess.legacy_table import (
    _FREED_BUCKETS,
    AHEAD_SECONDS,
    GROWTH_STEP,
    NOT_READY,
    SEARCH_BUDGET,
    LegacyTable,
)

NOW = 1_700_000_000
WINDOW = 120
VECTORS = pathlib.Path(__file__).parents[2] / "vectors"


def make_id(number: int) -> bytes:
    return hashlib.md5(b"%d" % number).digest()


def make_account(number: int) -> Account:
    return Account(user_id=make_id(number), alter_id_count=1, email=f"{number}@example.com")


def add_user(table: LegacyTable, number: int, id_count: int = 2) -> Account:
    """Give a user `id_count` ids: those of the numbers 1000 * number + 0, 1, ..."""
    account = make_account(number)
    table.add(account, [make_id(1000 * number + extra) for extra in range(id_count)])
    return account


def entry_bytes(table: LegacyTable) -> int:
    return sum(len(bucket) for era in table._eras.values() for bucket in era._buckets)


def prepare_fully(table: LegacyTable, now: int) -> None:
    for _ in range(10_000):
        if table.prepare(now, 1000):
            return
    pytest.fail("preparing does not come to an end")


def test_every_golden_user_hash_is_found_at_its_second() -> None:
    vectors = json.loads((VECTORS / "legacy_auth.json").read_text())["vectors"]
    assert len(vectors) >= 60
    for vector in vectors:
        table = LegacyTable(30)
        account = make_account(1)
        table.add(account, [bytes.fromhex(vector["id"])])
        auth, timestamp = bytes.fromhex(vector["auth"]), vector["timestamp"]
        assert table.find(auth, timestamp + 30) == (account, timestamp)
        assert table.find(auth, timestamp + 31) is None


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("window", [30, 120])
def test_each_second_of_the_window_and_no_other_is_accepted(window: int, prepared: bool) -> None:
    table = LegacyTable(window)
    account = add_user(table, 1, id_count=3)
    if prepared:
        prepare_fully(table, NOW)
    for offset in range(-window - 40, window + 41):
        user_hash = derive_user_hash(make_id(1001), NOW + offset)
        expected = (account, NOW + offset) if abs(offset) <= window else None
        assert table.find(user_hash, NOW) == expected


def test_a_second_that_was_prepared_ahead_is_not_accepted_early() -> None:
    table = LegacyTable(WINDOW)
    account = add_user(table, 1)
    prepare_fully(table, NOW)
    ahead = NOW + WINDOW + 1
    user_hash = derive_user_hash(make_id(1000), ahead)
    assert table.find(user_hash, NOW) is None
    assert table.find(user_hash, NOW + 1) == (account, ahead)


def test_a_search_builds_only_as_far_out_as_the_match_is() -> None:
    table = LegacyTable(WINDOW)
    add_user(table, 1)
    assert table.find(derive_user_hash(make_id(1000), NOW - 7), NOW) is not None
    built = entry_bytes(table)
    assert 0 < built <= 16 * 2 * 6
    assert table.find(bytes(16), NOW) is None
    assert entry_bytes(table) == (2 * WINDOW + 1) * 2 * 6


def test_prepare_keeps_to_its_budget_and_says_when_it_is_done() -> None:
    table = LegacyTable(30)
    add_user(table, 1, id_count=10)
    seconds = 2 * 30 + 1 + AHEAD_SECONDS
    done = []
    for call in range(1, 100):
        done.append(table.prepare(NOW, 7))
        assert entry_bytes(table) == min(7 * call, 10 * seconds) * 6
        if done[-1]:
            break
    # The last second may be full before the call that notices it.
    assert len(done) == -(-10 * seconds // 7)
    assert done[:-1] == [False] * (len(done) - 1)
    assert table.prepare(NOW, 0)
    assert not table.prepare(NOW + 1, 9)
    assert table.prepare(NOW + 1, 1)


def test_prepare_without_ids_has_nothing_to_do() -> None:
    table = LegacyTable(WINDOW)
    assert table.prepare(NOW, 0)
    assert table.find(bytes(16), NOW) is None
    assert not table._eras


def test_a_prepared_table_builds_nothing_during_a_search() -> None:
    table = LegacyTable(WINDOW)
    add_user(table, 1)
    prepare_fully(table, NOW)
    size = entry_bytes(table)
    for later in range(AHEAD_SECONDS + 1):
        assert table.find(bytes(16), NOW + later) is None
        assert entry_bytes(table) == size


def test_a_user_who_is_added_late_is_found_in_all_seconds() -> None:
    table = LegacyTable(WINDOW)
    add_user(table, 1)
    prepare_fully(table, NOW)
    account = add_user(table, 2)
    for offset in (0, 120, -120, 64, -33):
        user_hash = derive_user_hash(make_id(2001), NOW + offset)
        assert table.find(user_hash, NOW) == (account, NOW + offset)


def test_a_removed_user_is_gone_at_once_and_the_others_stay() -> None:
    table = LegacyTable(WINDOW)
    first, second = add_user(table, 1), add_user(table, 2)
    prepare_fully(table, NOW)
    table.remove(first.user_id)
    assert len(table) == 2
    assert table.find(derive_user_hash(make_id(1000), NOW), NOW) is None
    assert table.find(derive_user_hash(make_id(2000), NOW), NOW) == (second, NOW)
    table.remove(first.user_id)
    again = add_user(table, 1)
    assert table.find(derive_user_hash(make_id(1000), NOW), NOW) == (again, NOW)


def test_a_matching_fingerprint_alone_is_not_a_match() -> None:
    table = LegacyTable(WINDOW)
    add_user(table, 1)
    prepare_fully(table, NOW)
    true_hash = derive_user_hash(make_id(1000), NOW)
    for position in range(6, 16):
        forged = bytearray(true_hash)
        forged[position] ^= 1
        assert table.find(bytes(forged), NOW) is None


def test_a_true_entry_behind_false_ones_is_still_found() -> None:
    table = LegacyTable(WINDOW)
    account = add_user(table, 1)
    prepare_fully(table, NOW)
    true_hash = derive_user_hash(make_id(1001), NOW)
    # Entries that carry the same fingerprint, whole and across two entries, come before it.
    mark = true_hash[4:6]
    lies = (mark + bytes(4)) + (b"\xff" + mark + bytes(3)) + (bytes(2) + mark + mark)
    for era in table._eras.values():
        for bucket in era._buckets:
            bucket[:0] = lies
    assert table.find(true_hash, NOW) == (account, NOW)


def test_colliding_ids_in_one_crowded_bucket_are_told_apart() -> None:
    table = LegacyTable(30)
    # 40 000 entries share 65 536 fingerprints: thousands of them are equal.
    roster = Roster()
    era = Era(NOW & ~31, roster)
    assert len(era._buckets) == 4
    account = make_account(1)
    ids = [make_id(number) for number in range(1250)]
    table.add(account, ids)
    era.roster = table._roster
    for second in range(era.start, era.start + 32):
        era.build(second, len(ids))
    fingerprints = [
        (index, bytes(bucket[position : position + 2]))
        for index, bucket in enumerate(era._buckets)
        for position in range(0, len(bucket), 6)
    ]
    assert len(fingerprints) == 40_000
    assert len(set(fingerprints)) < 38_000
    for number, second in itertools.product(range(0, 1250, 25), range(era.start, era.start + 32)):
        user_hash = derive_user_hash(ids[number], second)
        assert era.find(user_hash, second, second) == (account, second)
        assert era.find(user_hash, second + 1, second + 31) is None


def test_an_era_that_outgrows_its_buckets_is_laid_out_anew() -> None:
    table = LegacyTable(30)
    add_user(table, 1)
    prepare_fully(table, NOW)
    account = add_user(table, 2, id_count=900)
    prepare_fully(table, NOW)
    assert table.find(derive_user_hash(make_id(2899), NOW - 30), NOW) == (account, NOW - 30)
    assert min(len(era._buckets) for era in table._eras.values()) >= 256


def test_removed_users_do_not_keep_their_slots_for_ever() -> None:
    table = LegacyTable(30)
    stayer = add_user(table, 0, id_count=5)
    now = NOW
    for number in range(1, 60):
        account = add_user(table, number, id_count=50)
        now += 1
        prepare_fully(table, now)
        user_hash = derive_user_hash(make_id(1000 * number + 49), now)
        assert table.find(user_hash, now) == (account, now)
        table.remove(account.user_id)
        assert table.find(user_hash, now) is None
    assert table.find(derive_user_hash(make_id(4), now), now) == (stayer, now)
    assert len(table) == 5
    # Without renumbering there would be 2955 slots.
    assert len(table._roster.owners) < 1500
    assert len(table._rosters) <= 4
    for _ in range(100):
        now += 1
        prepare_fully(table, now)
    assert entry_bytes(table) <= (61 + 32 + 31 + AHEAD_SECONDS) * 5 * 6


def test_removed_users_are_not_found_in_eras_with_an_old_numbering() -> None:
    table = LegacyTable(30)
    first, second = add_user(table, 1), add_user(table, 2)
    crowd = add_user(table, 3, id_count=1100)
    prepare_fully(table, NOW)
    table.remove(crowd.user_id)
    assert len(table._rosters) == 2
    table.remove(first.user_id)
    late = add_user(table, 4)
    for offset in (-30, 0, 30):
        timestamp = NOW + offset
        assert table.find(derive_user_hash(make_id(3000), timestamp), NOW) is None
        assert table.find(derive_user_hash(make_id(1000), timestamp), NOW) is None
        found = table.find(derive_user_hash(make_id(2000), timestamp), NOW)
        assert found == (second, timestamp)
        assert table.find(derive_user_hash(make_id(4001), timestamp), NOW) == (late, timestamp)
    prepare_fully(table, NOW + 100)
    assert len(table._rosters) == 1
    found = table.find(derive_user_hash(make_id(2000), NOW + 130), NOW + 100)
    assert found == (second, NOW + 130)


def test_a_numbering_that_no_era_uses_goes_at_once() -> None:
    table = LegacyTable(30)
    add_user(table, 1)
    table.remove(add_user(table, 2, id_count=1100).user_id)
    assert len(table._rosters) == 1
    assert len(table._roster.owners) == len(table) == 2


def test_after_a_step_of_the_clock_a_search_starts_at_now() -> None:
    for step in (150, -150):
        table = LegacyTable(WINDOW)
        account = add_user(table, 1)
        prepare_fully(table, NOW)
        now = NOW + step
        assert table.find(derive_user_hash(make_id(1000), now), now) == (account, now)
        new = range(NOW + 125, now + WINDOW) if step > 0 else range(now - WINDOW, NOW - WINDOW)
        covered = [
            second
            for era in table._eras.values()
            for second, count in enumerate(era.covered, era.start)
            if count and second in new
        ]
        assert covered == [now]


# Searches that have to wait -----------------------------------------------------------------------


def large_table() -> tuple[LegacyTable, Account]:
    """Return a table in which a search cannot build the window."""
    table = LegacyTable(WINDOW)
    account = add_user(table, 1, id_count=40)
    assert (2 * WINDOW + 1) * 40 > SEARCH_BUDGET
    return table, account


@pytest.mark.parametrize("step", [0, 3600, -3600, WINDOW])
def test_a_search_builds_nothing_of_a_large_table(step: int) -> None:
    table, _ = large_table()
    if step:
        prepare_fully(table, NOW)
    before = entry_bytes(table)
    for _ in range(3):
        assert table.find(bytes(16), NOW + step) is NOT_READY
    assert entry_bytes(table) <= before


def test_what_is_built_of_a_large_table_is_found_at_once() -> None:
    table, account = large_table()
    assert not table.prepare(NOW, 40 * 5)
    for offset in range(-2, 3):
        assert table.find(derive_user_hash(make_id(1039), NOW + offset), NOW) == (
            account,
            NOW + offset,
        )
    far = derive_user_hash(make_id(1039), NOW + 3)
    assert table.find(far, NOW) is NOT_READY
    prepare_fully(table, NOW)
    assert table.find(far, NOW) == (account, NOW + 3)
    assert table.find(bytes(16), NOW) is None


def test_a_search_completes_a_table_that_lacks_little() -> None:
    table, account = large_table()
    while table.find(bytes(16), NOW) is NOT_READY:
        assert not table.prepare(NOW, 1000)
    assert table.find(derive_user_hash(make_id(1000), NOW - WINDOW), NOW) == (
        account,
        NOW - WINDOW,
    )


def test_who_waits_is_called_when_the_ready_range_has_grown() -> None:
    table, _ = large_table()
    calls: list[int] = []
    radius = 0

    def note() -> None:
        calls.append(radius)

    for _ in range(2):
        calls.clear()
        is_ready = False
        while not is_ready:
            table.call_when_grown(note)
            # Two more seconds are ready: one each way.
            is_ready = table.prepare(NOW, 40 if radius == 0 else 80)
            radius += 1
        # Each call is for one notice; the last one is for the whole.
        assert calls[0] == GROWTH_STEP
        assert len(calls) == WINDOW // GROWTH_STEP + 1
        # A leap of the clock makes it start again.
        assert table.find(bytes(16), NOW + 7200) is NOT_READY
        radius = 0


def test_who_does_not_wait_any_more_is_not_called() -> None:
    table, _ = large_table()
    table.call_when_grown(lambda: pytest.fail("was called"))
    for callback in list(table._waiting):
        table.forget_call(callback)
        table.forget_call(callback)
    prepare_fully(table, NOW)


def test_a_user_who_is_added_to_a_large_table_waits_and_the_others_do_not() -> None:
    table, first = large_table()
    prepare_fully(table, NOW)
    second = add_user(table, 2, id_count=40)
    assert table.find(derive_user_hash(make_id(1000), NOW + 90), NOW) == (first, NOW + 90)
    late = derive_user_hash(make_id(2000), NOW + 90)
    assert table.find(late, NOW) is NOT_READY
    prepare_fully(table, NOW)
    assert table.find(late, NOW) == (second, NOW + 90)


def test_eras_that_have_gone_are_freed_in_parts() -> None:
    table = LegacyTable(30)
    for number in range(9):
        add_user(table, number, id_count=1000)
    for second in (NOW, NOW + 7200):
        table._era(second)
    count = sum(len(era._buckets) for era in table._eras.values())
    assert count > 2 * _FREED_BUCKETS
    table.find(bytes(16), NOW + 86_400)
    calls = 0
    while table._dropped:
        table.prepare(NOW + 86_400, 0)
        calls += 1
    assert count / _FREED_BUCKETS <= calls <= count / _FREED_BUCKETS + 2


def test_eras_that_nobody_frees_do_not_heap_up() -> None:
    table, _ = large_table()
    for leap in range(50):
        assert table.find(bytes(16), NOW + 7200 * leap) is NOT_READY
        table._era(NOW + 7200 * leap)
    assert len(table._dropped) <= 18


def test_clock_leaps_leave_no_eras_behind() -> None:
    table = LegacyTable(WINDOW)
    account = add_user(table, 1)
    for now in (NOW, NOW + 7200, NOW - 86_400, NOW + 100, NOW - 100, 0, 2**33, NOW):
        prepare_fully(table, now)
        assert len(table._eras) <= 9
        assert entry_bytes(table) <= (2 * WINDOW + 1 + 63 + AHEAD_SECONDS) * 2 * 6
        for offset in (-WINDOW, 0, WINDOW):
            user_hash = derive_user_hash(make_id(1001), now + offset)
            assert table.find(user_hash, now) == (account, now + offset)


def test_one_user_takes_a_few_kilobytes() -> None:
    table = LegacyTable(WINDOW)
    add_user(table, 1, id_count=5)
    prepare_fully(table, NOW)
    buckets = [bucket for era in table._eras.values() for bucket in era._buckets]
    assert sum(bucket.__sizeof__() for bucket in buckets) < 16_000


def test_more_ids_than_slots_are_refused_before_anything_changes() -> None:
    table = LegacyTable(WINDOW)
    account = add_user(table, 1)
    # A list of that length would take 128 MB.
    table._roster.owners = range((1 << 24) - 1)  # type: ignore[assignment]
    with pytest.raises(ValueError, match="16777216 ids"):
        add_user(table, 2)
    assert list(table._roster.slots) == [account.user_id]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "remove", "prepare", "tick", "step"]),
            st.integers(0, 4),
            st.integers(-200, 200),
            st.integers(-45, 45),
        ),
        max_size=40,
    )
)
def test_any_history_agrees_with_computing_all_hashes(
    life: list[tuple[str, int, int, int]],
) -> None:
    window = 30
    table = LegacyTable(window)
    present: dict[int, Account] = {}
    now = NOW
    for verb, number, amount, offset in life:
        match verb:
            case "add" if number not in present:
                present[number] = add_user(table, number)
            case "remove" if number in present:
                table.remove(present.pop(number).user_id)
            case "prepare":
                table.prepare(now, abs(amount))
            case "tick":
                now += 1
            case "step":
                now += amount
        for asked in range(5):
            user_hash = derive_user_hash(make_id(1000 * asked + 1), now + offset)
            known = asked in present and abs(offset) <= window
            assert table.find(user_hash, now) == ((present[asked], now + offset) if known else None)


def test_every_second_of_a_long_run_with_clock_steps() -> None:
    table = LegacyTable(30)
    account = add_user(table, 1)
    now = NOW
    for turn in range(600):
        now += {100: -20, 200: 45, 300: -3600, 400: 3500}.get(turn, 1)
        if turn % 3:
            table.prepare(now, 4)
        for offset in (-31, -30, -1, 0, 1, 30, 31):
            user_hash = derive_user_hash(make_id(1000), now + offset)
            expected = (account, now + offset) if abs(offset) <= 30 else None
            assert table.find(user_hash, now) == expected
