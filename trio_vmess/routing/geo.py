"""V2Ray's lists of networks and names: `geoip.dat`, `geosite.dat`, and files in their format.

A file is one protobuf message: `GeoIPList` or `GeoSiteList`, a repeated field 1 of entries that
begin with their name. Layout, with field numbers:

    GeoIPList:   1 GeoIP *          GeoIP:   1 country_code, 2 CIDR *     CIDR:   1 ip, 2 prefix
    GeoSiteList: 1 GeoSite *        GeoSite: 1 country_code, 2 Domain *
    Domain:      1 type (0 plain, 1 regex, 2 domain, 3 full), 2 value, 3 Attribute *
    Attribute:   1 key

Two messages of varints and length-delimited fields do not justify a protobuf runtime with generated
modules, which would also decode the whole file into objects. This reader skips all entries except
the requested one: of the 1500 lists in a usual `geosite.dat`, a configuration names five.

Source:
    v2ray-core, app/router/config.proto; protobuf.dev, "Encoding".
"""

import difflib
import enum
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

import attrs

from trio_vmess.routing.ranges import Range

_T = TypeVar("_T")

Load = Callable[[str], bytes]
"""Returns the content of a data file by its name; raises `OSError` with a full message."""

GEOIP_FILE: Final = "geoip.dat"
GEOSITE_FILE: Final = "geosite.dat"

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5
_VARINT_SIZE_MAX: Final = 10

IPV4_BITS: Final = 32
IPV6_BITS: Final = 128


class SiteKind(enum.Enum):
    """How a name is compared. The values are those of the file format, except DOTLESS."""

    KEYWORD = 0
    REGEXP = 1
    DOMAIN = 2
    FULL = 3
    DOTLESS = -1


_KINDS: Final = (SiteKind.KEYWORD, SiteKind.REGEXP, SiteKind.DOMAIN, SiteKind.FULL)


@attrs.frozen
class Site:
    """One condition on a name.

    Attributes:
        kind: how the value is compared.
        value: as it is written, in either case.
        attributes: in lower case, as in `geosite:google@ads`.
    """

    kind: SiteKind
    value: str
    attributes: frozenset[str] = frozenset()


@attrs.frozen
class Ranges:
    """Addresses as numbers, by family."""

    ipv4: Sequence[Range] = ()
    ipv6: Sequence[Range] = ()


