"""Transports: bytes over sockets and any Trio stream; datagrams over sockets and over bytes."""

from trio_vmess.streams.datagrams import DatagramSocket, SocketAddress
from trio_vmess.streams.packets import BodyPacketLink
from trio_vmess.streams.prefixed import PrefixedTransport
from trio_vmess.streams.sockets import SocketTransport
from trio_vmess.streams.trio_stream import StreamTransport
from trio_vmess.streams.vmess import VMessStream

__all__ = [
    "BodyPacketLink",
    "DatagramSocket",
    "PrefixedTransport",
    "SocketAddress",
    "SocketTransport",
    "StreamTransport",
    "VMessStream",
]
