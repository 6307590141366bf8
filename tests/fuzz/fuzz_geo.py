"""Fuzz the reader of `geoip.dat` and `geosite.dat`."""

import contextlib
from typing import Final

from tests.routing.dat import BOTH, sized
from trio_vmess.routing.geo import (
    IPV4_BITS,
    IPV6_BITS,
    GeoFiles,
    Ranges,
    decode_networks,
    decode_sites,
    find_entry,
    list_names,
)

SEEDS: Final = (
    *BOTH.values(),
    sized(1, sized(1, b"A") + b"\x12\x05\x0a\x01\x7f\x10\x20"),
    sized(1, sized(1, b"A") + b"\x0d\x00\x00\x00\x00\x09" + bytes(8) + b"\x18\x01"),
    sized(1, sized(1, b"A") + sized(2, b"\x08\x04") + sized(2, b"\x08\x81\x00\x12\x01a")),
)


def check(data: bytes) -> None:
    """Raise where an invariant is broken.

    No exception but `ValueError` comes out; a list is found by the name that it has, in any case;
    and a network lies within its family.
    """
    try:
        names = list_names(data)
    except ValueError:
        return
    for name in names:
        entry = find_entry(data, name.lower())
        if entry is None:
            # Some letters have no way back: 'ß' becomes 'SS', which is no longer the name.
            if name.lower().upper() == name.upper():
                raise TypeError(f"{name!r} is listed and cannot be found")
            continue
        with contextlib.suppress(ValueError):
            check_ranges(decode_networks(entry))
        try:
            sites = decode_sites(entry)
        except ValueError:
            continue
        if not all(site.value for site in sites):
            raise TypeError(f"an empty name in {name!r}")
        files = GeoFiles({"file": data}.__getitem__)
        if list(files.sites("file", name)) != sites:
            raise TypeError(f"{name!r} is not the list that was found")


def check_ranges(ranges: Ranges) -> None:
    """Raise unless each range ends behind its beginning, within its family."""
    for bits, family in ((IPV4_BITS, ranges.ipv4), (IPV6_BITS, ranges.ipv6)):
        for first, last in family:
            if not 0 <= first <= last < 1 << bits:
                raise TypeError(f"no range of {bits} bits: {first} to {last}")
