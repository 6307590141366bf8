"""Traffic counters with V2Ray's names.

Every connection has a meter of its own. Its bytes are added to the counters when it closes, and
those of open connections when the counters are read, so counters cost nothing per byte.

All counters count payload, without the overhead of protocols.

Source:
    v2ray-core, app/dispatcher/default.go and app/proxyman/inbound/worker.go, for the names.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final
from weakref import WeakKeyDictionary

import attrs

from trio_vmess.dispatch import Connection, Observer

SEPARATOR: Final = ">>>"
"""Separates the parts of a name, as in `user>>>ann@example.com>>>traffic>>>uplink`."""


@attrs.frozen
class Directions:
    """Which directions are counted."""

    uplink: bool = False
    downlink: bool = False


NOTHING: Final = Directions()


class Statistics(Observer):
    """The counters of one node.

    Args:
        users: returns what is counted for users of a level; those without an email have none.
        inbounds: what is counted for inbounds; those without a tag have no counters.
        outbounds: what is counted for outbounds; those without a tag have no counters.
    """

    def __init__(
        self,
        *,
        users: Callable[[int], Directions],
        inbounds: Directions = NOTHING,
        outbounds: Directions = NOTHING,
    ) -> None:
        self._users = users
        self._inbounds = inbounds
        self._outbounds = outbounds
        self._totals: dict[str, int] = {}
        # Bytes of open connections that a reset has already reported, to be subtracted from now on.
        self._counted: WeakKeyDictionary[Connection, tuple[int, int]] = WeakKeyDictionary()

    def closed(self, connection: Connection) -> None:
        """See `Observer.closed`; adds the connection's bytes to the totals."""
        self._add(self._totals, connection)
        self._counted.pop(connection, None)

    def read(self, running: Iterable[Connection], *, reset: bool = False) -> Mapping[str, int]:
        """Return all counters by name, sorted by name.

        Args:
            running: the open connections.
            reset: set all counters to 0 after reading; their names are kept.
        """
        totals = dict(self._totals)
        for connection in running:
            self._add(totals, connection)
            if reset:
                self._counted[connection] = connection.meter.uplink, connection.meter.downlink
        if reset:
            self._totals = dict.fromkeys(totals, 0)
        return dict(sorted(totals.items()))

    def _add(self, totals: dict[str, int], connection: Connection) -> None:
        uplink, downlink = self._counted.get(connection, (0, 0))
        sizes = connection.meter.uplink - uplink, connection.meter.downlink - downlink
        for owner, directions in self._owners(connection):
            if directions.uplink:
                name = counter_name(owner, "uplink")
                totals[name] = totals.get(name, 0) + sizes[0]
            if directions.downlink:
                name = counter_name(owner, "downlink")
                totals[name] = totals.get(name, 0) + sizes[1]

    def _owners(self, connection: Connection) -> Iterator[tuple[tuple[str, str], Directions]]:
        flow, user = connection.flow, connection.flow.user
        if user.email:
            yield ("user", user.email), self._users(user.level)
        if flow.inbound_tag:
            yield ("inbound", flow.inbound_tag), self._inbounds
        if connection.outbound_tag:
            yield ("outbound", connection.outbound_tag), self._outbounds


def counter_name(owner: tuple[str, str], direction: str) -> str:
    """Return a counter's name.

    Args:
        owner: the kind (`user`, `inbound` or `outbound`), and the email or tag.
        direction: `uplink` or `downlink`.
    """
    kind, name = owner
    return SEPARATOR.join((kind, name, "traffic", direction))


def parse_counter_name(name: str) -> tuple[str, str, str] | None:
    """Return kind, email or tag, and direction; None if the name has another form.

    An email may itself contain the separator.
    """
    kind, _, rest = name.partition(SEPARATOR)
    rest, _, direction = rest.rpartition(SEPARATOR)
    owner, _, traffic = rest.rpartition(SEPARATOR)
    return (kind, owner, direction) if traffic == "traffic" else None
