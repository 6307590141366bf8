"""Why a request was refused: a full sentence for the log, never a byte for the wire.

Operators meet the same few mistakes again and again: a clock that is wrong, by minutes or by a time
zone; an alterId that differs between client and server; a browser pointed at the wrong port. The
cheap explanations come from `diagnose` at once. What a legacy hash can still tell takes many HMACs:
`ClockSearch` tries them in slices, after the connection has been dealt with.
"""

import enum
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Final, Literal

import attrs

from trio_vmess.core.crypto import HmacState, hmac_md5_many, hmac_md5_state
from trio_vmess.core.vmess.account import Account, next_alter_id
from trio_vmess.core.vmess.auth import encode_timestamp
from trio_vmess.core.vmess.constants import AUTH_SIZE, TIMESTAMP_JITTER
from trio_vmess.core.vmess.users import AuthMatch, UserRegistry
from trio_vmess.errors import AuthenticationError, Refusal

MAX_HMACS: Final = 2_000_000
"""What one `ClockSearch` may cost: about a second of processor time."""

NEAR_OFFSET_MAX: Final = 15 * 60
"""Seconds: clocks that are off by no more than this are found whatever the offset."""

ZONE_OFFSET_MAX: Final = 14 * 3600
"""Seconds: the time zone that is farthest from UTC."""

_ZONE_STEP: Final = 30 * 60
_GUESSED_ALTER_IDS: Final = 64
"""How many alter ids a client is believed to have that the server does not know of."""
_BATCH: Final = 512
_RIGHT_CLOCK_SLACK: Final = TIMESTAMP_JITTER + 5
"""Seconds: the time of a clock that is right, but for its time zone, is off by no more."""


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
        """Return the exception that says the same."""
        return AuthenticationError(
            self.message,
            reason=self.reason,
            user=None if self.account is None else self.account.name,
            clock_offset=self.clock_offset,
        )


# Foreign protocols ------------------------------------------------------------------------------

