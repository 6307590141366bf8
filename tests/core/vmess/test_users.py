import hashlib
import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_vmess.core.crypto import aes_block_decryptor
from trio_vmess.core.vmess.account import Account
from trio_vmess.core.vmess.auth import (
    derive_auth_id_key,
    derive_user_hash,
    read_auth_time,
    seal_auth_id,
)
from trio_vmess.core.vmess.users import (
    RECENT_USERS_MAX,
    SOURCES_MAX,
    AuthMatch,
    UserRegistry,
)

NOW = 1_700_000_000
VECTORS = pathlib.Path(__file__).parents[2] / "vectors"


def make_account(number: int, *, alter_id_count: int = 0, email: str = "") -> Account:
    user_id = hashlib.md5(b"user %d" % number).digest()
    return Account(user_id=user_id, alter_id_count=alter_id_count, email=email)


def make_auth_id(account: Account, timestamp: int, random: bytes = b"1234") -> bytes:
    return seal_auth_id(derive_auth_id_key(account.cmd_key), timestamp, random)


ALICE = make_account(1, email="Alice@example.com")
BOB = make_account(2, alter_id_count=4, email="bob@example.com")


# Time -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("skew", "window"), [(90, 120), (0, 30), (0.9, 30), (3600, 3630)])
def test_the_window_includes_the_jitter_and_its_edges(skew: float, window: int) -> None:
    registry = UserRegistry([ALICE, BOB], max_clock_skew=skew)
    assert registry.window == window
    assert registry.prepare(NOW, budget=10**6)
    for offset, good in [(window, True), (window + 1, False), (0, True)]:
        for timestamp in (NOW + offset, NOW - offset):
            assert registry.accepts(timestamp, NOW) is good
            match = registry.find_auth_id(make_auth_id(ALICE, timestamp), now=NOW)
            # What is stale is found as well, for the log.
            assert match == AuthMatch(account=ALICE, timestamp=timestamp)
            found = registry.find_user_hash(derive_user_hash(BOB.alter_ids[0], timestamp), now=NOW)
            expected = AuthMatch(account=BOB, timestamp=timestamp) if good else None
            assert found == expected


@pytest.mark.parametrize("skew", [-1, float("nan"), float("inf")])
def test_an_invalid_clock_skew_is_refused(skew: float) -> None:
    with pytest.raises(ValueError, match="max_clock_skew"):
        UserRegistry(max_clock_skew=skew)


# Membership -------------------------------------------------------------------------------------


def test_it_is_a_collection_of_accounts_in_their_order() -> None:
    registry = UserRegistry([BOB, ALICE])
    assert (len(registry), list(registry)) == (2, [BOB, ALICE])
    assert ALICE.user_id in registry
    assert registry.remove(BOB.user_id) is BOB
    assert (len(registry), list(registry)) == (1, [ALICE])
    assert BOB.user_id not in registry
    with pytest.raises(KeyError):
        registry.remove(BOB.user_id)


def test_emails_are_looked_up_in_any_case() -> None:
    registry = UserRegistry([ALICE])
    assert registry.find_by_email("aLICE@EXAMPLE.com") is ALICE
    assert registry.find_by_email("bob@example.com") is None
    registry.remove(ALICE.user_id)
    assert registry.find_by_email("alice@example.com") is None


def test_a_second_user_with_the_same_id_or_email_is_refused() -> None:
    registry = UserRegistry([ALICE])
    with pytest.raises(ValueError, match="same id"):
        registry.add(Account(user_id=ALICE.user_id, alter_id_count=3))
    with pytest.raises(ValueError, match="same email"):
        registry.add(make_account(7, alter_id_count=3, email="ALICE@example.com"))
    assert list(registry) == [ALICE]
    assert registry.legacy_id_count == 0


def test_users_without_email_do_not_collide() -> None:
    registry = UserRegistry([make_account(1), make_account(2)])
    assert len(registry) == 2
    assert registry.find_by_email("") is None


