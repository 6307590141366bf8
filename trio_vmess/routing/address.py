"""Conditions on addresses: the syntax of their entries, and an index over those of all rules.

    10.1.2.3, 10.0.0.0/8    an address or a network; bits of the host part are allowed
    private, geoip:private  addresses that are not on the public Internet; needs no file
    geoip:cc, geoip:!cc     a list of `geoip.dat`, or all addresses that are not in it
    ext:file:cc             a list of another file, also with `!`; `ext-ip:` means the same

All networks of all rules are in one sorted table per family: a decision is one bisection.

Source:
    v2ray-core, infra/conf/router.go, toCidrList; app/router/condition_geoip.go.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final

from trio_vmess.core import IPAddress, unmap
from trio_vmess.routing.geo import (
    GEOIP_FILE,
    IPV4_BITS,
    IPV6_BITS,
    GeoFiles,
    Ranges,
    to_range,
)
from trio_vmess.routing.ranges import Range, RangeIndex, invert

_EXTERNAL: Final = ("ext", "ext-ip")
_PRIVATE: Final = "private"

PRIVATE_NETWORKS: Final = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
    *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    *("::/128", "::1/128", "fc00::/7", "fe80::/10", "ff00::/8"),
)
"""What V2Ray calls private: it includes multicast and networks for documentation.

Source:
    v2fly/geoip, plugin/special/private.go, from which the list `private` of `geoip.dat` is made.
"""


def parse_address_entry(entry: str, geo: GeoFiles) -> Ranges:
    """Read one entry of a rule.

    Args:
        entry: as in the configuration.
        geo: provides the lists.

    Raises:
        ValueError: the entry is not valid, or its list does not exist; with a full message.
    """
    prefix, colon, value = entry.partition(":")
    if entry.lower() == _PRIVATE:
        return _private()
    if colon and prefix == "geoip":
        return _parse_list(entry, GEOIP_FILE, value, geo)
    if colon and prefix in _EXTERNAL:
        file, _, name = value.partition(":")
        if not file or not name or ":" in name:
            raise ValueError(f"'{entry}' does not have the form {prefix}:file:list")
        return _parse_list(entry, file, name, geo)
    try:
        return _to_ranges([entry])
    except ValueError:
        raise ValueError(
            "expected an IP address, a network such as 10.0.0.0/8, 'private', or a geoip: or ext: "
            f"entry, found '{entry}'"
        ) from None


def _parse_list(entry: str, file: str, name: str, geo: GeoFiles) -> Ranges:
    code = name.removeprefix("!").strip()
    if not code:
        raise ValueError(f"the name of a list is missing in '{entry}'")
    is_own = file == GEOIP_FILE and code.lower() == _PRIVATE
    ranges = _private() if is_own else geo.networks(file, code)
    if not name.startswith("!"):
        return ranges
    return Ranges(
        invert(ranges.ipv4, (1 << IPV4_BITS) - 1), invert(ranges.ipv6, (1 << IPV6_BITS) - 1)
    )


def _private() -> Ranges:
    return _to_ranges(PRIVATE_NETWORKS)


def _to_ranges(networks: Iterable[str]) -> Ranges:
    spans: dict[int, list[Range]] = {IPV4_BITS: [], IPV6_BITS: []}
    for text in networks:
        network = ipaddress.ip_network(text, strict=False)
        bits, span = to_range(
            int(network.network_address), network.max_prefixlen, network.prefixlen
        )
        spans[bits].append(span)
    return Ranges(spans[IPV4_BITS], spans[IPV6_BITS])


class AddressIndex:
    """Networks of both families, with marks.

    Args:
        marked: the networks of each mark; see `trio_vmess.routing.ranges` on marks.
    """

    def __init__(self, marked: Mapping[int, Iterable[Ranges]]) -> None:
        kept = {mark: list(parts) for mark, parts in marked.items()}
        self._ipv4 = RangeIndex(
            {mark: [span for part in parts for span in part.ipv4] for mark, parts in kept.items()}
        )
        self._ipv6 = RangeIndex(
            {mark: [span for part in parts for span in part.ipv6] for mark, parts in kept.items()}
        )

    def find(self, address: IPAddress, /) -> int:
        """Return the marks of all networks that contain an address.

        An IPv4-mapped IPv6 address is the IPv4 address inside.
        """
        if isinstance(address, ipaddress.IPv4Address):
            return self._ipv4.find(int(address))
        plain = unmap(address)
        if isinstance(plain, ipaddress.IPv4Address):
            return self._ipv4.find(int(plain))
        return self._ipv6.find(int(address))


class AddressMatcher:
    """One set of networks.

    Args:
        entries: as in the configuration.
        geo: provides the lists.

    Raises:
        ValueError: an entry is not valid, or its list does not exist.
    """

    def __init__(self, entries: Iterable[str], geo: GeoFiles) -> None:
        self._index = AddressIndex({1: [parse_address_entry(entry, geo) for entry in entries]})

    def matches(self, address: IPAddress) -> bool:
        """Return whether an address is in one of the networks."""
        return self._index.find(address) != 0
