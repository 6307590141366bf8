"""An address as SOCKS5 writes it, in requests, replies and datagrams alike."""

import ipaddress
from typing import Final

from trio_vmess.core.buffer import NEED_DATA, NeedData
from trio_vmess.core.destination import PORT_MAX, Host, unmap
from trio_vmess.core.mixed import parse_requested_host
from trio_vmess.core.socks.constants import DOMAIN_SIZE_MAX, AddressType

PORT_SIZE: Final = 2


class UnknownAddressTypeError(ValueError):
    """The first byte names no address type: SOCKS has a reply of its own for it."""


def decode_address(data: bytes, start: int = 0) -> tuple[Host, int, int] | NeedData:
    """Read type, address and port.

    Layout: type (1) | 4, 16, or 1 + length bytes | port (2, big-endian).

    Args:
        data: where the address is.
        start: where it begins.

    Returns:
        Host, port, and where the address ends; `NEED_DATA` if `data` ends before it does.

    Raises:
        UnknownAddressTypeError: the type is none of the three.
        ValueError: the domain is not a valid name. One that spells an IP address is that address.

    Source:
        RFC 1928 section 5; the ports' place is from sections 4, 6 and 7.
    """
    if len(data) <= start:
        return NEED_DATA
    offset = start + 1
    match data[start]:
        case AddressType.IPV4:
            size = 4
        case AddressType.IPV6:
            size = 16
        case AddressType.DOMAIN:
            if len(data) <= offset:
                return NEED_DATA
            size = data[offset]
            offset += 1
        case unknown:
            raise UnknownAddressTypeError(
                f"address type 0x{unknown:02x} is unknown; expected 1, 3 or 4"
            )
    end = offset + size + PORT_SIZE
    if len(data) < end:
        return NEED_DATA
    address = data[offset : offset + size]
    port = int.from_bytes(data[end - PORT_SIZE : end], "big")
    host = (
        decode_domain(address)
        if data[start] == AddressType.DOMAIN
        else unmap(ipaddress.ip_address(address))
    )
    return host, port, end


def decode_domain(name: bytes) -> Host:
    """Read a domain name.

    Raises:
        ValueError: it is empty, no UTF-8, or holds what no name may hold.
    """
    try:
        text = name.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{name!r} is not a valid domain name: expected UTF-8") from None
    return parse_requested_host(text)


def encode_address(host: Host, port: int) -> bytes:
    """Write type, address and port.

    Raises:
        ValueError: the name is empty, longer than 255 bytes or not ASCII, or the port is not valid.
    """
    if not 0 <= port <= PORT_MAX:
        raise ValueError(f"{port} is not a valid port: expected 0 to {PORT_MAX}")
    tail = port.to_bytes(PORT_SIZE, "big")
    if isinstance(host, ipaddress.IPv4Address):
        return bytes([AddressType.IPV4]) + host.packed + tail
    if isinstance(host, ipaddress.IPv6Address):
        return bytes([AddressType.IPV6]) + host.packed + tail
    name = host.encode("ascii")
    if not 0 < len(name) <= DOMAIN_SIZE_MAX:
        raise ValueError(f"a domain name must have 1 to {DOMAIN_SIZE_MAX} bytes, not {len(name)}")
    return bytes([AddressType.DOMAIN, len(name)]) + name + tail