def test_adding_and_removing_take_effect_in_the_same_tick_on_both_paths() -> None:
    registry = UserRegistry([ALICE])
    while not registry.prepare(NOW, budget=100):
        pass
    auth_id = make_auth_id(BOB, NOW)
    hashes = [derive_user_hash(id_, NOW + 5) for id_ in (BOB.user_id, *BOB.alter_ids)]
    for _ in range(2):
        assert registry.find_auth_id(auth_id, now=NOW, source="::1") is None
        assert [registry.find_user_hash(each, now=NOW) for each in hashes] == [None] * 5
        registry.add(BOB)
        found = AuthMatch(account=BOB, timestamp=NOW)
        assert registry.find_auth_id(auth_id, now=NOW, source="::1") == found
        found = AuthMatch(account=BOB, timestamp=NOW + 5)
        assert [registry.find_user_hash(each, now=NOW) for each in hashes] == [found] * 5
        registry.remember("::1", BOB)
        registry.remove(BOB.user_id)


# AEAD -------------------------------------------------------------------------------------------


def test_every_golden_auth_id_is_found() -> None:
    vectors = json.loads((VECTORS / "auth_id.json").read_text())["vectors"]
    ids = {vector["uuid"] for vector in vectors}
    accounts = {text: Account(user_id=bytes.fromhex(text.replace("-", ""))) for text in ids}
    registry = UserRegistry(accounts.values())
    checked = 0
    for vector in vectors:
        timestamp = vector["timestamp"]
        if not 0 <= timestamp < 1 << 40:
            continue
        match = registry.find_auth_id(bytes.fromhex(vector["auth_id"]), now=NOW)
        assert match == AuthMatch(account=accounts[vector["uuid"]], timestamp=timestamp)
        checked += 1
    assert checked >= 20


def test_each_of_many_users_is_found_wherever_the_user_stands() -> None:
    accounts = [make_account(number) for number in range(600)]
    registry = UserRegistry(accounts)
    for account in accounts:
        match = registry.find_auth_id(make_auth_id(account, NOW), now=NOW)
        assert match is not None
        assert match.account is account
    for account in accounts[::7]:
        registry.remove(account.user_id)
    for number, account in enumerate(accounts):
        match = registry.find_auth_id(make_auth_id(account, NOW), now=NOW)
        assert (match is None) == (number % 7 == 0)


def test_an_auth_id_of_an_unknown_user_has_no_match() -> None:
    registry = UserRegistry([ALICE, BOB])
    assert registry.find_auth_id(make_auth_id(make_account(3), NOW), now=NOW) is None


@pytest.mark.parametrize("timestamp", [-1, 1 << 40, -(1 << 63)])
def test_an_impossible_time_in_an_auth_id_is_not_a_match(timestamp: int) -> None:
    registry = UserRegistry([ALICE])
    registry.remember("::1", ALICE)
    auth_id = make_auth_id(ALICE, timestamp)
    plain = aes_block_decryptor(derive_auth_id_key(ALICE.cmd_key)).update(auth_id)
    assert read_auth_time(plain) == timestamp
    for source in (None, "::1"):
        assert registry.find_auth_id(auth_id, now=NOW, source=source) is None


def test_no_flipped_bit_of_an_auth_id_is_taken_for_a_time() -> None:
    registry = UserRegistry([ALICE])
    auth_id = int.from_bytes(make_auth_id(ALICE, NOW), "big")
    for bit in range(128):
        flipped = (auth_id ^ 1 << bit).to_bytes(16, "big")
        assert registry.find_auth_id(flipped, now=NOW) is None


class CraftedUsers:
    """A registry whose users' keys are replaced by what they decrypt everything to."""

    def __init__(self, plains: list[bytes]) -> None:
        self.accounts = [make_account(number) for number in range(len(plains))]
        self.registry = UserRegistry(self.accounts)
        for index, plain in enumerate(plains):
            self.registry._decrypts[index] = lambda _sealed, plain=plain: plain


def plain_auth_id(timestamp: int) -> bytes:
    key = bytes(16)
    return aes_block_decryptor(key).update(seal_auth_id(key, timestamp, b"abcd"))


