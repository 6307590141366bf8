"""Connected sockets on this machine, and what a peer can do to them.

A folder of tests that uses them has a fixture, too, which calls `close_sockets` behind each test.
"""

import socket
import struct
from collections.abc import Iterable

import trio

from tests.kit.names import IPV4_LOOPBACK
from trio_vmess.transport.tcp import SocketTransport

_made: list[socket.socket] = []


def _remember(socks: Iterable[socket.socket]) -> None:
    _made.extend(socks)


def close_sockets() -> None:
    """Close every socket that was made here and is still open."""
    for sock in _made:
        sock.close()
    _made.clear()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a TCP connection on loopback; the first one connected."""
    with socket.create_server((IPV4_LOOPBACK, 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    _remember((client, server))
    return client, server


def transport_pair(*, buffer_size: int | None = None) -> tuple[SocketTransport, SocketTransport]:
    """Return the two ends of a Unix connection.

    Args:
        buffer_size: what the kernel may hold of each direction, about; None for its default.
    """
    pair = socket.socketpair()
    _remember(pair)
    for sock in pair:
        if buffer_size is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_size)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_size)
    return SocketTransport(pair[0]), SocketTransport(pair[1])


def reset(sock: socket.socket) -> None:
    """Close a TCP socket so that its peer sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if sock.fileno() >= 0:
        trio.lowlevel.notify_closing(sock.fileno())
    sock.close()


def refused_port() -> int:
    """Return a TCP port of loopback where nobody listens."""
    with socket.socket() as probe:
        probe.bind((IPV4_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port


def clogged_listener(address: str = IPV4_LOOPBACK, port: int = 0) -> socket.socket:
    """Return a listener that answers no further connection: its queue is full.

    Args:
        address: where it listens, on loopback.
        port: its port; 0 for any.
    """
    listener = socket.create_server((address, port), backlog=0)
    for _ in range(2):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        _remember((filler,))
    _remember((listener,))
    return listener
