"""Listening on one address: sockets and the accept loop.

A listener accepts all waiting connections in one turn of the event loop, up to a limit that keeps
other tasks responsive. The handlers of connections run in a nursery that outlives the listener, so
connections continue when the listener is closed.

Errors are `OSError` with the system's errno; the text is a message for the operator: what failed,
why, and what to change.
"""

import contextlib
import errno
import ipaddress
import logging
import math
import os
import socket
import stat
import sys
from collections.abc import Awaitable
from typing import Final, NoReturn, Protocol, TypeAlias

import trio

from trio_vmess.contracts import Transport
from trio_vmess.core import Destination, IPAddress, format_endpoint, parse_host
from trio_vmess.listen.descriptors import DescriptorBudget, descriptor_budget
from trio_vmess.transport import SocketTransport

ListenAddress = IPAddress | str
"""An IP address; or a Unix socket: a path, or `@name` in Linux's abstract namespace."""

BACKLOG: Final = 4096
"""Length of the kernel's queue of connections to accept; the kernel caps it at its own limit."""

ACCEPTS_PER_TURN: Final = 64
"""Connections accepted in a row before other tasks run."""

RESOURCE_PAUSE: Final = 0.1
"""Seconds to pause when there are no file descriptors or no memory for another connection."""

SHORTAGE_END: Final = 60.0
"""Seconds without a shortage after which the next one is reported again."""

_RESOURCE_ERRORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})

# Errors of a connection that failed before it was accepted; the listener itself is intact. Source:
# accept(2), "Error handling"; EPERM comes from a firewall on Linux, and ECONNRESET from Windows.
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

SocketName: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | str | bytes
"""A socket address as the `socket` module returns it: IPv4, IPv6 or Unix."""

log: Final = logging.getLogger("trio_vmess.listen")


class Handler(Protocol):
    """Serves the connections of a listener; `Inbound.serve` is one."""

    def __call__(self, transport: Transport, *, source: str, deadline: float) -> Awaitable[None]:
        """Serve one connection until it ends, and close it; see `Inbound.serve`."""
        ...


