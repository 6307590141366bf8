import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_vmess.core.vmess.account import Account
from trio_vmess.core.vmess.auth import derive_auth_id_key, derive_user_hash, seal_auth_id
from trio_vmess.core.vmess.refusal import (
    ClockSearch,
    Diagnosis,
    aead_not_spoken,
    diagnose,
    recognise,
)
from trio_vmess.core.vmess.users import AuthMatch, UserRegistry
from trio_vmess.errors import AuthenticationError, Refusal

NOW = 1_700_000_000
HOUR = 3600


def make_account(number: int, alter_id_count: int, email: str = "") -> Account:
    user_id = hashlib.md5(b"user %d" % number).digest()
    return Account(user_id=user_id, alter_id_count=alter_id_count, email=email)


LOVE = make_account(1, 0, "love@example.com")
OLD = make_account(2, 4, "old@example.com")
NAMELESS = make_account(3, 2)


def make_auth_id(account: Account, timestamp: int) -> bytes:
    return seal_auth_id(derive_auth_id_key(account.cmd_key), timestamp, b"1234")


# Foreign protocols ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bytes.fromhex("160301020001 0001fc0303 0102030405"), "a TLS ClientHello"),
        (bytes.fromhex("160303007f01 00"), "a TLS ClientHello"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", "an HTTP request"),
        (b"CONNECT example.", "an HTTP request"),
        (b"PRI * HTTP/2.0\r\n", "an HTTP request"),
        (b"SSH-2.0-OpenSSH_9.6", "an SSH banner"),
        (b"PROXY TCP4 192.0", "a PROXY protocol v1 header"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", "a PROXY protocol v2 header"),
        (b"\5\1\0", "a SOCKS5 greeting"),
        (b"\5\2\0\2", "a SOCKS5 greeting"),
        (b"\5\1\0\5\1\0\1\x7f\0\0\1\0\x50", "a SOCKS5 greeting"),
        (b"\5\1\2\1\4user\4pass", "a SOCKS5 greeting"),
        (b"\4\1\0\x50\x7f\0\0\1\0", "a SOCKS4 request"),
        (b"\4\2\0\x50\0\0\0\1root\0example", "a SOCKS4 request"),
    ],
)
def test_protocols_that_stray_are_named(data: bytes, words: str) -> None:
    assert recognise(data) == words
    found = diagnose(data, UserRegistry([LOVE]), now=NOW)
    assert found.reason is Refusal.FOREIGN_PROTOCOL
    assert found.message.startswith(f"this is {words}, not VMess; ")
    assert (found.account, found.clock_offset) == (None, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x16",
        b"\x16\x03\x01",
        bytes.fromhex("160302000002 0001fc0303 0102030405"),
        bytes.fromhex("160502000001 0001fc0303 0102030405"),
        b"GETTING / around",
        b"\5\1",
        b"\5\0\0",
        b"\5\3\0\1",
        b"\5\1\0\6\1\0\1\x7f",
        b"\4\1\0\x50\x7f\0\0\1root",
        b"\4\3\0\x50\x7f\0\0\1\0",
        b"\4\1\0\x50\x7f\0\0\1\xffx\0aaaaa",
        b"\r\n\r\n\0\r\nQUIT",
    ],
)
def test_near_misses_are_not_named(data: bytes) -> None:
    assert recognise(data) is None


@given(st.binary(max_size=64))
def test_nothing_raises(data: bytes) -> None:
    found = diagnose(data, UserRegistry([LOVE, OLD]), now=NOW)
    assert found.reason in (Refusal.FOREIGN_PROTOCOL, Refusal.UNKNOWN_USER)


# Immediate --------------------------------------------------------------------------------------


def test_a_wrong_clock_under_an_aead_header_is_told_in_full() -> None:
    registry = UserRegistry([LOVE])
    auth = make_auth_id(LOVE, NOW - 500)
    expected = Diagnosis(
        reason=Refusal.CLOCK_SKEW,
        message="user love@example.com: the clock is 500 s behind ours; "
        "synchronise both clocks (the limit is 120 s)",
        account=LOVE,
        clock_offset=-500,
    )
    assert diagnose(auth, registry, now=NOW) == expected
    assert diagnose(auth + b"more", registry, now=NOW) == expected
    match = registry.find_auth_id(auth, now=NOW)
    assert diagnose(auth, registry, now=NOW, match=match) == expected


