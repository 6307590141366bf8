"""A listening socket and its accept loop.

A listener accepts all waiting connections in one turn of the event loop, up to a limit that keeps
other tasks responsive. The handlers of connections run in a nursery that outlives the listener, so
connections continue when the listener is closed.
"""

import contextlib
import errno
import ipaddress
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NoReturn, Protocol

import trio

from trio_vmess.contracts import Transport
from trio_vmess.core import Destination, format_endpoint, parse_host
from trio_vmess.listen.descriptors import DescriptorBudget, Shortage, descriptor_budget
from trio_vmess.listen.sockets import (
    ListenAddress,
    SocketName,
    format_source,
    listening_socket,
    plain_host,
)
from trio_vmess.listen.unix_sockets import OWN_PERMISSIONS, Permissions, identify_file
from trio_vmess.transport import SocketOption, SocketTransport, abstract_name

ACCEPTS_PER_TURN: Final = 64
"""Connections accepted in a row before other tasks run."""

RESOURCE_PAUSE: Final = 0.1
"""Seconds to pause when there are no file descriptors or no memory for another connection."""

_RESOURCE_ERRORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})

# Errors of a connection that failed before it was accepted; the listener itself is intact. Source:
# accept(2), "Error handling"; EPERM comes from a firewall on Linux, and ECONNRESET from Windows.
_CONNECTION_ERRORS: Final = frozenset(
    {
        *(errno.ECONNABORTED, errno.ECONNRESET, errno.EPERM, errno.EPROTO),
        *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENOPROTOOPT),
    }
)

FindLocal = Callable[[socket.socket], Destination | None]
"""Returns the address that a connection was going to; None if it is not known."""

log: Final = logging.getLogger("trio_vmess.listen")


class Handler(Protocol):
    """Serves the connections of a listener; `Inbound.serve` is one."""

    def __call__(self, transport: Transport, *, source: str, deadline: float) -> Awaitable[None]:
        """Serve one connection, and see that it is closed; see `Inbound.serve`."""
        ...


class Listener:
    """A listening socket.

    Args:
        sock: a non-blocking stream socket that listens; owned by the listener.
        path: the file of a Unix socket, removed on close; None if there is no file.
        brings_data: whether connections usually have data to read soon after they are accepted.
        find_local: as for `open_listener`.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        path: str | None = None,
        brings_data: bool = False,
        find_local: FindLocal | None = None,
    ) -> None:
        self._socket = sock
        self._brings_data = brings_data
        self._find_local = find_local
        self._path = path
        self._file = None if path is None else identify_file(path)
        self._shortage = Shortage()
        self._local: Destination | None = None
        self._port = 0
        name: SocketName = sock.getsockname()
        if isinstance(name, tuple):
            host, self._port = plain_host(name), name[1]
            address = ipaddress.ip_address(host)
            self._address_text = format_endpoint(address, self._port)
            # One system call less for each connection. A listener on a wildcard address cannot
            # know the local address of its connections.
            if not address.is_unspecified and find_local is None:
                self._local = Destination(host=parse_host(host), port=self._port)
        else:
            self._address_text = path or abstract_name(os.fsencode(name))

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
        if self._path is not None and identify_file(self._path) == self._file:
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
            handler: called once for each connection, which it owns and closes. An exception in it
                is logged and ends only that connection.
            connections: the nursery for handlers; must outlive this task.
            handshake: seconds from accepting a connection to the deadline passed to its handler.
            task_status: `started` is called at once: clients can connect.

        Raises:
            OSError: the socket cannot accept connections any more.
            trio.ClosedResourceError: the listener was closed meanwhile.
            trio.Cancelled: from outside; connections that were accepted continue.
        """
        try:
            budget = descriptor_budget()
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
            if not budget.has_room():
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
        local = self._local if self._find_local is None else self._find_local(sock)
        try:
            transport = SocketTransport(
                sock, is_readable=self._brings_data, local=local, on_close=budget.leave
            )
        except OSError:
            # The peer has already disconnected; some systems report that when options are set.
            sock.close()
            return
        source = "" if isinstance(name, str | bytes) else format_source(name)
        deadline = trio.current_time() + handshake
        budget.enter(sock.fileno())
        connections.start_soon(_serve_one, handler, transport, source, deadline, name="connection")

    def _report_shortage(self, reason: str) -> None:
        if self._shortage.note():
            log.warning(
                "listen.paused listener=%s reason=%r hint=%r",
                self,
                reason,
                "connections wait until others end; raise the limit of open files (ulimit -n)",
            )


async def _serve_one(handler: Handler, transport: Transport, source: str, deadline: float) -> None:
    try:
        await handler(transport, source=source, deadline=deadline)
    except Exception:
        # The error boundary for what happens before dispatch: without it, an exception would cancel
        # the nursery and with it all other connections.
        log.exception("listen.bug source=%s", source or "-")
        await transport.aclose()


def open_listener(
    address: ListenAddress,
    port: int = 0,
    *,
    clients_speak_first: bool = False,
    permissions: Permissions = OWN_PERMISSIONS,
    options: Sequence[SocketOption] = (),
    find_local: FindLocal | None = None,
) -> Listener:
    """Listen on an address.

    The file of a Unix socket is replaced if no process listens on it.

    Args:
        address: `::` accepts IPv6 only; IPv4 needs a listener on 0.0.0.0.
        port: 0 lets the system choose; ignored for a Unix socket.
        clients_speak_first: the first read of a connection then tries before it waits. The
            first bytes have mostly arrived by then, which saves a turn of the event loop.
            (`TCP_DEFER_ACCEPT` would save more turns, and show: its SYN-ACK is sent twice.)
        permissions: of the file of a Unix socket.
        options: of the socket, which those of connections inherit; not of a Unix socket.
        find_local: returns where the connection of an accepted socket was going, or None to leave
            that to the socket; for connections that were going elsewhere. None for all others.

    Raises:
        OSError: the address cannot be listened on; see `listen.sockets`.
    """
    sock = listening_socket(address, port, permissions=permissions, options=options)
    try:
        path = address if isinstance(address, str) and not address.startswith("@") else None
        return Listener(sock, path=path, brings_data=clients_speak_first, find_local=find_local)
    except BaseException:
        sock.close()
        raise
