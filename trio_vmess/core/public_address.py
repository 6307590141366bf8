"""Which addresses are the open Internet's, and which belong to this machine or network."""

import ipaddress
from typing import Final

from trio_vmess.core.destination import IPAddress, unmap


def is_public(address: IPAddress) -> bool:
    """Tell whether an address is one of the open Internet's, not this machine's or network's own.

    Addresses that carry an IPv4 address inside (mapped, NAT64, 6to4) are judged by that one. Of
    IPv6, only what is allocated at all is public; Teredo is not, for its packets go to servers that
    the address names.

    Source:
        The IANA registries of IPv4 and IPv6 special-purpose addresses, and RFC 4291 section 2.4.
    """
    plain = unmap(address)
    if isinstance(plain, str):
        return False
    if isinstance(plain, ipaddress.IPv6Address):
        if plain in _NAT64:
            return is_public(ipaddress.IPv4Address(plain.packed[-4:]))
        if plain.sixtofour is not None:
            return is_public(plain.sixtofour)
        if plain not in _UNICAST:
            return False
    if any(plain in network for network in _SPECIAL if network.version == plain.version):
        return False
    return plain.is_global and not plain.is_multicast


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
