"""Addresses as VMess headers and Mux frames write them: a type, then the address.

Layout: 1 type | IPv4: 4 bytes; domain: 1 length, then the name; IPv6: 16 bytes.
"""

import ipaddress

from trio_vmess.core.buffer import NEED_DATA, NeedData
from trio_vmess.core.destination import Host, parse_host, unmap
from trio_vmess.core.vmess.constants import DOMAIN_BYTES, DOMAIN_MAX, AddressType
from trio_vmess.errors import LocalProtocolError, RemoteProtocolError


def encode_address(host: Host) -> bytes:
    """Write type and address.

    Raises:
        LocalProtocolError: the name is empty, longer than 255 bytes, or has bytes that V2Ray
            refuses (anything but ASCII letters, digits, `-`, `.` and `_`).
    """
    if isinstance(host, ipaddress.IPv4Address):
        return b"\x01" + host.packed
    if isinstance(host, ipaddress.IPv6Address):
        return b"\x03" + host.packed
    try:
        name = host.encode("ascii")
    except UnicodeEncodeError:
        raise LocalProtocolError(f"domain {host!r}: non-ASCII names must be in punycode") from None
    if not 0 < len(name) <= DOMAIN_MAX:
        # QUIRK: V2Ray and Xray write a 256-byte name with length byte 0, which no server can read
        # (v2ray-core, common/protocol/address.go, writeAddress).
        raise LocalProtocolError(f"domain: must have 1 to {DOMAIN_MAX} bytes, not {len(name)}")
    if name.translate(None, DOMAIN_BYTES):
        raise LocalProtocolError(
            f"domain {host!r}: only letters, digits, '-', '.' and '_' are allowed"
        )
    return bytes((AddressType.DOMAIN, len(name))) + name


def decode_address(data: bytes, offset: int) -> tuple[int, int] | NeedData:
    """Find where the address at `offset` begins and ends, without checking a name's content.

    Returns:
        The offsets of its first byte (behind type and length) and of the byte behind it, or
        NEED_DATA if `data` ends before.

    Raises:
        RemoteProtocolError: the address type is unknown.
    """
    if len(data) <= offset:
        return NEED_DATA
    start = offset + 1
    match data[offset]:
        case AddressType.IPV4:
            end = start + 4
        case AddressType.IPV6:
            end = start + 16
        case AddressType.DOMAIN:
            if len(data) <= start:
                return NEED_DATA
            start, end = start + 1, start + 1 + data[start]
        case unknown:
            raise RemoteProtocolError(f"address type: {unknown} is unknown; expected 1, 2 or 3")
    return NEED_DATA if end > len(data) else (start, end)


def decode_host(address_type: int, address: bytes) -> Host:
    """Read an address that `decode_address` found.

    An IPv4-mapped IPv6 address becomes IPv4, and a name that spells an IP address becomes that.

    Raises:
        RemoteProtocolError: a name is empty or has illegal bytes.
    """
    if address_type == AddressType.IPV4:
        return ipaddress.IPv4Address(address)
    if address_type == AddressType.IPV6:
        return unmap(ipaddress.IPv6Address(address))
    if not address:
        raise RemoteProtocolError("domain: the name is empty")
    # QUIRK: a "domain" that spells an IP address is that address (v2ray-core, protocol/address.go).
    if address[:1].isdigit() or address[:1] == b"[":
        try:
            host = parse_host(address.decode("latin-1"))
        except ValueError:
            host = ""
        if not isinstance(host, str):
            return host
    if address.translate(None, DOMAIN_BYTES):
        raise RemoteProtocolError(
            f"domain: {address[:64]!r} contains bytes that are not allowed in a name"
        )
    return address.decode("ascii")
