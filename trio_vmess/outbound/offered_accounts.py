"""Ports and accounts that a VMess server offers for some minutes ("dynamic port").

Offers are tried before the configured servers until they expire. One whose port cannot be reached
is set aside: the server goes on offering it, and each connection would pay for it again. One that
leaves several requests in a row unanswered is skipped.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from trio_vmess.core import Host, format_endpoint
from trio_vmess.core.vmess import Account, SwitchAccount
from trio_vmess.errors import DialFailure

log: Final = logging.getLogger("trio_vmess.outbound.vmess")

OFFERED_MAX: Final = 16
"""How many offered accounts are kept; the oldest is dropped first."""

SET_ASIDE_TIME: Final = 600.0
"""Seconds for which offers are ignored whose port could not be reached."""

SET_ASIDE_MAX: Final = 64
"""How many such ports and hosts are remembered; the oldest is dropped first."""

UNANSWERED_MAX: Final = 4
"""Requests in a row that an offered account may leave unanswered before it is skipped.

A server that was restarted no longer knows the accounts that it offered; it answers with silence.
"""


@attrs.frozen(kw_only=True)
class Identity:
    """Who we are to a server, and how we protect our bodies there.

    Attributes:
        account: the user id and alter ids that the server knows.
        security: one of `SECURITY_WORDS`.
        authenticated_length: encrypt and authenticate chunk lengths.
        sends_terminator: end each body with an empty chunk.
    """

    account: Account
    security: str = "auto"
    authenticated_length: bool = False
    sends_terminator: bool = True


@attrs.define(eq=False, kw_only=True)
class OfferedAccount:
    """An account that a server has offered.

    Attributes:
        host: where the account is valid.
        port: the port there.
        identity: the account, with the security settings of the identity that was offered it.
        expires: on Trio's clock.
        unanswered: requests sent since its last response.
        was_reached: a connection to the port has succeeded.
        is_dialled: a connection is finding out whether the port can be reached.
    """

    host: Host
    port: int
    identity: Identity
    expires: float
    unanswered: int = 0
    was_reached: bool = False
    is_dialled: bool = False


class OfferedAccounts:
    """The offers that one outbound has received."""

    def __init__(self) -> None:
        self._offered: list[OfferedAccount] = []
        # Until when offers are ignored, of one port or (None) of all ports of a host.
        self._set_aside: dict[tuple[Host, int | None], float] = {}

    def list_ports(self, now: float) -> Sequence[tuple[Host, int]]:
        """Return host and port of each offer that has not expired."""
        return [(each.host, each.port) for each in self._offered if each.expires > now]

    def usable(self, now: float) -> Iterator[OfferedAccount]:
        """Yield the offers that a new connection may use, the oldest first."""
        self._offered = [each for each in self._offered if each.expires > now]
        for each in self._offered:
            if each.unanswered >= UNANSWERED_MAX:
                # Skipped, but kept until it expires: if the server repeats the offer, the count of
                # unanswered requests must carry over, or the silent account would be used again.
                continue
            if each.is_dialled and not each.was_reached:
                # A firewall may drop what goes there: one connection waits to find out, not all.
                continue
            yield each

    def add(self, offer: SwitchAccount, dialled: Host, identity: Identity, now: float) -> None:
        """Keep an offer until it expires; a repeated one prolongs the earlier one.

        Args:
            offer: the command in a response.
            dialled: the host of the server that sent it, for an offer that names no host.
            identity: the identity that the request was made with.
            now: on Trio's clock.
        """
        host = dialled if offer.host is None else offer.host
        if any(self._set_aside.get((host, port), now) > now for port in (offer.port, None)):
            return
        account = Account(
            user_id=offer.user_id,
            alter_id_count=offer.alter_id_count,
            level=offer.level,
            email=identity.account.email,
        )
        entry = self._take(host, offer)
        if entry is None:
            entry = OfferedAccount(host=host, port=offer.port, identity=identity, expires=now)
            log.info(
                "vmess.account_offered server=%s minutes=%d",
                format_endpoint(host, offer.port),
                offer.minutes,
            )
        entry.identity = attrs.evolve(identity, account=account)
        entry.expires = now + offer.minutes * 60
        self._offered.append(entry)
        del self._offered[:-OFFERED_MAX]

    def _take(self, host: Host, offer: SwitchAccount) -> OfferedAccount | None:
        """Remove and return the entry of an offer that was made before."""
        key = (host, offer.port, offer.user_id)
        for each in self._offered:
            if (each.host, each.port, each.identity.account.user_id) == key:
                self._offered.remove(each)
                return each
        return None

    def set_aside(self, offered: OfferedAccount, reason: DialFailure, now: float) -> None:
        """Ignore offers of a port that was not reached; after silence, of the host's other ports.

        What drops packets to one port of a range drops those to the others, too, and each would
        cost a timeout of its own.

        Args:
            offered: leads there.
            reason: why the port was not reached.
            now: on Trio's clock.
        """
        host, port = offered.host, None if reason is DialFailure.TIMED_OUT else offered.port
        self._offered = [
            each for each in self._offered if each.host != host or port not in (None, each.port)
        ]
        self._set_aside.pop((host, port), None)
        self._set_aside[host, port] = now + SET_ASIDE_TIME
        if len(self._set_aside) > SET_ASIDE_MAX:
            del self._set_aside[next(iter(self._set_aside))]