@pytest.mark.parametrize(
    ("offset", "hint"),
    [
        (HOUR, "about 1 h"),
        (-HOUR - 30, "about 1 h"),
        (8 * HOUR + 100, "about 8 h"),
        (5 * HOUR + HOUR // 2, "about 5.5 h"),
        (14 * HOUR, "about 14 h"),
        (14 * HOUR + HOUR // 2, None),
        (HOUR + 121, None),
        (900, None),
        (121, None),
        (5 * 365 * 24 * HOUR, None),
    ],
)
def test_offsets_near_half_hours_hint_at_the_time_zone(offset: int, hint: str | None) -> None:
    found = diagnose(make_auth_id(LOVE, NOW + offset), UserRegistry([LOVE]), now=NOW)
    assert found.clock_offset == offset
    assert ("time zone" in found.message) == (hint is not None)
    assert (hint or "") in found.message


def test_a_match_that_was_asked_for_is_not_asked_for_again() -> None:
    registry = UserRegistry([LOVE])
    found = diagnose(make_auth_id(LOVE, NOW - 500), registry, now=NOW, match=None)
    assert found.reason is Refusal.UNKNOWN_USER


def test_an_aead_header_where_only_legacy_is_spoken() -> None:
    registry = UserRegistry([LOVE], legacy_without_alter_ids=True)
    found = diagnose(make_auth_id(LOVE, NOW), registry, now=NOW)
    assert found == aead_not_spoken(AuthMatch(account=LOVE, timestamp=NOW))
    assert (found.reason, found.account) == (Refusal.WRONG_FORM, LOVE)
    assert found.message.startswith("user love@example.com: an AEAD header, but this inbound")


def test_the_unknown_are_told_what_could_be_the_matter() -> None:
    found = diagnose(bytes(range(100, 116)), UserRegistry([LOVE]), now=NOW)
    assert found.reason is Refusal.UNKNOWN_USER
    assert "no user has an alterId" in found.message
    found = diagnose(bytes(range(100, 116)), UserRegistry([OLD]), now=NOW)
    assert "clock or alterId is wrong" in found.message


def test_a_diagnosis_becomes_an_error_that_says_the_same() -> None:
    error = Diagnosis(
        reason=Refusal.CLOCK_SKEW, message="late", account=NAMELESS, clock_offset=-7
    ).error()
    assert isinstance(error, AuthenticationError)
    assert (str(error), error.reason, error.clock_offset) == ("late", Refusal.CLOCK_SKEW, -7)
    assert error.user == NAMELESS.name
    assert Diagnosis(reason=Refusal.UNKNOWN_USER, message="who").error().user is None


def test_no_message_shows_a_whole_id() -> None:
    registry = UserRegistry([NAMELESS])
    found = diagnose(make_auth_id(NAMELESS, 0), registry, now=NOW)
    assert NAMELESS.user_id[:4].hex() in found.message
    assert NAMELESS.user_id[4:6].hex() not in found.message
    assert NAMELESS.user_id.hex() not in repr(found)


# Legacy hashes ----------------------------------------------------------------------------------


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


def test_in_the_old_protocol_main_ids_have_wrong_clocks_too() -> None:
    registry = UserRegistry([LOVE], legacy_without_alter_ids=True)
    search = ClockSearch(registry, derive_user_hash(LOVE.user_id, NOW - 700), NOW)
    run(search)
    assert search.found is not None
    assert search.found.clock_offset == -700


def test_the_size_of_the_slices_does_not_matter() -> None:
    registry = UserRegistry([LOVE, OLD, NAMELESS])
    user_hash = derive_user_hash(NAMELESS.alter_ids[1], NOW + 250)
    results = []
    for budget in (1, 3, 100, 10**9):
        search = ClockSearch(registry, user_hash, NOW)
        steps = run(search, budget)
        results.append(search.found)
        assert (steps == 1) == (budget == 10**9)
        assert search.step(budget)
    assert results[0] is not None
    assert results == results[:1] * 4


def test_a_hash_of_nobody_ends_within_the_bound() -> None:
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