class GeoFiles:
    """The lists that rules name, each decoded once.

    It keeps the files in memory, so it should live only while a configuration is loaded.

    Args:
        load: reads a data file.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._files: dict[str, bytes] = {}
        self._networks: dict[tuple[str, str], Ranges] = {}
        self._sites: dict[tuple[str, str], Sequence[Site]] = {}

    def networks(self, file: str, code: str) -> Ranges:
        """Return the networks of a country or another list; its name is case-insensitive.

        Raises:
            ValueError: the file or list is missing or damaged; with a full message.
        """
        key = (file, code.upper())
        if key not in self._networks:
            self._networks[key] = self._decode(file, code, decode_networks)
        return self._networks[key]

    def sites(self, file: str, name: str, attributes: Sequence[str] = ()) -> Sequence[Site]:
        """Return the entries of a list that have all attributes; its name is case-insensitive.

        Raises:
            ValueError: the file or list is missing or damaged; with a full message.
        """
        key = (file, name.upper())
        if key not in self._sites:
            self._sites[key] = self._decode(file, name, decode_sites)
        wanted = frozenset(each.lower() for each in attributes)
        if not wanted:
            return self._sites[key]
        return [site for site in self._sites[key] if wanted <= site.attributes]

    def _decode(self, file: str, name: str, decode: Callable[[memoryview], _T]) -> _T:
        data = self._files.get(file)
        if data is None:
            try:
                data = self._files[file] = self._load(file)
            except OSError as exc:
                raise ValueError(str(exc)) from exc
        try:
            entry = find_entry(data, name)
            if entry is not None:
                return decode(entry)
            known = [each.lower() for each in list_names(data)]
        except ValueError as exc:
            raise ValueError(f"{file} is damaged or not in V2Ray's format: {exc}") from exc
        near = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "; a newer file may have it"
        raise ValueError(f"{file} has no list '{name}' among its {len(known)}{hint}")


# Lists in a file ---------------------------------------------------------------------------------


def find_entry(data: bytes, name: str) -> memoryview | None:
    """Return the encoded entry of a list; None if the file has no list of that name.

    Raises:
        ValueError: the file is damaged.
    """
    wanted = name.upper()
    for entry in _entries(data):
        if _name_of(entry).upper() == wanted:
            return entry
    return None


def list_names(data: bytes) -> list[str]:
    """Return the names of all lists of a file, in order.

    Raises:
        ValueError: the file is damaged.
    """
    return [_name_of(entry) for entry in _entries(data)]


def decode_networks(entry: memoryview) -> Ranges:
    """Decode a `GeoIP` message.

    Raises:
        ValueError: it is damaged.
    """
    ranges: dict[int, list[Range]] = {IPV4_BITS: [], IPV6_BITS: []}
    for number, field in _fields(entry):
        if number != 2 or isinstance(field, int):
            continue
        address, prefix = b"", 0
        for part_number, part in _fields(field):
            if part_number == 1 and not isinstance(part, int):
                address = bytes(part)
            elif part_number == 2 and isinstance(part, int):
                prefix = part
        bits = len(address) * 8
        if bits not in ranges or prefix > bits:
            raise ValueError(f"an address of {len(address)} bytes with prefix length {prefix}")
        family, span = to_range(int.from_bytes(address, "big"), bits, prefix)
        ranges[family].append(span)
    return Ranges(ranges[IPV4_BITS], ranges[IPV6_BITS])


def decode_sites(entry: memoryview) -> list[Site]:
    """Decode a `GeoSite` message.

    Raises:
        ValueError: it is damaged.
    """
    sites: list[Site] = []
    for number, field in _fields(entry):
        if number != 2 or isinstance(field, int):
            continue
        kind, value = SiteKind.KEYWORD, ""
        attributes: list[str] = []
        for part_number, part in _fields(field):
            if isinstance(part, int):
                if part_number == 1:
                    if part >= len(_KINDS):
                        raise ValueError(f"a name of unknown kind {part}")
                    kind = _KINDS[part]
            elif part_number == 2:
                value = _text(part)
            elif part_number == 3:
                attributes.append(_name_of(part).lower())
        # proto3 omits empty values, and an empty keyword would match every name.
        if value:
            sites.append(Site(kind, value, frozenset(attributes)))
    return sites


def to_range(address: int, bits: int, prefix: int) -> tuple[int, Range]:
    """Return a network's family, in bits, and its first and last address.

    A network within `::ffff:0:0/96` is the IPv4 network inside.
    """
    size = 1 << (bits - prefix)
    first = address & -size
    if bits == IPV6_BITS and prefix >= 96 and first >> IPV4_BITS == 0xFFFF:
        bits, first = IPV4_BITS, first & 0xFFFFFFFF
    return bits, (first, first + size - 1)


# The wire format ---------------------------------------------------------------------------------


def _entries(data: bytes) -> Iterator[memoryview]:
    for number, field in _fields(memoryview(data)):
        if number == 1 and not isinstance(field, int):
            yield field


def _name_of(message: memoryview) -> str:
    """Return field 1 of a message as text; writers put it first, so little is read."""
    for number, field in _fields(message):
        if number == 1 and not isinstance(field, int):
            return _text(field)
    return ""


def _text(field: memoryview) -> str:
    return str(field, "utf-8")


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field: varints as int, all others as bytes."""
    position, end = 0, len(message)
    while position < end:
        key = message[position]
        position += 1
        if key >= 0x80:
            key, position = _varint(message, position - 1)
        kind = key & 7
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, position = _varint(message, position)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"a field of unknown type {kind}")
        if size > end - position:
            raise ValueError("a field is truncated")
        yield key >> 3, message[position : position + size]
        position += size


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return a number in base 128, least significant group first, and where it ends."""
    if position < len(message) and message[position] < 0x80:
        return message[position], position + 1
    value = 0
    for index, byte in enumerate(message[position : position + _VARINT_SIZE_MAX]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise ValueError("a number is truncated")
