"""What the log says about a request that was refused."""

import pytest

from tests.core.vmess.accounts import HOUR, LOVE, NAMELESS, NOW, OLD, make_auth_id
from trio_vmess.core.vmess.diagnosis import Diagnosis, aead_not_accepted, diagnose
from trio_vmess.core.vmess.users import AuthMatch, UserRegistry
from trio_vmess.errors import AuthenticationError, Refusal


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


def test_a_match_that_is_passed_in_is_not_looked_up_again() -> None:
    registry = UserRegistry([LOVE])
    found = diagnose(make_auth_id(LOVE, NOW - 500), registry, now=NOW, match=None)
    assert found.reason is Refusal.UNKNOWN_USER


def test_an_aead_header_where_only_legacy_is_spoken() -> None:
    registry = UserRegistry([LOVE], legacy_without_alter_ids=True)
    found = diagnose(make_auth_id(LOVE, NOW), registry, now=NOW)
    assert found == aead_not_accepted(AuthMatch(account=LOVE, timestamp=NOW))
    assert (found.reason, found.account) == (Refusal.WRONG_FORM, LOVE)
    assert found.message.startswith("user love@example.com: an AEAD header, but this inbound")


def test_the_diagnosis_of_an_unknown_user_names_likely_causes() -> None:
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
