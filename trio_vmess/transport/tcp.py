"""A transport over a non-blocking socket: try first, wait second.

A system call that would not block is made at once, without a turn of Trio's loop; only when the
kernel says so does the task wait. Still no connection can starve the others: a read that needed no
wait is followed by one that waits first, so every second turn at the latest is a checkpoint.
"""

import functools
import socket
from collections.abc import Awaitable, Callable
from typing import Final, cast

import trio

from trio_vmess.core import Destination, Host, parse_host

_LARGE_READ: Final = 64 * 1024

_MORE_FOLLOWS: Final[int] = getattr(socket, "MSG_MORE", 0)
"""Linux keeps such bytes for the packet that comes next; others send them at once."""


class SocketTransport:
    """Bytes over a connected stream socket.

    Args:
        sock: a connected TCP or Unix socket that does not hold small packets back; it belongs to
            the transport from now on, and does not block any more.
        is_readable: whether something is likely to have come already, so that the first read tries
            at once.
        local: our own address, where it is known; else the socket is asked when somebody wants it.
    """

    __slots__ = ("_local", "_socket", "_waiting", "_waits_first")

    def __init__(
        self,
        sock: socket.socket,
        *,
        is_readable: bool = False,
        local: Destination | None = None,
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._local = local
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
                # After a wait and a large read, more may be there already: then the next read
                # tries at once. After a small one it would try in vain.
                self._waits_first = size < _LARGE_READ or not self._waits_first
                return size

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `Transport.send_all`."""
        sent = self._try_send(data)
        if sent != len(data):
            await self._send_rest(data, sent)

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        """See `Transport.send_eof`; the last bytes and the end share a packet."""
        if last:
            sent = self._try_send(last, _MORE_FOLLOWS)
            if sent != len(last):
                await self._send_rest(last, sent)
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as exc:
            raise self._failure("half-closing", exc) from exc

    async def aclose(self) -> None:
        """See `Transport.aclose`; it never waits."""
        fd = self._socket.fileno()
        if fd >= 0:
            if self._waiting:
                trio.lowlevel.notify_closing(fd)
            self._socket.close()

    async def _send_rest(self, data: bytes | bytearray | memoryview, sent: int) -> None:
        """Send what is left over."""
        # The caller's buffer is everybody's: what waits must be our own.
        rest = memoryview(bytes(memoryview(data)[sent:]))
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
        # Trio has to be told of a close only while somebody waits.
        self._waiting += 1
        try:
            await until_ready(fd)
        finally:
            self._waiting -= 1

    def _failure(self, doing: str, exc: OSError) -> Exception:
        if self._socket.fileno() < 0:
            return trio.ClosedResourceError("the transport is closed")
        return trio.BrokenResourceError(f"{doing}: {exc}")


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
    """Parse one of the few addresses of this machine, or of the servers that it calls."""
    return parse_host(text.partition("%")[0])
