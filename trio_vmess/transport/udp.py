"""A UDP socket, read in batches.

One turn of Trio's loop takes all that the kernel holds, up to a limit: at tens of thousands of
datagrams a second, a turn for each of them would cost more than everything else.
"""

import errno
import socket
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import trio

SocketAddress = tuple[str, int] | tuple[str, int, int, int]
"""An address as the system gives it: host and port, and two numbers more for IPv6."""

_T = TypeVar("_T")

BATCH_COUNT: Final = 64
"""Datagrams that one turn reads at most; then the other tasks have theirs."""

DATAGRAM_SIZE_MAX: Final = 65_535

_SOFT_ERRORS: Final = frozenset(
    {
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.EPERM,
        errno.EINTR,
        errno.EMSGSIZE,
    }
)
"""What the system says of an earlier datagram that was not delivered; the socket goes on."""


class DatagramSocket:
    """A non-blocking UDP socket.

    Args:
        sock: bound, or connected; it belongs to this object from now on.
    """

    __slots__ = ("_socket",)

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock

    @property
    def socket(self) -> socket.socket:
        """The socket, for its addresses and options."""
        return self._socket

    async def receive(self) -> list[tuple[bytes, SocketAddress]]:
        """Wait for datagrams.

        Returns:
            One to `BATCH_COUNT` of them, in their order, each with its sender.

        Raises:
            trio.BrokenResourceError: the socket is of no further use.
            trio.ClosedResourceError: it was closed, before or meanwhile.
        """
        return await self._receive(self._socket.recvfrom)

    async def receive_connected(self) -> list[bytes]:
        """Do the same where the sender is known: the socket is connected."""
        return await self._receive(self._socket.recv)

    async def _receive(self, receive: Callable[[int], _T]) -> list[_T]:
        received: list[_T] = []
        while not received:
            if self._socket.fileno() < 0:
                raise trio.ClosedResourceError("the socket is closed")
            await trio.lowlevel.wait_readable(self._socket.fileno())
            for _ in range(BATCH_COUNT):
                try:
                    received.append(receive(DATAGRAM_SIZE_MAX))
                except BlockingIOError:
                    break
                except OSError as exc:
                    if exc.errno not in _SOFT_ERRORS:
                        raise trio.BrokenResourceError(f"receiving: {exc}") from exc
        return received

    def send(self, datagrams: Iterable[bytes], address: SocketAddress | None = None) -> int:
        """Send datagrams, without ever waiting.

        Args:
            datagrams: in their order.
            address: where to; None for a connected socket.

        Returns:
            How many the system did not take.

        Raises:
            trio.BrokenResourceError: the socket was closed.
        """
        send, send_to = self._socket.send, self._socket.sendto
        dropped = 0
        for datagram in datagrams:
            try:
                if address is None:
                    send(datagram)
                else:
                    send_to(datagram, address)
            except OSError:
                if self._socket.fileno() < 0:
                    raise trio.BrokenResourceError("the socket is closed") from None
                dropped += 1
        return dropped

    def close(self) -> None:
        """Close the socket; closing again does nothing."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket.fileno())
            self._socket.close()
