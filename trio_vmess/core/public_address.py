"""Which addresses are the open Internet's, and which belong to this machine or network."""

import ipaddress
from typing import Final

from trio_vmess.core.destination import IPAddress


def is_public(address: IPAddress) -> bool:
    """Tell whether an address is one of the open Internet's, not this machine's or network's own.

    Addresses that carry an IPv4 address inside are judged by that one: see `embedded_address`. Of
    IPv6, only what is allocated at all is public; Teredo is not, for its packets go to servers that
    the address names.

    Source:
        The IANA registries of IPv4 and IPv6 special-purpose addresses, and RFC 4291 section 2.4.
    """
    plain = embedded_address(address)
    if isinstance(plain, ipaddress.IPv6Address) and plain not in _UNICAST:
        return False
    if any(plain in network for network in _SPECIAL if network.version == plain.version):
        return False
    return plain.is_global and not plain.is_multicast


def embedded_address(address: IPAddress) -> IPAddress:
    """Return the IPv4 address that packets to an IPv6 address may reach in the end, or the address.

    Source:
        RFC 4291 section 2.5.5.2 (mapped), RFC 6052 section 2.1 (NAT64), RFC 3056 (6to4).
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(address.packed[-4:])
        return address.ipv4_mapped or address.sixtofour or address
    return address


_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
_SPECIAL: Final = (
    # What some versions of Python take for public: protocol assignments, relays of 6to4, Teredo,
    # documentation.
    ipaddress.IPv4Network("192.0.0.0/24"),
    ipaddress.IPv4Network("192.88.99.0/24"),
    ipaddress.IPv6Network("2001::/32"),
    ipaddress.IPv6Network("3fff::/20"),
)
