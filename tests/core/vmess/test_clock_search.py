"""Legacy headers that let nobody in: wrong clocks and wrong alter ids."""

import pytest

from tests.core.vmess.accounts import HOUR, LOVE, NAMELESS, NOW, OLD, make_account
from trio_vmess.core.vmess.account import Account
from trio_vmess.core.vmess.auth import derive_user_hash
from trio_vmess.core.vmess.clock_search import ClockSearch
from trio_vmess.core.vmess.diagnosis import Diagnosis
from trio_vmess.core.vmess.users import UserRegistry
from trio_vmess.errors import Refusal


def run(search: ClockSearch, budget: int = 10_000) -> int:
    """Run a search to its end; returns in how many steps."""
    for steps in range(1, 100_000):
        if search.step(budget):
            return steps
    pytest.fail("the search does not come to an end")


@pytest.mark.parametrize(
    ("id_number", "offset"),
    [
        *(
            (0, 121),
            (0, -121),
            (3, 300),
            (4, -900),
            (1, HOUR + 29),
            (1, HOUR + 36),
            (1, -HOUR - 29),
            (2, -8 * HOUR),
        ),
        *((1, 14 * HOUR + 120), (4, -14 * HOUR - 120), (0, 9 * HOUR + HOUR // 2), (1, -1800)),
    ],
)
def test_wrong_clocks_under_legacy_headers_are_found(id_number: int, offset: int) -> None:
    registry = UserRegistry([LOVE, OLD])
    user_hash = derive_user_hash((OLD.user_id, *OLD.alter_ids)[id_number], NOW + offset)
    assert registry.find_user_hash(user_hash, now=NOW) is None
    search = ClockSearch(registry, user_hash, NOW)
    run(search)
    assert search.found is not None
    assert search.found.reason is Refusal.CLOCK_SKEW
    assert (search.found.account, search.found.clock_offset) == (OLD, offset)
    assert ("time zone" in search.found.message) == (abs(offset) >= 1800)


@pytest.mark.parametrize("id_number", [0, 1, 2, 64])
@pytest.mark.parametrize("offset", [0, 30, 36, -36, 120, -120])
def test_a_legacy_header_of_a_user_without_alter_ids(id_number: int, offset: int) -> None:
    client_side = Account(user_id=LOVE.user_id, alter_id_count=64)
    chosen = (LOVE.user_id, *client_side.alter_ids)[id_number]
    search = ClockSearch(UserRegistry([LOVE, OLD]), derive_user_hash(chosen, NOW + offset), NOW)
    run(search)
    assert search.found == Diagnosis(
        reason=Refusal.WRONG_FORM,
        message="user love@example.com: a legacy header from a user whose alterId is 0 here; "
        "set the same alterId on both sides",
        account=LOVE,
    )


@pytest.mark.parametrize("number", [5, 64])
def test_an_alter_id_beyond_the_users_number(number: int) -> None:
    client_side = Account(user_id=OLD.user_id, alter_id_count=64)
    user_hash = derive_user_hash(client_side.alter_ids[number - 1], NOW)
    search = ClockSearch(UserRegistry([LOVE, OLD]), user_hash, NOW)
    run(search)
    assert search.found is not None
    assert search.found.reason is Refusal.WRONG_FORM
    assert f"under alter id {number}, but the user's alterId is 4 here" in search.found.message


def test_wrong_clocks_are_found_under_main_ids_too() -> None:
    registry = UserRegistry([LOVE], legacy_without_alter_ids=True)
    search = ClockSearch(registry, derive_user_hash(LOVE.user_id, NOW - 700), NOW)
    run(search)
    assert search.found is not None
    assert search.found.clock_offset == -700


def test_the_size_of_the_slices_does_not_matter() -> None:
    registry = UserRegistry([LOVE, OLD, NAMELESS])
    user_hash = derive_user_hash(NAMELESS.alter_ids[1], NOW + 250)
    results = []
    for budget in (1, 100, 10**9):
        search = ClockSearch(registry, user_hash, NOW)
        steps = run(search, budget)
        results.append(search.found)
        assert (steps == 1) == (budget == 10**9)
        assert search.step(budget)
    assert results[0] is not None
    assert results == results[:1] * 3


def test_the_search_for_an_unknown_hash_is_bounded() -> None:
    search = ClockSearch(UserRegistry([LOVE, OLD]), bytes(16), NOW, max_hmacs=20_000)
    assert run(search, 500) <= 41
    assert search.found is None
    search = ClockSearch(UserRegistry(), bytes(16), NOW)
    assert run(search) == 1
    assert search.found is None
    search = ClockSearch(UserRegistry([OLD]), bytes(16), NOW)
    run(search)
    assert search.found is None


def test_many_users_without_alter_ids_do_not_hide_a_wrong_clock() -> None:
    crowd = [make_account(number, 0) for number in range(100, 400)]
    registry = UserRegistry([*crowd, OLD])
    search = ClockSearch(registry, derive_user_hash(OLD.user_id, NOW + 200), NOW, max_hmacs=20_000)
    run(search)
    assert search.found is not None
    assert search.found.account is OLD
