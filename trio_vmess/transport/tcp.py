"""A transport over a non-blocking socket: try first, wait second.

Waiting for a socket costs a turn of Trio's loop, so a system call that is likely to succeed is made
at once, and the task waits only after EAGAIN. Sends always try first. Reads try first only where
more data is likely; and a read that needed no wait is always followed by one that waits first, so a
busy connection passes a checkpoint at every second read and cannot starve the others.
"""

import contextlib
import functools
import select
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, cast

import trio

from trio_vmess.core import Destination, Host, Piece, parse_host

_NO_LINGER: Final = struct.pack("ii", 1, 0)
"""A `struct linger` (socket(7)): switched on, with no time."""

_LARGE_READ: Final = 64 * 1024
"""Bytes. A read of at least this size suggests that the peer sends in bulk and more has arrived."""

_OPEN_RECEIVE_BUFFER: Final = 256 * 1024
"""Bytes that the system may hold after a limit was lifted, until it adapts them to the traffic."""

_SO_BUF_LOCK: Final = 72
"""Of Linux since 5.14; 0 lets it adapt buffers again whose size was set. Older ones do not."""

_PIECES_MAX: Final = 1024 if hasattr(socket.socket, "sendmsg") else 0
"""Buffers that one `sendmsg` takes on Linux, macOS and the BSDs (`IOV_MAX`)."""

_NO_WINDOW_CLAMP: Final = 1 << 30
"""Linux lowers this bound of the window when a small buffer overflows, and never raises it."""

_MORE_FOLLOWS: Final[int] = getattr(socket, "MSG_MORE", 0)
"""Linux holds such bytes back for the next packet; systems without the flag send them at once."""

_CLOSED: Final = socket.socket()
_CLOSED.close()


