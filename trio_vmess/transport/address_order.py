"""Which family of a name's addresses is dialled first.

Source:
    RFC 6724 section 6, rules 1, 2, 5 and 6, which are about families; within one, the order of the
    name's servers stays, for they share out load by it.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final

from trio_vmess.core import IPAddress
from trio_vmess.transport.own_addresses import source_towards

_IPV4_PRECEDENCE: Final = 35

_POLICIES: Final = tuple(
    (128 - length, int(ipaddress.IPv6Address(start)) >> (128 - length), precedence, label)
    for start, length, precedence, label in (
        ("::1", 128, 50, 0),
        ("2002::", 16, 30, 2),
        ("2001::", 32, 5, 5),
        ("fc00::", 7, 3, 13),
        ("fec0::", 10, 1, 11),
        ("3ffe::", 16, 1, 12),
        ("::", 0, 40, 1),
    )
)
"""The default policy table, RFC 6724 section 2.1: how many bits do not count, the bits that do,
precedence and label; the most specific first."""


def by_preference(addresses: Sequence[IPAddress]) -> list[IPAddress]:
    """Return addresses with the family first that is more likely to work; nothing is sent."""
    ipv4 = [each for each in addresses if isinstance(each, ipaddress.IPv4Address)]
    ipv6 = [each for each in addresses if isinstance(each, ipaddress.IPv6Address)]
    if not ipv4 or not ipv6:
        return list(addresses)
    return [*ipv6, *ipv4] if _prefers_ipv6(ipv4[0], ipv6[0]) else [*ipv4, *ipv6]


def _prefers_ipv6(ipv4: ipaddress.IPv4Address, ipv6: ipaddress.IPv6Address) -> bool:
    try:
        source = source_towards(ipv6)
        if not isinstance(source, ipaddress.IPv6Address):
            return False
        if source_towards(ipv4) is None:
            return True
    except OSError:
        return False
    precedence, label = _policy(ipv6)
    is_same_scope = source.is_link_local == ipv6.is_link_local
    return is_same_scope and _policy(source)[1] == label and precedence > _IPV4_PRECEDENCE


def _policy(address: ipaddress.IPv6Address) -> tuple[int, int]:
    """Return the precedence and the label of an address."""
    bits = int(address)
    return next(
        (precedence, label)
        for ignored, prefix, precedence, label in _POLICIES
        if bits >> ignored == prefix
    )
