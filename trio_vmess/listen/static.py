"""Listening on one address: sockets, and the loop that accepts.

A listener takes all connections that are waiting in one turn, as far as a limit goes that lets
other tasks have theirs. What a connection does is its handler's business. It runs in a nursery that
outlives the listener, so connections go on when the listener is closed.

Errors are `OSError` with the number that the system gave; the text is a whole sentence for the
operator: what could not be done, why, and what to change.
"""

import contextlib
import errno
import ipaddress
import logging
import os
import socket
import stat
import sys
from collections.abc import Awaitable
from typing import Final, NoReturn, Protocol, TypeAlias

import trio

from trio_vmess.contracts import Transport
from trio_vmess.core import Destination, IPAddress, format_endpoint, parse_host
from trio_vmess.transport import SocketTransport

ListenAddress = IPAddress | str
"""An IP address; or a Unix socket: a path, or `@name` for Linux's abstract name space."""

BACKLOG: Final = 4096
"""Connections that the kernel may hold for us; it lowers the number to its own limit."""

SILENCE_LIMIT: Final = 1
"""Seconds after which Linux shows us a connection whose client should speak, and does not."""

ACCEPTS_PER_TURN: Final = 64
"""Connections that are accepted before other tasks have a turn."""

RESOURCE_PAUSE: Final = 0.1
"""Seconds to wait when the system has no file descriptors or memory for another connection."""

_RESOURCE_ERRORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})

# What ailed a connection before it was accepted. Source: accept(2), "Error handling"; EPERM is a
# firewall's word on Linux, and ECONNRESET that of Windows.
_CONNECTION_ERRORS: Final = frozenset(
    {
        *(errno.ECONNABORTED, errno.ECONNRESET, errno.EPERM, errno.EPROTO),
        *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENOPROTOOPT),
    }
)

_ADVICE: Final = {
    errno.EACCES: (
        "permission denied; choose a port above 1023, or run the node with the right to use "
        "lower ones (on Linux: CAP_NET_BIND_SERVICE)"
    ),
    errno.EADDRINUSE: "another program listens there; stop it, or choose another port",
    errno.EADDRNOTAVAIL: (
        "this machine does not have that address; listen on one that it has, or on 0.0.0.0 for all"
    ),
    errno.EAFNOSUPPORT: "this system does not speak that address family; choose another address",
}

_UNIX_ADVICE: Final = {
    errno.EACCES: "permission denied; choose a folder that the node may write to",
    errno.EADDRINUSE: "another program listens there; stop it, or choose another path",
    errno.ENOENT: "the folder does not exist; create it, or choose another path",
    errno.ENOTDIR: "a part of the path is no folder; choose another path",
    errno.EEXIST: "there is a file that is no socket; remove it, or choose another path",
    errno.ENAMETOOLONG: "the path is too long for a Unix socket; choose a shorter one",
    errno.EAFNOSUPPORT: "this system has no such sockets; listen on 127.0.0.1 instead",
}

SocketName: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | str | bytes
"""An address as the system gives it: of IPv4, of IPv6, or of a Unix socket."""

log: Final = logging.getLogger("trio_vmess.listen")


class Handler(Protocol):
    """What is done with a connection: `Inbound.serve` is one."""

    def __call__(self, transport: Transport, *, source: str, deadline: float) -> Awaitable[None]:
        """Serve one connection to its end, and close it; see `Inbound.serve`."""
        ...


