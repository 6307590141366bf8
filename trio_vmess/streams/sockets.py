"""A transport over a non-blocking socket: try first, wait second.

A system call that would not block is made at once, without a turn of Trio's loop; only when the
kernel says so does the task wait. Still no connection can starve the others: a read that needed no
wait is followed by one that waits first, so every second turn at the latest is a checkpoint.
"""

import socket
from typing import Final

import trio

_LARGE_READ: Final = 64 * 1024


class SocketTransport:
    """Bytes over a connected stream socket.

    Args:
        sock: a connected TCP or Unix socket; it belongs to the transport from now on.
    """

    __slots__ = ("_socket", "_waits_first")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family != getattr(socket, "AF_UNIX", None):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._socket = sock
        self._waits_first = True

    @property
    def socket(self) -> socket.socket:
        """The socket, for its addresses and options."""
        return self._socket

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`."""
        sock = self._socket
        if self._waits_first:
            await _wait_readable(sock)
        try:
            while True:
                try:
                    size = sock.recv_into(buffer)
                except BlockingIOError:
                    self._waits_first = True
                    await _wait_readable(sock)
                else:
                    # After a wait and a large read, more may be there already: then the next read
                    # tries at once. After a small one it would try in vain.
                    self._waits_first = size < _LARGE_READ or not self._waits_first
                    return size
        except OSError as exc:
            raise self._failure("receiving", exc) from exc

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `Transport.send_all`."""
        sock = self._socket
        try:
            try:
                sent = sock.send(data)
            except BlockingIOError:
                sent = 0
            if sent == len(data):
                return
            # The caller's buffer is everybody's: what is left over must be our own while we wait.
            rest = memoryview(bytes(memoryview(data)[sent:]))
            while rest:
                await _wait_writable(sock)
                try:
                    rest = rest[sock.send(rest) :]
                except BlockingIOError:
                    continue
        except OSError as exc:
            raise self._failure("sending", exc) from exc

    async def send_eof(self) -> None:
        """See `Transport.send_eof`."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as exc:
            raise self._failure("half-closing", exc) from exc

    async def aclose(self) -> None:
        """See `Transport.aclose`; it never waits."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket.fileno())
            self._socket.close()

    def _failure(self, doing: str, exc: OSError) -> Exception:
        if self._socket.fileno() < 0:
            return trio.ClosedResourceError("the transport is closed")
        return trio.BrokenResourceError(f"{doing}: {exc}")


async def _wait_readable(sock: socket.socket) -> None:
    if sock.fileno() < 0:
        raise trio.ClosedResourceError("the transport is closed")
    await trio.lowlevel.wait_readable(sock.fileno())


async def _wait_writable(sock: socket.socket) -> None:
    if sock.fileno() < 0:
        raise trio.ClosedResourceError("the transport is closed")
    await trio.lowlevel.wait_writable(sock.fileno())
