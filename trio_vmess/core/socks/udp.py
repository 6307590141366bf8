"""The header that SOCKS5 puts before each datagram.

Layout (RFC 1928 section 7): reserved (2) | fragment (1) | address type (1) | address | port (2) |
data. The reserved bytes are written as zeros and not looked at, as in V2Ray.
"""

from typing import Final

from trio_vmess.core.buffer import NEED_DATA
from trio_vmess.core.destination import Destination, Host, Network
from trio_vmess.core.socks.address import PORT_SIZE, decode_address, encode_address
from trio_vmess.core.socks.constants import UDP_UNFRAGMENTED, AddressType
from trio_vmess.core.socks.events import UdpDatagram
from trio_vmess.errors import RemoteProtocolError

_FRAGMENT_OFFSET: Final = 2
_ADDRESS_OFFSET: Final = 3
_ADDRESS_SIZES: Final[dict[int, int]] = {AddressType.IPV4: 1 + 4, AddressType.IPV6: 1 + 16}
"""Type and address; a domain's depends on its length."""


def decode_datagram(data: bytes) -> UdpDatagram:
    """Read a datagram as a program sent it to the proxy.

    Raises:
        RemoteProtocolError: the message names the field that is wrong. Fragments (FRAG is not 0)
            are refused: RFC 1928 leaves them optional, and V2Ray drops them.
    """
    if len(data) <= _ADDRESS_OFFSET:
        raise RemoteProtocolError(f"UDP header: {len(data)} bytes are fewer than RSV, FRAG, ATYP")
    if data[_FRAGMENT_OFFSET] != UDP_UNFRAGMENTED:
        raise RemoteProtocolError(
            f"UDP header: FRAG is {data[_FRAGMENT_OFFSET]}; fragments are not supported"
        )
    try:
        decoded = decode_address(data, _ADDRESS_OFFSET)
    except ValueError as exc:
        raise RemoteProtocolError(f"UDP header: DST.ADDR: {exc}") from None
    if decoded is NEED_DATA:
        raise RemoteProtocolError("UDP header: the datagram ends inside DST.ADDR or DST.PORT")
    host, port, end = decoded
    return UdpDatagram(
        destination=Destination(host=host, port=port, network=Network.UDP), payload=data[end:]
    )


def split_datagram(data: bytes) -> tuple[bytes, bytes]:
    """Part a datagram's destination, as it is written, from its payload, without reading it.

    Programs send many datagrams to few destinations: the written form is a key that costs nothing.
    `decode_datagram` still has to read the first of each.

    Returns:
        The address and port as they stand behind the fragment number, and the payload; both empty
        if they cannot be told apart, which `decode_datagram` would refuse.
    """
    if len(data) <= _ADDRESS_OFFSET + 1 or data[_FRAGMENT_OFFSET] != UDP_UNFRAGMENTED:
        return b"", b""
    size = _ADDRESS_SIZES.get(data[_ADDRESS_OFFSET])
    if size is None:
        size = 2 + data[_ADDRESS_OFFSET + 1]
    end = _ADDRESS_OFFSET + size + PORT_SIZE
    return data[_ADDRESS_OFFSET:end], data[end:]


def encode_datagram(host: Host, port: int, payload: bytes) -> bytes:
    """Write a datagram for a program.

    Args:
        host: where the datagram came from.
        port: the port it came from.
        payload: its content.

    Raises:
        ValueError: the name is empty, longer than 255 bytes or not ASCII, or the port is not valid.
    """
    return bytes([0, 0, UDP_UNFRAGMENTED]) + encode_address(host, port) + payload