class SocketTransport:
    """Bytes over a connected stream socket.

    Args:
        sock: a connected TCP (with TCP_NODELAY) or Unix socket; owned by the transport from now
            on, and made non-blocking.
        is_readable: whether data has probably arrived already: then the first read tries first.
        local: our own address, if known; None looks it up with each access.
        on_close: called once, when the socket has been closed.
    """

    __slots__ = ("_local", "_on_close", "_socket", "_waiting", "_waits_first")

    def __init__(
        self,
        sock: socket.socket,
        *,
        is_readable: bool = False,
        local: Destination | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._local = local
        self._on_close = on_close
        self._waiting = 0
        self._waits_first = not is_readable

    @property
    def socket(self) -> socket.socket:
        """The socket, for its options."""
        return self._socket

    @property
    def local(self) -> Destination | None:
        """See `Transport.local`; None for a Unix socket, and for one that is closed."""
        return self._local or _find_address(self._socket.getsockname)

    @property
    def remote(self) -> Destination | None:
        """See `Transport.remote`; None for a Unix socket, and for one that is closed."""
        return _find_address(self._socket.getpeername)

    @property
    def is_reset(self) -> bool:
        """See `Transport.is_reset`; always False on Windows."""
        return is_socket_reset(self._socket.fileno())

    def limit_receive_buffer(self, size: int | None, /) -> None:
        """See `Transport.limit_receive_buffer`."""
        sock = self._socket
        with contextlib.suppress(OSError):
            if size is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
                return
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _OPEN_RECEIVE_BUFFER)
            if sys.platform == "linux":
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, _NO_WINDOW_CLAMP)
                sock.setsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK, 0)

    def limit_unsent(self, size: int, /) -> None:
        """See `Transport.limit_unsent`; for TCP on Linux and macOS."""
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, size)

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`."""
        sock = self._socket
        while True:
            if self._waits_first:
                await self._wait(trio.lowlevel.wait_readable)
            try:
                size = sock.recv_into(buffer)
            except BlockingIOError:
                self._waits_first = True
            except OSError as exc:
                raise self._failure("receiving", exc) from exc
            else:
                # The next read tries first only if this one was large (after a small read the
                # socket is probably drained, and the attempt would be a wasted system call) and
                # had waited itself (two reads in a row without a checkpoint are too many).
                self._waits_first = size < _LARGE_READ or not self._waits_first
                return size

    def receive_now(self, buffer: memoryview, /) -> int | None:
        """Receive what has arrived already.

        Returns:
            The size; 0 at the end of the stream; None if there is nothing yet.

        Raises:
            trio.BrokenResourceError: the connection was reset.
            trio.ClosedResourceError: the transport is closed.
        """
        try:
            return self._socket.recv_into(buffer)
        except BlockingIOError:
            return None
        except OSError as exc:
            raise self._failure("receiving", exc) from exc

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `Transport.send_all`."""
        sent = self._try_send(data)
        if sent != len(data):
            # The caller's buffer is shared and may change at the first checkpoint: copy the rest.
            await self._send_rest(bytes(memoryview(data)[sent:]))

    async def send_pieces(self, pieces: Sequence[Piece], /) -> None:
        """Do what `send_all` does with the pieces behind each other, without joining them.

        Raises:
            trio.BrokenResourceError: as `send_all`.
        """
        if len(pieces) > _PIECES_MAX:
            await self.send_all(b"".join(pieces))
            return
        try:
            sent = self._socket.sendmsg(pieces)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            raise self._failure("sending", exc) from exc
        rest = b"".join(_skip(pieces, sent))
        if rest:
            await self._send_rest(rest)

    async def wait_writable(self) -> None:
        """Wait until the system takes more bytes.

        Raises:
            trio.ClosedResourceError: the transport is closed, before or during the call.
        """
        await self._wait(trio.lowlevel.wait_writable)

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        """See `Transport.send_eof`; on Linux the last bytes and the FIN share a packet."""
        if last:
            sent = self._try_send(last, _MORE_FOLLOWS)
            if sent != len(last):
                await self._send_rest(bytes(memoryview(last)[sent:]))
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as exc:
            raise self._failure("half-closing", exc) from exc

    async def abort(self) -> None:
        """See `Transport.abort`; the peer of a Unix socket sees an end all the same."""
        with contextlib.suppress(OSError):
            # Seconds to wait for what is unsent: with none, the system resets the connection.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        await self.aclose()

    async def aclose(self) -> None:
        """See `Transport.aclose`; it never waits."""
        self.close()

    def close(self) -> None:
        """Do what `aclose` does."""
        fd = self._socket.fileno()
        if fd >= 0:
            if self._waiting:
                trio.lowlevel.notify_closing(fd)
            self._socket.close()
            if self._on_close is not None:
                self._on_close()

    def detach(self) -> "SocketTransport":
        """Return a transport with the socket of this one, which is closed from now on.

        No task may wait for the socket.
        """
        taken = SocketTransport(self._socket, local=self._local, on_close=self._on_close)
        self._socket = _CLOSED
        return taken

    async def _send_rest(self, data: bytes) -> None:
        """Send what the kernel did not take at once."""
        rest = memoryview(data)
        while rest:
            await self._wait(trio.lowlevel.wait_writable)
            rest = rest[self._try_send(rest) :]

    def _try_send(self, data: bytes | bytearray | memoryview, flags: int = 0) -> int:
        """Send what the kernel takes at once; return how much that was."""
        try:
            return self._socket.send(data, flags)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise self._failure("sending", exc) from exc

    async def _wait(self, until_ready: Callable[[int], Awaitable[None]]) -> None:
        fd = self._socket.fileno()
        if fd < 0:
            raise trio.ClosedResourceError("the transport is closed")
        # Counted so that `aclose` calls `notify_closing` only when a task waits: it is not cheap.
        self._waiting += 1
        try:
            await until_ready(fd)
        finally:
            self._waiting -= 1

    def _failure(self, doing: str, exc: OSError) -> Exception:
        if self._socket.fileno() < 0:
            return trio.ClosedResourceError("the transport is closed")
        return trio.BrokenResourceError(f"{doing}: {exc}")


if sys.platform == "win32":

    def is_socket_reset(_fd: int) -> bool:
        """Return False: `poll` does not exist here, and reading SO_ERROR would clear it."""
        return False

else:

    def is_socket_reset(fd: int) -> bool:
        """Return whether a socket has failed; the next read or write still gets the error.

        Source:
            poll(2): POLLERR is reported whatever was asked for.
        """
        if fd < 0:
            return False
        poll = select.poll()
        poll.register(fd, 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))


def _skip(pieces: Sequence[Piece], size: int) -> list[Piece]:
    """Return what is left of pieces behind their first `size` bytes."""
    for number, piece in enumerate(pieces):
        if size < len(piece):
            return [piece[size:], *pieces[number + 1 :]]
        size -= len(piece)
    return []


def _find_address(get_name: Callable[[], object]) -> Destination | None:
    try:
        name = get_name()
    except OSError:
        return None
    if not isinstance(name, tuple):
        return None
    host, port = cast("tuple[str, int]", name[:2])
    return Destination(host=_parse_address(host), port=port)


@functools.lru_cache(maxsize=64)
def _parse_address(text: str) -> Host:
    """Parse an address of a socket; cached, because a node sees few different ones."""
    return parse_host(text.partition("%")[0])
