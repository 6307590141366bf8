"""Sockets bound to one address, and errors that tell an operator why one could not be.

Errors are `OSError` with the system's errno; the text is a message for the operator: what failed,
why, and what to change.
"""

import errno
import os
import socket
import stat
import sys
from typing import Final, TypeAlias

from trio_vmess.core import IPAddress, format_endpoint

ListenAddress = IPAddress | str
"""An IP address; or a Unix socket: a path, or `@name` in Linux's abstract namespace."""

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

_UNIX_ADVICE: Final = {
    errno.EACCES: "permission denied; choose a folder that the node may write to",
    errno.EADDRINUSE: "another program listens there; stop it, or choose another path",
    errno.ENOENT: "the folder does not exist; create it, or choose another path",
    errno.ENOTDIR: "a part of the path is not a folder; choose another path",
    errno.EEXIST: "a file that is not a socket exists there; remove it, or choose another path",
    errno.ENAMETOOLONG: "the path is too long for a Unix socket; choose a shorter one",
    errno.EAFNOSUPPORT: "this system does not support such sockets; listen on 127.0.0.1 instead",
}


def listening_socket(address: ListenAddress, port: int) -> socket.socket:
    """Return a non-blocking stream socket that listens.

    The file of a Unix socket is replaced if no process listens on it.

    Args:
        address: `::` accepts IPv6 only; IPv4 needs a socket on 0.0.0.0.
        port: 0 lets the system choose; ignored for a Unix socket.

    Raises:
        OSError: the address cannot be listened on; see the module.
    """
    try:
        if isinstance(address, str):
            return _listening_unix_socket(address)
        sock = _bound_socket(address, port, socket.SOCK_STREAM)
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


def bind_datagram_socket(address: IPAddress, port: int) -> socket.socket:
    """Return a non-blocking UDP socket that is bound to an address.

    Args:
        address: `::` receives IPv6 only.
        port: 0 lets the system choose.

    Raises:
        OSError: the address cannot be bound; see the module.
    """
    try:
        return _bound_socket(address, port, socket.SOCK_DGRAM)
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


def _bound_socket(address: IPAddress, port: int, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
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


def _listening_unix_socket(name: str) -> socket.socket:
    is_abstract = name.startswith("@")
    if not hasattr(socket, "AF_UNIX") or (is_abstract and sys.platform != "linux"):
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if is_abstract:
            sock.bind("\0" + name[1:])
        else:
            try:
                sock.bind(name)
            except OSError as exc:
                if exc.errno != errno.EADDRINUSE:
                    raise
                _remove_stale_socket(name)
                sock.bind(name)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale_socket(path: str) -> None:
    """Remove the file of a Unix socket that no process listens on.

    Raises:
        OSError: EADDRINUSE if a process does; EEXIST if the file is not a socket.
    """
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            # Non-blocking, because connecting to a listener with a full backlog would block; the
            # error it gives instead shows as well that a process listens.
            probe.setblocking(False)
            code = probe.connect_ex(path)
        if code != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        os.unlink(path)
    except FileNotFoundError:
        # Its owner has just removed it.
        return


def _explain(exc: OSError, address: ListenAddress, port: int) -> OSError:
    """Return an error with the same errno and a message for the operator."""
    code = exc.errno
    if code is None and isinstance(address, str):
        # Python itself checks the length of the path, and raises an error without errno.
        code = errno.ENAMETOOLONG
    advice = (_UNIX_ADVICE if isinstance(address, str) else _ADVICE).get(code or 0)
    shown = format_listen_address(address, port)
    return OSError(code, f"cannot listen on {shown}: {advice or exc.strerror or exc}")


def identify_file(path: str) -> tuple[int, int] | None:
    """Return the identity of a file, which a replacement does not have; None if it is missing."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def plain_host(name: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """Return the host of a socket address without an IPv6 zone such as `%eth0`."""
    return name[0].partition("%")[0]