_HTTP_METHODS: Final = tuple(
    method + b" "
    for method in (
        *(b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"),
        *(b"PROPFIND", b"PRI"),
    )
)
_PROXY_V2_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"


def _is_tls(data: bytes) -> bool:
    # RFC 8446 section 5.1: handshake record, version 3.x, length; then handshake type 1.
    return len(data) >= 6 and data[0] == 22 and data[1] == 3 and data[2] <= 4 and data[5] == 1


def _is_socks5(data: bytes) -> bool:
    # RFC 1928 section 3: the greeting is version, count, methods; then the client waits, or sends
    # its request (version 5) or a password (version 1 of RFC 1929) without waiting.
    if len(data) < 3 or data[0] != 5 or data[1] == 0:
        return False
    rest = data[2 + data[1] :]
    return (not rest and len(data) == 2 + data[1]) or rest[:1] in (b"\x01", b"\x05")


def _is_socks4(data: bytes) -> bool:
    # Version, command 1 or 2, port, IPv4 address, a name that ends with NUL.
    if len(data) < 9 or data[0] != 4 or data[1] not in (1, 2):
        return False
    name, end, _ = data[8:].partition(b"\0")
    return bool(end) and (not name or (name.isascii() and name.decode("ascii").isprintable()))


def recognise(first_bytes: bytes) -> str | None:
    """Name the protocol that a connection begins with, if it is one that strays often.

    Args:
        first_bytes: what has come so far; 16 bytes are enough for all.

    Returns:
        A phrase that fits after "this is"; None for what may well be VMess.
    """
    if _is_tls(first_bytes):
        return "a TLS ClientHello"
    if first_bytes.startswith(_HTTP_METHODS):
        return "an HTTP request"
    if first_bytes.startswith(b"SSH-"):
        return "an SSH banner"
    if first_bytes.startswith(b"PROXY "):
        return "a PROXY protocol v1 header"
    if first_bytes.startswith(_PROXY_V2_SIGNATURE):
        return "a PROXY protocol v2 header"
    if _is_socks5(first_bytes):
        return "a SOCKS5 greeting"
    if _is_socks4(first_bytes):
        return "a SOCKS4 request"
    return None


_ADVICE: Final = {
    "a TLS ClientHello": "this inbound does not speak TLS; turn it off at the client",
    "a PROXY protocol v1 header": "tell the balancer in front not to send it",
    "a PROXY protocol v2 header": "tell the balancer in front not to send it",
}


# Immediate --------------------------------------------------------------------------------------


class _Unasked(enum.Enum):
    UNASKED = enum.auto()


def diagnose(
    first_bytes: bytes,
    registry: UserRegistry,
    *,
    now: int,
    match: AuthMatch | Literal[_Unasked.UNASKED] | None = _Unasked.UNASKED,
) -> Diagnosis:
    """Explain why the first bytes of a request let nobody in.

    Args:
        first_bytes: the 16 bytes that were looked up; more, or fewer if no more came, do no harm.
        registry: who could have come in.
        now: UTC seconds.
        match: what `find_auth_id` returned for them. It is asked here if this is left out; that
            costs as much again as refusing a stranger does.
    """
    if (protocol := recognise(first_bytes)) is not None:
        advice = _ADVICE.get(protocol, "a client of another protocol uses this port")
        return Diagnosis(
            reason=Refusal.FOREIGN_PROTOCOL, message=f"this is {protocol}, not VMess; {advice}"
        )
    if match is _Unasked.UNASKED:
        whole = len(first_bytes) >= AUTH_SIZE
        match = registry.find_auth_id(first_bytes[:AUTH_SIZE], now=now) if whole else None
    if match is not None:
        if registry.accepts(match.timestamp, now):
            return aead_not_spoken(match)
        return _clock_is_wrong(match.account, match.timestamp - now, registry.window)
    message = "no user of this inbound made this header: the id is unknown or removed"
    if registry.legacy_id_count:
        message += ", or it is a legacy header and the client's clock or alterId is wrong"
    else:
        message += ", or it is a legacy header: no user has an alterId above 0 here"
    return Diagnosis(reason=Refusal.UNKNOWN_USER, message=message)


def aead_not_spoken(match: AuthMatch) -> Diagnosis:
    """Explain the refusal of a good AEAD header where only legacy headers are taken."""
    return Diagnosis(
        reason=Refusal.WRONG_FORM,
        message=f"user {match.account.name}: an AEAD header, but this inbound takes only legacy "
        "headers; set an alterId above 0 at the client, or allow AEAD here",
        account=match.account,
    )


def _clock_is_wrong(account: Account, offset: int, window: int) -> Diagnosis:
    direction = "ahead of" if offset > 0 else "behind"
    message = (
        f"user {account.name}: the clock is {abs(offset)} s {direction} ours; "
        f"synchronise both clocks (the limit is {window} s)"
    )
    steps = round(abs(offset) / _ZONE_STEP)
    if 0 < steps * _ZONE_STEP <= ZONE_OFFSET_MAX and abs(abs(offset) - steps * _ZONE_STEP) <= min(
        window, _ZONE_STEP // 4
    ):
        message += f"; that is about {steps / 2:g} h, so a wrong time zone is likely"
    return Diagnosis(
        reason=Refusal.CLOCK_SKEW, message=message, account=account, clock_offset=offset
    )


# Legacy hashes ----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Id:
    """One id to try: its number is 0 for the main id, n for the n-th alter id."""

    account: Account
    number: int
    state: HmacState


def _id_numbers(account: Account, start: int, stop: int) -> Iterator[_Id]:
    """Derive a user's ids from number `start` up to, not including, `stop`."""
    if start >= stop:
        return
    current = account.user_id
    for number in range(stop):
        if number:
            current = next_alter_id(current)
        if number >= start:
            yield _Id(account=account, number=number, state=hmac_md5_state(current))


_Batch = tuple[int, Sequence[_Id]]


def _rings(window: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return 0, 1, -1, ... up to the window's edges, cut where a right clock's jitter ends."""
    slacks = [0]
    for distance in range(1, window + 1):
        slacks += (distance, -distance)
    inner = 2 * _RIGHT_CLOCK_SLACK + 1
    return slacks[:inner], slacks[inner:]


def _offsets(window: int) -> Iterator[int]:
    """Yield the clock errors to try, in seconds, outside the window; the likely ones first."""
    for distance in range(window + 1, NEAR_OFFSET_MAX + 1):
        yield distance
        yield -distance
    whole = range(2 * _ZONE_STEP, ZONE_OFFSET_MAX + 1, 2 * _ZONE_STEP)
    half = range(_ZONE_STEP, ZONE_OFFSET_MAX, 2 * _ZONE_STEP)
    for ring in _rings(window):
        for zone in (sign * step for step in chain(whole, half) for sign in (1, -1)):
            for slack in ring:
                yield zone + slack


class ClockSearch:
    """Finds out about a user hash that the registry does not know, in slices.

    It is run to the end so: `while not search.step(budget): ...` with a checkpoint in the loop;
    then `search.found` holds the result. It tries, in this order and never for more HMACs than
    allowed:

    1. Times within the window, ids that are not accepted: any id of a user with alterId 0, and
       alter ids beyond a user's own number (clients choose among all of theirs).
    2. Times outside the window, ids that are accepted: the main and the first alter id of each
       user, with clocks off by up to 15 minutes, then by whole and half hours up to 14; then the
       same for the other alter ids.

    Args:
        registry: its users of this moment are tried.
        user_hash: 16 bytes that `find_user_hash` does not know.
        now: UTC seconds.
        max_hmacs: the bound of the whole search.

    Attributes:
        found: the explanation, once there is one.
    """

    def __init__(
        self, registry: UserRegistry, user_hash: bytes, now: int, *, max_hmacs: int = MAX_HMACS
    ) -> None:
        self.found: Diagnosis | None = None
        self._user_hash = user_hash
        self._now = now
        self._window = registry.window
        self._left = max_hmacs
        accounts = tuple(registry)
        self._silent = [account for account in accounts if not registry.speaks_legacy(account)]
        self._legacy = [account for account in accounts if registry.speaks_legacy(account)]
        self._work = self._batches()

    def step(self, budget: int) -> bool:
        """Go on for about `budget` HMACs, at 0.4 to 1 µs each.

        Returns:
            True when the search is over: look at `found`.
        """
        budget = min(budget, self._left)
        while budget > 0 and self.found is None:
            batch = next(self._work, None)
            if batch is None:
                self._left = 0
                break
            offset, ids = batch
            ids = ids[: self._left]
            message = encode_timestamp(self._now + offset)
            digests = hmac_md5_many([each.state for each in ids], message)
            budget -= len(ids)
            self._left -= len(ids)
            # The hash is only named in the log: nothing hangs on how long the comparison takes.
            if self._user_hash in digests:
                self.found = self._explain(ids[digests.index(self._user_hash)], offset)
        return self.found is not None or self._left <= 0

    def _batches(self) -> Iterator[_Batch]:
        """Yield what is to be tried: ids that share a clock error."""
        # Many users without alter ids must not use up what is there to find wrong clocks.
        yield from _limited(self._with_other_ids(), self._left // 2)
        main = (
            _id_numbers(account, 0, min(account.alter_id_count, 1) + 1) for account in self._legacy
        )
        alter = (_id_numbers(account, 2, account.alter_id_count + 1) for account in self._legacy)
        offsets = list(_offsets(self._window))
        yield from _product(offsets, main)
        yield from _product(offsets, alter)

    def _with_other_ids(self) -> Iterator[_Batch]:
        stop = _GUESSED_ALTER_IDS + 1
        for ring in _rings(self._window):
            yield from _product(ring, (_id_numbers(each, 0, 2) for each in self._silent))
            yield from _product(ring, (_id_numbers(each, 2, stop) for each in self._silent))
            beyond = (_id_numbers(each, each.alter_id_count + 1, stop) for each in self._legacy)
            yield from _product(ring, beyond)

    def _explain(self, guess: _Id, offset: int) -> Diagnosis:
        account = guess.account
        if guess.number <= account.alter_id_count and account in self._legacy:
            return _clock_is_wrong(account, offset, self._window)
        if account.alter_id_count == 0:
            return Diagnosis(
                reason=Refusal.WRONG_FORM,
                message=f"user {account.name}: a legacy header from a user whose alterId is 0 "
                "here; set the same alterId on both sides",
                account=account,
            )
        return Diagnosis(
            reason=Refusal.WRONG_FORM,
            message=f"user {account.name}: a legacy header under alter id {guess.number}, but the "
            f"user's alterId is {account.alter_id_count} here; set the same on both sides",
            account=account,
        )


def _product(offsets: Sequence[int], groups: Iterable[Iterable[_Id]]) -> Iterator[_Batch]:
    """Yield every offset with every id, some hundred ids at a time."""
    ids = chain.from_iterable(groups)
    while batch := list(islice(ids, _BATCH)):
        for offset in offsets:
            yield offset, batch


def _limited(batches: Iterable[_Batch], hmac_count: int) -> Iterator[_Batch]:
    """Yield from `batches` until they have cost this many HMACs."""
    for batch in batches:
        if hmac_count <= 0:
            return
        yield batch
        hmac_count -= len(batch[1])
