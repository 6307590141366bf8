"""Inbounds that would listen where another one listens: a part of `validate`.

Each inbound is compared with what all those before it have taken, not with each of them, so that a
file with tens of thousands of inbounds is checked in a moment.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from trio_vmess.config.endpoints import InboundSettings, PortRange
from trio_vmess.config.location import Finding, locate
from trio_vmess.config.references import on_line
from trio_vmess.config.transports import UnixSocket
from trio_vmess.core import IPAddress, Network

__all__ = ["find_port_conflicts"]


def find_port_conflicts(inbounds: Sequence[InboundSettings]) -> Iterator[Finding]:
    """Find the inbounds that conflict with an earlier one, and name the first of those."""
    paths: dict[tuple[Network, str], int] = {}
    ports = _TakenPorts()
    for index, inbound in enumerate(inbounds):
        listen = inbound.listen
        others: list[tuple[int, Network]] = []
        for network in inbound.networks:
            if isinstance(listen, UnixSocket):
                other = paths.setdefault((network, listen.path), index)
            else:
                other = ports.take(network, listen, inbound.port, index)
            if other < index:
                others.append((other, network))
        if others:
            yield _conflict(inbounds, index, *min(others, key=lambda each: each[0]))


def _conflict(
    inbounds: Sequence[InboundSettings], index: int, other: int, network: Network
) -> Finding:
    inbound = inbounds[index]
    if isinstance(inbound.listen, UnixSocket):
        key, what, choice = "listen", str(inbound.listen), "path"
    else:
        key, what, choice = "port", f"{network} {inbound.listen} port {inbound.port}", "port"
    taken = locate(inbounds[other].locations, key, f"inbounds[{other}]")
    return (
        locate(inbound.locations, key, f"inbounds[{index}]"),
        f"{what} conflicts with {on_line(taken)}; choose another {choice}",
    )


class _TakenPorts:
    """The ports that are taken on each address, and by whom.

    An unspecified address takes its ports on all addresses of its family.
    """

    def __init__(self) -> None:
        self._by_address: dict[tuple[Network, IPAddress], _Owners] = {}
        self._by_family: dict[tuple[Network, int], _Owners] = {}
        self._unspecified: dict[tuple[Network, int], _Owners] = {}

    def take(self, network: Network, address: IPAddress, ports: PortRange, owner: int) -> int:
        """Take ports, and return their first owner: this one, or an earlier one of any of them."""
        if not ports.last:
            # Any free port, which is never one that somebody has.
            return owner
        family = network, address.version
        everywhere = self._by_family.setdefault(family, _Owners())
        if address.is_unspecified:
            first = everywhere.find(ports)
            self._unspecified.setdefault(family, _Owners()).add(ports, owner)
        else:
            here = self._by_address.setdefault((network, address), _Owners())
            unspecified = self._unspecified.get(family)
            first = min(here.find(ports), owner if unspecified is None else unspecified.find(ports))
            here.add(ports, owner)
        everywhere.add(ports, owner)
        return min(first, owner)


_NOBODY = 1 << 62
"""Comes after every owner."""


class _Owners:
    """Ranges of ports that do not overlap, in order, and the first who has taken each."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._owners: list[int] = []

    def find(self, ports: PortRange) -> int:
        """Return the first owner of any of the ports; `_NOBODY` if they are free."""
        return min((self._owners[at] for at in self._overlaps(ports)), default=_NOBODY)

    def add(self, ports: PortRange, owner: int) -> None:
        """Give those of the ports that are free to an owner."""
        free, begin = list[tuple[int, int]](), ports.first
        for at in self._overlaps(ports):
            if begin < self._firsts[at]:
                free.append((begin, self._firsts[at] - 1))
            begin = self._lasts[at] + 1
        if begin <= ports.last:
            free.append((begin, ports.last))
        for first, last in free:
            at = bisect_left(self._firsts, first)
            self._firsts.insert(at, first)
            self._lasts.insert(at, last)
            self._owners.insert(at, owner)

    def _overlaps(self, ports: PortRange) -> Iterable[int]:
        """Return the positions of the ranges that have any of the ports."""
        at = bisect_left(self._lasts, ports.first)
        end = bisect_left(self._firsts, ports.last + 1)
        return range(at, end)