class Listener:
    """A socket that listens.

    Args:
        sock: a bound stream socket that listens and does not block; it belongs to the listener.
        path: the file to remove in the end, for a Unix socket that has one.
        brings_data: whether connections mostly have bytes to read when they are accepted.
    """

    def __init__(
        self, sock: socket.socket, *, path: str | None = None, brings_data: bool = False
    ) -> None:
        self._socket = sock
        self._brings_data = brings_data
        self._path = path
        self._file = None if path is None else _identify(path)
        self._short_of_resources = False
        self._local: Destination | None = None
        self._port = 0
        name: SocketName = sock.getsockname()
        if isinstance(name, tuple):
            host, self._port = _plain_host(name), name[1]
            address = ipaddress.ip_address(host)
            self._place = format_endpoint(address, self._port)
            # Bound to all addresses, each connection has to be asked which one it came by.
            if not address.is_unspecified:
                self._local = Destination(host=parse_host(host), port=self._port)
        else:
            self._place = path or "@" + os.fsdecode(name)[1:]

    def __repr__(self) -> str:
        return f"<Listener {self}>"

    def __str__(self) -> str:
        """Write where it listens, as people do."""
        return self._place

    @property
    def port(self) -> int:
        """The port, also where the system has chosen it; 0 for a Unix socket."""
        return self._port

    @property
    def is_open(self) -> bool:
        """Whether it has not been closed."""
        return self._socket.fileno() >= 0

    def close(self) -> None:
        """Stop listening; does nothing the second time. What is waiting unaccepted is reset."""
        if not self.is_open:
            return
        if trio.lowlevel.in_trio_run():
            trio.lowlevel.notify_closing(self._socket)
        self._socket.close()
        # Another program may have put its own socket there.
        if self._path is not None and _identify(self._path) == self._file:
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    async def serve(
        self,
        handler: Handler,
        *,
        connections: trio.Nursery,
        handshake: float,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> NoReturn:
        """Accept connections for ever; the socket is closed when this ends.

        Args:
            handler: is started once for each connection and owns it. A bug in it is logged and
                ends that connection alone.
            connections: where the handlers run; to outlive this task.
            handshake: seconds from accepting a connection to the deadline that handlers are given.
            task_status: is told at once: who connects now is served.

        Raises:
            OSError: the system refuses to accept anything any more.
            trio.ClosedResourceError: the listener was closed meanwhile.
            trio.Cancelled: from outside; connections that were accepted go on.
        """
        try:
            task_status.started()
            while True:
                await trio.lowlevel.wait_readable(self._socket)
                if not self._accept_waiting(handler, connections, handshake):
                    await trio.sleep(RESOURCE_PAUSE)
        finally:
            self.close()

    def _accept_waiting(
        self, handler: Handler, connections: trio.Nursery, handshake: float
    ) -> bool:
        """Accept what is waiting; False if the system has no room for more now."""
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, name = self._socket.accept()
            except BlockingIOError:
                break
            except OSError as exc:
                if exc.errno in _RESOURCE_ERRORS:
                    self._report_shortage(exc)
                    return False
                if exc.errno not in _CONNECTION_ERRORS:
                    raise
                continue
            self._short_of_resources = False
            self._start(sock, name, handler, connections, handshake)
        return True

    def _start(
        self,
        sock: socket.socket,
        name: SocketName,
        handler: Handler,
        connections: trio.Nursery,
        handshake: float,
    ) -> None:
        try:
            transport = SocketTransport(sock, is_readable=self._brings_data, local=self._local)
        except OSError:
            # The peer is gone already: some systems say so here.
            sock.close()
            return
        source = "" if isinstance(name, str | bytes) else format_source(name)
        deadline = trio.current_time() + handshake
        connections.start_soon(_serve_one, handler, transport, source, deadline, name="connection")

    def _report_shortage(self, exc: OSError) -> None:
        if not self._short_of_resources:
            self._short_of_resources = True
            log.warning(
                "listen.paused listener=%s reason=%r hint=%r",
                self,
                exc.strerror or str(exc),
                "connections wait until others end; raise the limit of open files (ulimit -n)",
            )


async def _serve_one(handler: Handler, transport: Transport, source: str, deadline: float) -> None:
    try:
        await handler(transport, source=source, deadline=deadline)
    except Exception:
        # The boundary of what comes before dispatch: one connection's bug is not the others'.
        log.exception("listen.bug source=%s", source or "-")
        await transport.aclose()


# Sockets ------------------------------------------------------------------------------------------


def open_listener(
    address: ListenAddress, port: int = 0, *, clients_begin: bool = False
) -> Listener:
    """Listen on an address.

    A Unix socket's file that nobody listens on any more is replaced.

    Args:
        address: `::` is for IPv6 alone; 0.0.0.0 has to be listened on for IPv4.
        port: 0 leaves the choice to the system; without meaning for a Unix socket.
        clients_begin: clients speak first. Linux then shows us a TCP connection when its first
            bytes are there, which saves a turn of the loop, or after `SILENCE_LIMIT`.

    Raises:
        OSError: it cannot be done; see the module.
    """
    try:
        if isinstance(address, str):
            return _open_unix_listener(address)
        sock = _bound_socket(address, port, socket.SOCK_STREAM)
        try:
            # What is accepted inherits this.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            defers = clients_begin and sys.platform == "linux"
            if defers:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, SILENCE_LIMIT)
            sock.listen(BACKLOG)
            return Listener(sock, brings_data=defers)
        except BaseException:
            sock.close()
            raise
    except OSError as exc:
        raise _explain(exc, address, port) from exc


def bind_datagram_socket(address: IPAddress, port: int) -> socket.socket:
    """Return a non-blocking UDP socket that is bound to an address.

    Args:
        address: `::` is for IPv6 alone.
        port: 0 leaves the choice to the system.

    Raises:
        OSError: it cannot be done; see the module.
    """
    try:
        return _bound_socket(address, port, socket.SOCK_DGRAM)
    except OSError as exc:
        raise _explain(exc, address, port) from exc


def format_listen_address(address: ListenAddress, port: int) -> str:
    """Write where is listened: `host:port`, `[host]:port` or the Unix socket's name."""
    if isinstance(address, str):
        return address
    return format_endpoint(address, port)


def format_source(name: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """Write a peer's socket address as `host:port` or `[host]:port`."""
    return f"{name[0]}:{name[1]}" if len(name) == 2 else f"[{_plain_host(name)}]:{name[1]}"


def _bound_socket(address: IPAddress, port: int, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if sys.platform == "win32":
            # Without it, another program could take over a port that is in use.
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


def _open_unix_listener(name: str) -> Listener:
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
        return Listener(sock, path=None if is_abstract else name)
    except BaseException:
        sock.close()
        raise


def _remove_stale_socket(path: str) -> None:
    """Remove a socket's file that nobody listens on.

    Raises:
        OSError: EADDRINUSE if somebody does; EEXIST if it is no socket.
    """
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            # A full backlog must not hold us up; it says enough.
            probe.setblocking(False)
            code = probe.connect_ex(path)
        if code != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        os.unlink(path)
    except FileNotFoundError:
        # Its owner was faster than we were.
        return


def _explain(exc: OSError, address: ListenAddress, port: int) -> OSError:
    """Return an error with the same number that says what to do."""
    code = exc.errno
    if code is None and isinstance(address, str):
        # Python itself measures the path, and has no number for it.
        code = errno.ENAMETOOLONG
    advice = (_UNIX_ADVICE if isinstance(address, str) else _ADVICE).get(code or 0)
    place = format_listen_address(address, port)
    return OSError(code, f"cannot listen on {place}: {advice or exc.strerror or exc}")


def _identify(path: str) -> tuple[int, int] | None:
    """Return what tells a file from one that takes its place; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _plain_host(name: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """Return the host of a socket address without the name of its network interface."""
    return name[0].partition("%")[0]