class Listener:
    """A listening socket.

    Args:
        sock: a non-blocking stream socket that listens; owned by the listener.
        path: the file of a Unix socket, removed on close; None if there is no file.
        brings_data: whether connections usually have data to read soon after they are accepted.
    """

    def __init__(
        self, sock: socket.socket, *, path: str | None = None, brings_data: bool = False
    ) -> None:
        self._socket = sock
        self._brings_data = brings_data
        self._path = path
        self._file = None if path is None else _identify(path)
        self._last_shortage = -math.inf
        self._local: Destination | None = None
        self._port = 0
        name: SocketName = sock.getsockname()
        if isinstance(name, tuple):
            host, self._port = _plain_host(name), name[1]
            address = ipaddress.ip_address(host)
            self._address_text = format_endpoint(address, self._port)
            # One system call less for each connection. A listener on a wildcard address cannot
            # know the local address of its connections.
            if not address.is_unspecified:
                self._local = Destination(host=parse_host(host), port=self._port)
        else:
            self._address_text = path or "@" + os.fsdecode(name)[1:]

    def __repr__(self) -> str:
        return f"<Listener {self}>"

    def __str__(self) -> str:
        """Return the address it listens on: `host:port`, `[host]:port`, a path or `@name`."""
        return self._address_text

    @property
    def port(self) -> int:
        """The port number, also if the system has chosen it; 0 for a Unix socket."""
        return self._port

    @property
    def is_open(self) -> bool:
        """Whether it has not been closed."""
        return self._socket.fileno() >= 0

    def close(self) -> None:
        """Stop listening; does nothing the second time. Connections not yet accepted are reset."""
        if not self.is_open:
            return
        if trio.lowlevel.in_trio_run():
            trio.lowlevel.notify_closing(self._socket)
        self._socket.close()
        # Only if the file is still ours: another program may have replaced it by its own socket.
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
        """Accept connections until cancelled; the socket is closed when this ends.

        Args:
            handler: called once for each connection, which it owns. An exception in it is logged
                and ends only that connection.
            connections: the nursery for handlers; must outlive this task.
            handshake: seconds from accepting a connection to the deadline passed to its handler.
            task_status: `started` is called at once: clients can connect.

        Raises:
            OSError: the socket cannot accept connections any more.
            trio.ClosedResourceError: the listener was closed meanwhile.
            trio.Cancelled: from outside; connections that were accepted continue.
        """
        try:
            budget = descriptor_budget(self._socket.fileno())
            task_status.started()
            while True:
                await trio.lowlevel.wait_readable(self._socket)
                if not self._accept_waiting(handler, connections, handshake, budget):
                    # The socket stays readable during a shortage, so without a pause this loop
                    # would spin.
                    await trio.sleep(RESOURCE_PAUSE)
        finally:
            self.close()

    def _accept_waiting(
        self,
        handler: Handler,
        connections: trio.Nursery,
        handshake: float,
        budget: DescriptorBudget,
    ) -> bool:
        """Accept what is waiting; return False if the system is short of resources.

        Accepting in a batch saves a turn of the event loop for each connection under load.
        """
        for _ in range(ACCEPTS_PER_TURN):
            if not budget.has_room(self._socket.fileno()):
                self._report_shortage(str(budget))
                return False
            try:
                sock, name = self._socket.accept()
            except BlockingIOError:
                break
            except OSError as exc:
                if exc.errno in _RESOURCE_ERRORS:
                    self._report_shortage(exc.strerror or str(exc))
                    return False
                if exc.errno not in _CONNECTION_ERRORS:
                    raise
                # Only that connection is lost; the next one in the queue may be fine.
                continue
            self._start(sock, name, handler, connections, handshake, budget)
        return True

    def _start(
        self,
        sock: socket.socket,
        name: SocketName,
        handler: Handler,
        connections: trio.Nursery,
        handshake: float,
        budget: DescriptorBudget,
    ) -> None:
        try:
            transport = SocketTransport(sock, is_readable=self._brings_data, local=self._local)
        except OSError:
            # The peer has already disconnected; some systems report that when options are set.
            sock.close()
            return
        source = "" if isinstance(name, str | bytes) else format_source(name)
        deadline = trio.current_time() + handshake
        budget.enter(sock.fileno())
        connections.start_soon(
            _serve_one, handler, transport, source, deadline, budget, name="connection"
        )

    def _report_shortage(self, reason: str) -> None:
        # Connections that end make room for some that wait: the shortage goes on meanwhile.
        now = trio.current_time()
        is_new = now - self._last_shortage >= SHORTAGE_END
        self._last_shortage = now
        if is_new:
            log.warning(
                "listen.paused listener=%s reason=%r hint=%r",
                self,
                reason,
                "connections wait until others end; raise the limit of open files (ulimit -n)",
            )


async def _serve_one(
    handler: Handler,
    transport: Transport,
    source: str,
    deadline: float,
    budget: DescriptorBudget,
) -> None:
    try:
        await handler(transport, source=source, deadline=deadline)
    except Exception:
        # The error boundary for what happens before dispatch: without it, an exception would cancel
        # the nursery and with it all other connections.
        log.exception("listen.bug source=%s", source or "-")
        await transport.aclose()
    finally:
        budget.leave()


# Sockets ------------------------------------------------------------------------------------------


def open_listener(
    address: ListenAddress, port: int = 0, *, clients_speak_first: bool = False
) -> Listener:
    """Listen on an address.

    The file of a Unix socket is replaced if no process listens on it.

    Args:
        address: `::` accepts IPv6 only; IPv4 needs a listener on 0.0.0.0.
        port: 0 lets the system choose; ignored for a Unix socket.
        clients_speak_first: the first read of a TCP connection then tries before it waits. The
            first bytes have mostly arrived by then, which saves a turn of the event loop.
            (`TCP_DEFER_ACCEPT` would save more turns, and show: its SYN-ACK is sent twice.)

    Raises:
        OSError: the address cannot be listened on; see the module.
    """
    try:
        if isinstance(address, str):
            return _open_unix_listener(address)
        sock = _bound_socket(address, port, socket.SOCK_STREAM)
        try:
            # Inherited by accepted sockets, which saves a system call for each connection.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            sock.listen(BACKLOG)
            return Listener(sock, brings_data=clients_speak_first)
        except BaseException:
            sock.close()
            raise
    except OSError as exc:
        raise _explain(exc, address, port) from exc


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
    return f"{name[0]}:{name[1]}" if len(name) == 2 else f"[{_plain_host(name)}]:{name[1]}"


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


def _identify(path: str) -> tuple[int, int] | None:
    """Return the identity of a file, which a replacement does not have; None if it is missing."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _plain_host(name: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """Return the host of a socket address without an IPv6 zone such as `%eth0`."""
    return name[0].partition("%")[0]
