"""A UDP socket, read in batches.

One turn of Trio's loop takes all that the kernel holds, up to a limit: at tens of thousands of
datagrams a second, a turn for each of them would cost more than everything else.
"""

import errno
import socket
from typing import Final

import trio

SocketAddress = tuple[str, int] | tuple[str, int, int, int]
"""An address as the system gives it: host and port, and two numbers more for IPv6."""

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
        datagrams: list[tuple[bytes, SocketAddress]] = []
        while not datagrams:
            if self._socket.fileno() < 0:
                raise trio.ClosedResourceError("the socket is closed")
            await trio.lowlevel.wait_readable(self._socket.fileno())
            self._drain_into(datagrams)
        return datagrams

    def _drain_into(self, datagrams: list[tuple[bytes, SocketAddress]]) -> None:
        receive = self._socket.recvfrom
        for _ in range(BATCH_COUNT):
            try:
                datagrams.append(receive(DATAGRAM_SIZE_MAX))
            except BlockingIOError:
                return
            except OSError as exc:
                if exc.errno not in _SOFT_ERRORS:
                    raise trio.BrokenResourceError(f"receiving: {exc}") from exc

    def send(self, datagram: bytes) -> bool:
        """Send to the connected address; tell whether the system took it.

        Raises:
            trio.BrokenResourceError: the socket was closed.
        """
        try:
            self._socket.send(datagram)
        except OSError:
            return self._not_taken()
        return True

    def send_to(self, datagram: bytes, address: SocketAddress) -> bool:
        """Send to an address; tell whether the system took it.

        Raises:
            trio.BrokenResourceError: the socket was closed.
        """
        try:
            self._socket.sendto(datagram, address)
        except OSError:
            return self._not_taken()
        return True

    def _not_taken(self) -> bool:
        if self._socket.fileno() < 0:
            raise trio.BrokenResourceError("the socket is closed")
        return False

    def close(self) -> None:
        """Close the socket; closing again does nothing."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket.fileno())
            self._socket.close()
