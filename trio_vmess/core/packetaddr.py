"""Packetaddr: datagrams to and from many addresses in one VMess connection of command UDP.

The request's destination is `PACKETADDR_HOST`. Each datagram, in both directions, begins with the
address of its remote end: 1 type (1 IPv4, 2 IPv6) | 4 or 16 address | 2 port. There are no names.

Source: v2ray-core v5, common/net/packetaddr; sing-vmess, packetaddr.
"""

import ipaddress
from typing import Final

from trio_vmess.core.destination import Destination, IPAddress, Network, unmap
from trio_vmess.errors import RemoteProtocolError

PACKETADDR_HOST: Final = "sp.packet-addr.v2fly.arpa"

_IPV4: Final = 1
_IPV6: Final = 2
_SIZES: Final = {_IPV4: 4, _IPV6: 16}
_PORT_SIZE: Final = 2


def encode_packetaddr(host: IPAddress, port: int, payload: bytes) -> bytes:
    """Write a datagram that goes to an address, or comes from it."""
    kind = _IPV4 if host.version == 4 else _IPV6
    return b"".join((bytes((kind,)), host.packed, port.to_bytes(_PORT_SIZE, "big"), payload))


def decode_packetaddr(data: bytes) -> tuple[Destination, bytes]:
    """Return a datagram's remote end and its payload.

    Raises:
        RemoteProtocolError: the type is unknown, or the datagram ends inside the address.
    """
    size = _SIZES.get(data[0]) if data else None
    if size is None:
        raise RemoteProtocolError("packetaddr: expected address type 1 or 2")
    start, end = 1 + size, 1 + size + _PORT_SIZE
    if len(data) < end:
        raise RemoteProtocolError("packetaddr: the datagram ends inside its address")
    host = ipaddress.ip_address(data[1:start])
    port = int.from_bytes(data[start:end], "big")
    return Destination(host=unmap(host), port=port, network=Network.UDP), data[end:]
