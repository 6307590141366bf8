"""A UDP socket, read and written in batches.

One turn of Trio's loop reads all that the kernel has queued, up to a limit: at tens of thousands of
datagrams a second, a turn for each of them would cost more than all other work. On Linux, one call
sends all neighbours of a batch that have the same size.
"""

import errno
import socket
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import trio

from trio_vmess.transport.datagram_runs import (
    NO_RUNS_ERRORS,
    RUN_COUNT_MIN,
    RUN_SIZE_MAX,
    TOO_LARGE_ERRORS,
    can_send_runs,
    find_runs,
    send_run,
)

SocketAddress = tuple[str, int] | tuple[str, int, int, int]
"""A socket address: host and port; for IPv6 also flow info and scope id."""

_T = TypeVar("_T")

BATCH_COUNT: Final = 64
"""Datagrams that one turn reads at most, so that other tasks get to run."""

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
"""Errors that report an earlier datagram as undelivered; the socket stays usable."""


class DatagramSocket:
    """A non-blocking UDP socket.

    Args:
        sock: bound, or connected; owned by this object from now on.
    """

    __slots__ = ("_run_size_max", "_socket")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        # Of a datagram in a run; 0 without runs, None until somebody needs to know.
        self._run_size_max: int | None = None

    @property
    def socket(self) -> socket.socket:
        """The socket, for its addresses and options."""
        return self._socket

    async def receive(self) -> list[tuple[bytes, SocketAddress]]:
        """Wait for datagrams.

        Returns:
            One to `BATCH_COUNT` of them, in their order, each with its sender.

        Raises:
            trio.BrokenResourceError: the socket failed for good.
            trio.ClosedResourceError: the socket was closed, before or during the call.
        """
        return await self.receive_by(self._socket.recvfrom)

    async def receive_connected(self) -> list[bytes]:
        """Do the same on a connected socket, without the sender."""
        return await self.receive_by(self._socket.recv)

    async def receive_by(self, receive: Callable[[int], _T]) -> list[_T]:
        """Do the same by another call than `recvfrom`; it is given a size, and must not wait."""
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

    def send(self, datagrams: Sequence[bytes], address: SocketAddress | None = None) -> int:
        """Send datagrams, without ever waiting.

        Args:
            datagrams: in their order.
            address: the recipient; None for a connected socket.

        Returns:
            How many datagrams the system refused.

        Raises:
            trio.BrokenResourceError: the socket was closed.
        """
        if len(datagrams) < RUN_COUNT_MIN or not (size_max := self._find_run_size_max()):
            return self._send_singly(datagrams, address)
        done = dropped = 0
        for begin, end in find_runs(datagrams, size_max):
            dropped += self._send_singly(datagrams[done:begin], address)
            done = begin
            if not self._send_run(datagrams[begin:end], address):
                break
            done = end
        return dropped + self._send_singly(datagrams[done:], address)

    def _find_run_size_max(self) -> int:
        if self._run_size_max is None:
            self._run_size_max = RUN_SIZE_MAX if can_send_runs(self._socket) else 0
        return self._run_size_max

    def _send_run(self, run: Sequence[bytes], address: SocketAddress | None) -> bool:
        """Send all of a run by one call; return False if it sent none.

        Later batches do without runs that would fail in the same way. A limit found on the path to
        one peer is kept for all peers of the socket: there it costs calls, never a datagram.
        """
        try:
            send_run(self._socket, run, address)
        except OSError as exc:
            if exc.errno in TOO_LARGE_ERRORS:
                self._run_size_max = len(run[0]) - 1
            elif exc.errno in NO_RUNS_ERRORS:
                self._run_size_max = 0
            return False
        return True

    def _send_singly(self, datagrams: Sequence[bytes], address: SocketAddress | None) -> int:
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
