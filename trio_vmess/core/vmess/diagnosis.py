"""Why a request was refused: a full sentence for the log, never a byte for the wire.

Operators meet the same few mistakes again and again: a clock that is wrong, by minutes or by a time
zone; an alterId that differs between client and server; a browser pointed at the wrong port.
`diagnose` explains what the first bytes tell at once. What a legacy hash can still tell takes many
HMACs: see `clock_search`.
"""

import enum
from typing import Final, Literal

import attrs

from trio_vmess.core.vmess.account import Account
from trio_vmess.core.vmess.constants import AUTH_SIZE
from trio_vmess.core.vmess.foreign_protocol import ADVICE, recognise
from trio_vmess.core.vmess.users import AuthMatch, UserRegistry
from trio_vmess.errors import AuthenticationError, Refusal

ZONE_STEP: Final = 30 * 60
"""Seconds: time zones differ by half hours."""

ZONE_OFFSET_MAX: Final = 14 * 3600
"""Seconds: the time zone that is farthest from UTC."""


@attrs.frozen(kw_only=True)
class Diagnosis:
    """What is known about a refused request.

    Attributes:
        reason: the class of refusal.
        message: a sentence for the log.
        account: whom it concerns, if that is known.
        clock_offset: by how many seconds the client's clock is ahead of ours, if that is known;
            under a legacy header up to 30 seconds of it are jitter.
    """

    reason: Refusal
    message: str
    account: Account | None = None
    clock_offset: int | None = None

    def error(self) -> AuthenticationError:
        """Return the same as an exception."""
        return AuthenticationError(
            self.message,
            reason=self.reason,
            user=None if self.account is None else self.account.name,
            clock_offset=self.clock_offset,
        )


class _NotLookedUp(enum.Enum):
    NOT_LOOKED_UP = enum.auto()


def diagnose(
    first_bytes: bytes,
    registry: UserRegistry,
    *,
    now: int,
    match: AuthMatch | Literal[_NotLookedUp.NOT_LOOKED_UP] | None = _NotLookedUp.NOT_LOOKED_UP,
) -> Diagnosis:
    """Explain why the first bytes of a request were refused.

    Args:
        first_bytes: the 16 bytes that were looked up; more or fewer are allowed.
        registry: the users of the inbound.
        now: UTC seconds.
        match: what `find_auth_id` returned for them. If it is left out, they are looked up here,
            which doubles the cost of a refusal.
    """
    if (protocol := recognise(first_bytes)) is not None:
        advice = ADVICE.get(protocol, "a client of another protocol is using this port")
        return Diagnosis(
            reason=Refusal.FOREIGN_PROTOCOL, message=f"this is {protocol}, not VMess; {advice}"
        )
    if match is _NotLookedUp.NOT_LOOKED_UP:
        whole = len(first_bytes) >= AUTH_SIZE
        match = registry.find_auth_id(first_bytes[:AUTH_SIZE], now=now) if whole else None
    if match is not None:
        if registry.accepts(match.timestamp, now):
            return aead_not_accepted(match)
        return wrong_clock(match.account, match.timestamp - now, registry.window)
    message = "no user of this inbound matches the header: the id is unknown or removed"
    if registry.legacy_id_count:
        message += ", or it is a legacy header and the client's clock or alterId is wrong"
    else:
        message += ", or it is a legacy header, but no user has an alterId above 0 here"
    return Diagnosis(reason=Refusal.UNKNOWN_USER, message=message)


def aead_not_accepted(match: AuthMatch) -> Diagnosis:
    """Explain the refusal of a good AEAD header where only legacy headers are taken."""
    return Diagnosis(
        reason=Refusal.WRONG_FORM,
        message=f"user {match.account.name}: an AEAD header, but this inbound takes only legacy "
        "headers; set an alterId above 0 at the client, or allow AEAD here",
        account=match.account,
    )


def wrong_clock(account: Account, offset: int, window: int) -> Diagnosis:
    """Explain the refusal of a header whose time is too far from ours.

    Args:
        account: who made it.
        offset: by how many seconds the client's clock is ahead.
        window: how many seconds are allowed each way.
    """
    direction = "ahead of" if offset > 0 else "behind"
    message = (
        f"user {account.name}: the clock is {abs(offset)} s {direction} ours; "
        f"synchronise both clocks (the limit is {window} s)"
    )
    steps = round(abs(offset) / ZONE_STEP)
    if 0 < steps * ZONE_STEP <= ZONE_OFFSET_MAX and abs(abs(offset) - steps * ZONE_STEP) <= min(
        window, ZONE_STEP // 4
    ):
        message += f"; that is about {steps / 2:g} h, so a wrong time zone is likely"
    return Diagnosis(
        reason=Refusal.CLOCK_SKEW, message=message, account=account, clock_offset=offset
    )
