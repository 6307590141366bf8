"""The header that SOCKS5 puts before each datagram.

Layout (RFC 1928 section 7): reserved (2) | fragment (1) | address type (1) | address | port (2) |
data. The reserved bytes are written as zeros and not looked at, as in V2Ray.
"""

from typing import Final

from trio_vmess.core.buffer import NEED_DATA
from trio_vmess.core.destination import Destination, Host, Network
from trio_vmess.core.socks.address import decode_address, encode_address
from trio_vmess.core.socks.constants import UDP_UNFRAGMENTED
from trio_vmess.core.socks.events import UdpDatagram
from trio_vmess.errors import RemoteProtocolError

_FRAGMENT_OFFSET: Final = 2
_ADDRESS_OFFSET: Final = 3


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


def encode_datagram(host: Host, port: int, payload: bytes) -> bytes:
    """Write a datagram for a program.

    Args:
        host: where the datagram came from.
        port: the port it came from.
        payload: its content.

    Raises:
        ValueError: the name is empty, longer than 255 bytes or not ASCII, or there is no such port.
    """
    return bytes([0, 0, UDP_UNFRAGMENTED]) + encode_address(host, port) + payload
