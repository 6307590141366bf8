"""Writes V2Ray's data files: the other half of the reader, from the same public layout."""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

KINDS: Final = {"keyword": 0, "regexp": 1, "domain": 2, "full": 3}


def varint(number: int) -> bytes:
    groups = bytearray()
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def numeric(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def sized(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value


def cidr(text: str) -> bytes:
    network = ipaddress.ip_network(text, strict=False)
    return sized(1, network.network_address.packed) + numeric(2, network.prefixlen)


def domain(entry: str) -> bytes:
    """Encode `kind:value@attribute@attribute`."""
    text, *attributes = entry.split("@")
    kind, _, value = text.partition(":")
    number = KINDS[kind]
    # As proto3 does: a zero is left out. Attributes carry a bool, which readers step over.
    head = numeric(1, number) if number else b""
    marks = b"".join(sized(3, sized(1, each.encode()) + numeric(2, 1)) for each in attributes)
    return head + sized(2, value.encode()) + marks


def write_geoip(lists: Mapping[str, Iterable[str]]) -> bytes:
    """Encode lists of networks by name."""
    return b"".join(
        sized(1, sized(1, name.encode()) + b"".join(sized(2, cidr(each)) for each in networks))
        for name, networks in lists.items()
    )


def write_geosite(lists: Mapping[str, Iterable[str]]) -> bytes:
    """Encode lists of names by name; entries as in `domain`."""
    return b"".join(
        sized(1, sized(1, name.encode()) + b"".join(sized(2, domain(each)) for each in entries))
        for name, entries in lists.items()
    )


class Files:
    """Data files in memory, which notes what is read.

    Attributes:
        read: names, in the order of the reading.
    """

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self._files = dict(files or {})
        self.read: list[str] = []

    def load(self, name: str) -> bytes:
        self.read.append(name)
        if name not in self._files:
            raise FileNotFoundError(f"{name} is nowhere; install it")
        return self._files[name]


GEOIP: Final[Mapping[str, Sequence[str]]] = {
    "AD": ["85.94.160.0/19"],
    "CN": ["1.0.1.0/24", "1.0.2.0/23", "114.114.0.0/16", "2001:250::/31", "2400:3200::/32"],
    "US": ["8.8.8.0/24", "2001:4860::/32"],
    "PRIVATE": ["10.0.0.0/8"],
}
GEOSITE: Final[Mapping[str, Sequence[str]]] = {
    "CATEGORY-ADS-ALL": [
        *("domain:doubleclick.net", "full:ads.example.com", "keyword:adserv"),
        r"regexp:^ad[0-9]+\.cdn\.",
    ],
    "CN": ["domain:cn", "domain:baidu.com", "full:www.qq.com", "domain:taobao.com@ads"],
    "GOOGLE": ["domain:google.com", "domain:google.cn@cn", "domain:doubleclick.net@ads@CN"],
    "PRIVATE": ["full:localhost", "domain:lan"],
}
BOTH: Final = {"geoip.dat": write_geoip(GEOIP), "geosite.dat": write_geosite(GEOSITE)}
