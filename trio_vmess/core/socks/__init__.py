"""SOCKS4, SOCKS4a and SOCKS5 as the proxy speaks them."""

from trio_vmess.core.socks.client import SocksClient
from trio_vmess.core.socks.constants import Command, ReplyCode
from trio_vmess.core.socks.events import ConnectionClosed, Reply, Request, UdpDatagram
from trio_vmess.core.socks.server import SocksServer
from trio_vmess.core.socks.udp import decode_datagram, encode_datagram, split_datagram

__all__ = [
    "Command",
    "ConnectionClosed",
    "Reply",
    "ReplyCode",
    "Request",
    "SocksClient",
    "SocksServer",
    "UdpDatagram",
    "decode_datagram",
    "encode_datagram",
    "split_datagram",
]