def test_the_search_goes_on_behind_a_user_whose_time_is_stale() -> None:
    wrong, stale, later_stale, good = (
        bytes(16),
        plain_auth_id(NOW - 500),
        plain_auth_id(NOW + 900),
        plain_auth_id(NOW + 1),
    )
    crafted = CraftedUsers([wrong, stale, later_stale, wrong, good])
    match = crafted.registry.find_auth_id(bytes(16), now=NOW)
    assert match == AuthMatch(account=crafted.accounts[4], timestamp=NOW + 1)
    crafted = CraftedUsers([wrong, stale, later_stale, wrong])
    match = crafted.registry.find_auth_id(bytes(16), now=NOW)
    assert match == AuthMatch(account=crafted.accounts[1], timestamp=NOW - 500)


def test_a_time_across_two_decrypted_blocks_is_not_a_match() -> None:
    good = plain_auth_id(NOW)
    crafted = CraftedUsers([b"\1" * 8 + good[:8], good[8:] + b"\1" * 8])
    assert crafted.registry.find_auth_id(bytes(16), now=NOW) is None


def test_zeros_across_two_decrypted_blocks_do_not_hide_a_match() -> None:
    good = plain_auth_id(NOW)
    crafted = CraftedUsers([b"\1" * 14 + bytes(2), bytes(1) + b"\1" * 15, bytes(16), good])
    match = crafted.registry.find_auth_id(bytes(16), now=NOW)
    assert match == AuthMatch(account=crafted.accounts[3], timestamp=NOW)


@pytest.mark.parametrize("size", [0, 15, 17])
def test_an_auth_id_of_another_length_is_a_value_error(size: int) -> None:
    registry = UserRegistry([BOB])
    with pytest.raises(ValueError, match="16 bytes"):
        registry.find_auth_id(bytes(size), now=NOW)
    with pytest.raises(ValueError, match="16 bytes"):
        registry.find_user_hash(bytes(size), now=NOW)


# What is remembered -----------------------------------------------------------------------------


def without_scan(registry: UserRegistry) -> UserRegistry:
    """Leave a registry only what it remembers."""
    registry._decrypts.clear()
    return registry


def test_the_user_of_a_source_is_tried_first() -> None:
    accounts = [make_account(number) for number in range(RECENT_USERS_MAX + 8)]
    registry = UserRegistry(accounts)
    registry.remember("192.0.2.1", accounts[0])
    for account in accounts[1:]:
        registry.remember("192.0.2.2", account)
    without_scan(registry)
    auth_id = make_auth_id(accounts[0], NOW)
    assert registry.find_auth_id(auth_id, now=NOW) is None
    match = registry.find_auth_id(auth_id, now=NOW, source="192.0.2.1")
    assert match is not None
    assert match.account is accounts[0]


def test_recent_users_are_tried_first_from_any_source() -> None:
    accounts = [make_account(number) for number in range(RECENT_USERS_MAX + 8)]
    registry = UserRegistry(accounts)
    for account in (*accounts, accounts[8]):
        registry.remember("192.0.2.1", account)
    newest = make_account(len(accounts))
    registry.add(newest)
    registry.remember("192.0.2.1", newest)
    without_scan(registry)
    found = [
        registry.find_auth_id(make_auth_id(account, NOW), now=NOW, source="192.0.2.9") is not None
        for account in accounts
    ]
    assert found == [False] * 8 + [True, False] + [True] * (RECENT_USERS_MAX - 2)


def test_two_users_behind_one_address_are_both_found() -> None:
    registry = UserRegistry([ALICE, BOB])
    for account in (ALICE, BOB, ALICE):
        match = registry.find_auth_id(make_auth_id(account, NOW), now=NOW, source="192.0.2.1")
        assert match is not None
        assert match.account is account
        registry.remember("192.0.2.1", account)


def test_sources_are_bounded_and_the_least_recent_goes() -> None:
    registry = UserRegistry([ALICE])
    for number in range(SOURCES_MAX):
        registry.remember(str(number), ALICE)
    registry.remember("0", ALICE)
    registry.remember("one more", ALICE)
    assert len(registry._sources) == SOURCES_MAX
    assert "0" in registry._sources
    assert "1" not in registry._sources


