"""Transparent proxying on Linux: sockets with addresses of others, and where peers were going.

A firewall can hand connections to a proxy that were meant for somebody else, in two ways. REDIRECT
replaces their destination and remembers it; TPROXY leaves it, so that the local address of an
accepted socket is not the machine's own. Such a socket has to be transparent, which takes
CAP_NET_ADMIN.

Source:
    Linux, Documentation/networking/tproxy.rst, ip(7), include/uapi/linux/in.h and in6.h; the
    option of REDIRECT is in include/uapi/linux/netfilter_ipv4.h and netfilter_ipv6/ip6_tables.h.
"""

import socket
import sys
from collections.abc import Mapping
from typing import Final

import attrs

from trio_vmess.core import Destination, Network, parse_host
from trio_vmess.transport.socket_options import SocketOption, set_options
from trio_vmess.transport.udp import SocketAddress


@attrs.frozen(kw_only=True)
class _Options:
    """The numbers of one address family; Python does not name them."""

    level: int
    transparent: int
    receive_destination: int
    """For datagrams; ancillary data have this type, too."""
    redirected_from: int = 80
    address_size: int


_OPTIONS: Final[Mapping[int, _Options]] = {
    socket.AF_INET: _Options(
        level=socket.IPPROTO_IP, transparent=19, receive_destination=20, address_size=16
    ),
    socket.AF_INET6: _Options(
        level=socket.IPPROTO_IPV6, transparent=75, receive_destination=74, address_size=28
    ),
}

_ANCILLARY_SIZE: Final = 64
"""Bytes that the destination of a datagram takes at most, with its header."""

_MARK: Final = 36
"""SO_MARK of asm-generic/socket.h."""


def transparent_options(
    family: socket.AddressFamily, kind: socket.SocketKind
) -> tuple[SocketOption, ...]:
    """Return the options with which a socket may have addresses of others; on Linux only."""
    options = _OPTIONS[family]
    transparent = SocketOption("tproxy", options.level, options.transparent, 1)
    if kind == socket.SOCK_STREAM:
        return (transparent,)
    return transparent, SocketOption("tproxy", options.level, options.receive_destination, 1)


def reached_address(sock: socket.socket) -> Destination | None:
    """Return where a connection was going that TPROXY has handed over; None if it has gone.

    Args:
        sock: accepted, TCP.
    """
    try:
        host, port = sock.getsockname()[:2]
    except OSError:
        return None
    return Destination(host=parse_host(host.partition("%")[0]), port=port)


def redirected_from(sock: socket.socket) -> Destination | None:
    """Return where a connection was going before REDIRECT; None if the system does not know.

    A connection that was not redirected was going to its local address, or is not known.

    Args:
        sock: accepted, TCP.
    """
    options = _OPTIONS[sock.family]
    try:
        name = sock.getsockopt(options.level, options.redirected_from, options.address_size)
    except OSError:  # ENOENT without an entry in the kernel's table of connections
        return None
    return destination_of(name, Network.TCP)


def receive_to(sock: socket.socket, size: int) -> tuple[bytes, SocketAddress, bytes]:
    """Receive a datagram from a transparent socket.

    Returns:
        The datagram; its sender; and where it was going, as the system has it in memory, which is
        quickly compared, and read by `destination_of`. Empty if the system did not tell.

    Raises:
        OSError: as `socket.recvmsg`.
    """
    datagram, ancillary, _, source = sock.recvmsg(size, _ANCILLARY_SIZE)
    options = _OPTIONS[sock.family]
    for level, kind, name in ancillary:
        if level == options.level and kind == options.receive_destination:
            return datagram, source, name
    return datagram, source, b""


def bind_as_destination(name: bytes, like: socket.socket) -> socket.socket:
    """Return a UDP socket that sends from where datagrams were going, and is transparent, too.

    Args:
        name: from `receive_to`.
        like: has received them; the new one has its mark, so that rules see no other program.

    Raises:
        OSError: the address cannot be bound, as when another program has it; or there is no
            descriptor left.
    """
    sock = socket.socket(like.family, socket.SOCK_DGRAM)
    try:
        # Two ports may be asked to answer from one address.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        set_options(sock, transparent_options(like.family, socket.SOCK_DGRAM))
        if mark := like.getsockopt(socket.SOL_SOCKET, _MARK):
            sock.setsockopt(socket.SOL_SOCKET, _MARK, mark)
        sock.bind(_read(name))
    except BaseException:
        sock.close()
        raise
    return sock


def destination_of(name: bytes, network: Network) -> Destination:
    """Read a name that the system has written."""
    host, port = _read(name)[:2]
    return Destination(host=parse_host(host), port=port, network=network)


def _read(name: bytes) -> SocketAddress:
    """Read a `struct sockaddr_in` or `sockaddr_in6`."""
    family, port = int.from_bytes(name[:2], sys.byteorder), int.from_bytes(name[2:4], "big")
    if family == socket.AF_INET:
        return socket.inet_ntop(family, name[4:8]), port
    zone = int.from_bytes(name[24:28], sys.byteorder)
    return socket.inet_ntop(socket.AF_INET6, name[8:24]), port, 0, zone
