"""The sans-IO core: bytes in, events and bytes out.

Nothing in here waits, reads a clock, draws randomness, opens a socket or writes a log.
Time is an argument (`now`, int UTC seconds) and randomness a dependency (`Entropy`).
"""

from trio_vmess.core.buffer import NEED_DATA, NeedData, ReceiveBuffer
from trio_vmess.core.codec import Codec, IdentityCodec, Piece, PieceCodec, PrefixedCodec
from trio_vmess.core.destination import (
    Destination,
    Host,
    IPAddress,
    Network,
    format_endpoint,
    parse_endpoint,
    parse_host,
    unmap,
)
from trio_vmess.core.entropy import Entropy
from trio_vmess.core.flow import Association, Flow, User
from trio_vmess.core.mixed import ProxyProtocol, detect_proxy_protocol
from trio_vmess.core.packetaddr import PACKETADDR_HOST, decode_packetaddr, encode_packetaddr
from trio_vmess.core.policy import Policy
from trio_vmess.core.ports import PortPlan
from trio_vmess.core.public_address import embedded_address, is_public

__all__ = [
    "NEED_DATA",
    "PACKETADDR_HOST",
    "Association",
    "Codec",
    "Destination",
    "Entropy",
    "Flow",
    "Host",
    "IPAddress",
    "IdentityCodec",
    "NeedData",
    "Network",
    "Piece",
    "PieceCodec",
    "Policy",
    "PortPlan",
    "PrefixedCodec",
    "ProxyProtocol",
    "ReceiveBuffer",
    "User",
    "decode_packetaddr",
    "detect_proxy_protocol",
    "embedded_address",
    "encode_packetaddr",
    "format_endpoint",
    "is_public",
    "parse_endpoint",
    "parse_host",
    "unmap",
]