def test_a_lookup_changes_nothing() -> None:
    registry = UserRegistry([ALICE])
    registry.find_auth_id(make_auth_id(ALICE, NOW), now=NOW, source="192.0.2.1")
    registry.find_auth_id(bytes(16), now=NOW, source="192.0.2.2")
    assert not registry._sources
    assert not registry._recent


def test_a_removed_user_is_not_remembered() -> None:
    registry = UserRegistry([ALICE, BOB])
    registry.remember("192.0.2.1", ALICE)
    registry.remove(ALICE.user_id)
    registry.remember("192.0.2.3", ALICE)
    assert registry.find_auth_id(make_auth_id(ALICE, NOW), now=NOW, source="192.0.2.1") is None
    assert not registry._sources
    successor = Account(user_id=ALICE.user_id, email="new@example.com")
    registry.remember("192.0.2.1", BOB)
    registry.add(successor)
    match = registry.find_auth_id(make_auth_id(ALICE, NOW), now=NOW, source="192.0.2.1")
    assert match is not None
    assert match.account is successor


# Legacy -----------------------------------------------------------------------------------------


def test_a_user_without_alter_ids_has_no_legacy_header() -> None:
    registry = UserRegistry([ALICE, BOB])
    assert not registry.accepts_legacy(ALICE)
    assert registry.accepts_legacy(BOB)
    assert registry.legacy_id_count == 5
    assert registry.find_user_hash(derive_user_hash(ALICE.user_id, NOW), now=NOW) is None


def test_main_ids_authenticate_where_alter_ids_are_optional() -> None:
    registry = UserRegistry([ALICE, BOB], legacy_without_alter_ids=True)
    assert registry.accepts_legacy(ALICE)
    assert registry.legacy_id_count == 6
    for account in (ALICE, BOB):
        match = registry.find_user_hash(derive_user_hash(account.user_id, NOW), now=NOW)
        assert match == AuthMatch(account=account, timestamp=NOW)


def test_the_number_of_alter_ids_is_the_servers() -> None:
    registry = UserRegistry([BOB])
    wider = Account(user_id=BOB.user_id, alter_id_count=6)
    for number, alter_id in enumerate(wider.alter_ids):
        match = registry.find_user_hash(derive_user_hash(alter_id, NOW), now=NOW)
        assert (match is not None) == (number < 4)


ACCOUNTS = [make_account(number, alter_id_count=number % 3) for number in range(5)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "remove", "remember", "prepare", "step"]),
            st.integers(0, 4),
            st.integers(-70, 70),
            st.integers(-33, 33),
        ),
        max_size=30,
    )
)
def test_any_history_agrees_with_a_naive_model(life: list[tuple[str, int, int, int]]) -> None:
    registry = UserRegistry(max_clock_skew=0)
    present: dict[bytes, Account] = {}
    now = NOW
    for verb, number, amount, offset in life:
        account = ACCOUNTS[number]
        match verb:
            case "add" if account.user_id not in present:
                registry.add(account)
                present[account.user_id] = account
            case "remove" if account.user_id in present:
                registry.remove(account.user_id)
                del present[account.user_id]
            case "remember":
                registry.remember(str(amount % 3), account)
            case "prepare":
                registry.prepare(now, budget=abs(amount))
            case "step":
                now += amount
        timestamp = now + offset
        for asked in ACCOUNTS:
            known = asked.user_id in present
            match = AuthMatch(account=asked, timestamp=timestamp)
            for source in (None, "0", "1"):
                found = registry.find_auth_id(
                    make_auth_id(asked, timestamp), now=now, source=source
                )
                assert found == (match if known else None)
            for each in (asked.user_id, *asked.alter_ids):
                found = registry.find_user_hash(derive_user_hash(each, timestamp), now=now)
                good = known and asked.alter_id_count > 0 and abs(offset) <= 30
                assert found == (match if good else None)
    assert set(registry) == set(present.values())
