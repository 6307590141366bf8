"""Sockets bound to one address, and errors that tell an operator why one could not be.

Errors are `OSError` with the system's errno; the text is a message for the operator: what failed,
why, and what to change.
"""

import errno
import socket
import sys
from collections.abc import Sequence
from typing import Final, TypeAlias

from trio_vmess.core import IPAddress, format_endpoint
from trio_vmess.listen.unix_sockets import (
    OWN_PERMISSIONS,
    Permissions,
    explain_unix,
    listening_unix_socket,
)
from trio_vmess.transport import SocketOption, set_options

ListenAddress = IPAddress | str
"""An IP address; or a Unix socket as for `transport.unix_address`: a path, `@name` or `@@name`."""

SocketName: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | str | bytes
"""A socket address as the `socket` module returns it: IPv4, IPv6 or Unix."""

BACKLOG: Final = 4096
"""Length of the kernel's queue of connections to accept; the kernel caps it at its own limit."""

_ADVICE: Final = {
    errno.EACCES: (
        "permission denied; choose a port above 1023, or run the node with the right to use "
        "lower ones (on Linux: CAP_NET_BIND_SERVICE)"
    ),
    errno.EADDRINUSE: "another program listens there; stop it, or choose another port",
    errno.EADDRNOTAVAIL: (
        "this machine does not have that address; listen on one that it has, or on 0.0.0.0 for all"
    ),
    errno.EAFNOSUPPORT: "this system does not support that address family; choose another address",
}


def listening_socket(
    address: ListenAddress,
    port: int,
    *,
    permissions: Permissions = OWN_PERMISSIONS,
    options: Sequence[SocketOption] = (),
) -> socket.socket:
    """Return a non-blocking stream socket that listens.

    The file of a Unix socket is replaced if no process listens on it.

    Args:
        address: `::` accepts IPv6 only; IPv4 needs a socket on 0.0.0.0.
        port: 0 lets the system choose; ignored for a Unix socket.
        permissions: of the file of a Unix socket.
        options: set before binding; not of a Unix socket. Accepted sockets inherit them.

    Raises:
        OSError: the address cannot be listened on; see the module.
    """
    try:
        if isinstance(address, str):
            return listening_unix_socket(address, permissions, backlog=BACKLOG)
        sock = _bound_socket(address, port, socket.SOCK_STREAM, options)
        try:
            # Inherited by accepted sockets, which saves a system call for each connection.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            sock.listen(BACKLOG)
        except BaseException:
            sock.close()
            raise
    except OSError as exc:
        raise _explain(exc, address, port) from exc
    return sock


def bind_datagram_socket(
    address: IPAddress, port: int, *, options: Sequence[SocketOption] = ()
) -> socket.socket:
    """Return a non-blocking UDP socket that is bound to an address.

    Args:
        address: `::` receives IPv6 only.
        port: 0 lets the system choose.
        options: set before binding.

    Raises:
        OSError: the address cannot be bound; see the module.
    """
    try:
        return _bound_socket(address, port, socket.SOCK_DGRAM, options)
    except OSError as exc:
        raise _explain(exc, address, port) from exc


def format_listen_address(address: ListenAddress, port: int) -> str:
    """Return a listening address as text: `host:port`, `[host]:port` or the Unix socket's name."""
    if isinstance(address, str):
        return address
    return format_endpoint(address, port)


def format_source(name: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """Return a peer's socket address as `host:port` or `[host]:port`."""
    return f"{name[0]}:{name[1]}" if len(name) == 2 else f"[{plain_host(name)}]:{name[1]}"


def _bound_socket(
    address: IPAddress, port: int, kind: socket.SocketKind, options: Sequence[SocketOption]
) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        set_options(sock, options)
        if sys.platform == "win32":
            # Without it, Windows lets another program bind a port that is in use.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        elif kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((str(address), port))
    except BaseException:
        sock.close()
        raise
    return sock


def _explain(exc: OSError, address: ListenAddress, port: int) -> OSError:
    """Return an error with the same errno and a message for the operator."""
    if isinstance(address, str):
        code, reason = explain_unix(exc)
    else:
        code, reason = exc.errno, _ADVICE.get(exc.errno or 0) or exc.strerror or str(exc)
    return OSError(code, f"cannot listen on {format_listen_address(address, port)}: {reason}")


def plain_host(name: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """Return the host of a socket address without an IPv6 zone such as `%eth0`."""
    return name[0].partition("%")[0]
