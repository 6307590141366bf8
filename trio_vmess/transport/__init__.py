"""Transports: byte streams over sockets, Trio streams or codecs; layers; datagrams; dialling.

The layers (TLS and carriers) are not imported here, because most nodes do without some of them.
"""

from trio_vmess.transport.address_order import by_preference
from trio_vmess.transport.background import Background
from trio_vmess.transport.control_connection import cancel_at_end
from trio_vmess.transport.dial import (
    DIAL_TIMEOUT,
    Refuse,
    check_refusal,
    connect_datagram_socket,
    dial,
    dial_error,
    open_datagram_socket,
    resolve,
)
from trio_vmess.transport.layer import TransportLayer
from trio_vmess.transport.lingering_close import close_lingering
from trio_vmess.transport.own_addresses import is_own_address
from trio_vmess.transport.packet_sender import PacketSender
from trio_vmess.transport.packets import BodyPacketLink
from trio_vmess.transport.prefixed import PrefixedTransport
from trio_vmess.transport.recorded import RecordedTransport
from trio_vmess.transport.side import SideTransport
from trio_vmess.transport.socket_options import SocketOption, set_options
from trio_vmess.transport.tcp import SocketTransport
from trio_vmess.transport.transparent import (
    bind_as_destination,
    destination_of,
    reached_address,
    receive_to,
    redirected_from,
    transparent_options,
)
from trio_vmess.transport.trio_stream import StreamTransport
from trio_vmess.transport.udp import DatagramSocket, SocketAddress
from trio_vmess.transport.unix import abstract_name, dial_unix, unix_address

__all__ = [
    "DIAL_TIMEOUT",
    "Background",
    "BodyPacketLink",
    "DatagramSocket",
    "PacketSender",
    "PrefixedTransport",
    "RecordedTransport",
    "Refuse",
    "SideTransport",
    "SocketAddress",
    "SocketOption",
    "SocketTransport",
    "StreamTransport",
    "TransportLayer",
    "abstract_name",
    "bind_as_destination",
    "by_preference",
    "cancel_at_end",
    "check_refusal",
    "close_lingering",
    "connect_datagram_socket",
    "destination_of",
    "dial",
    "dial_error",
    "dial_unix",
    "is_own_address",
    "open_datagram_socket",
    "reached_address",
    "receive_to",
    "redirected_from",
    "resolve",
    "set_options",
    "transparent_options",
    "unix_address",
]
