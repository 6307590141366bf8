"""Sockets that answer datagrams from where these were going, in place of whoever is there.

One socket serves all flows to an address. It is opened with the first answer and closed when the
last of the flows has ended, so there are never more sockets than flows.

Such a socket is bound to the address, so without TPROXY in between (or with a rule that hands
packets to sockets that exist) the kernel gives it the datagrams that follow. Hence it is read, too.
"""

import logging
import socket
from collections.abc import Callable, Sequence
from typing import Final

import attrs
import trio

from trio_vmess.core import Network
from trio_vmess.transport import (
    DatagramSocket,
    SocketAddress,
    bind_as_destination,
    destination_of,
)

log: Final = logging.getLogger("trio_vmess.inbound.dokodemo")

Bind = Callable[[bytes, socket.socket], socket.socket]
"""Binds a socket to the address that a name is for, like the one that has received the name."""

Deliver = Callable[[SocketAddress, bytes, bytes], None]
"""Takes a datagram: its sender, the name of where it was going, and its payload."""


def _drop(_client: SocketAddress, _name: bytes, _datagram: bytes) -> None:
    """Take no notice: nobody delivers yet."""


@attrs.define(eq=False)
class _Address:
    """An address to answer from: how many flows need it, and its socket once it has been opened."""

    flow_count: int = 0
    sock: DatagramSocket | None = None


class AnswerSockets:
    """The sockets of one transparent UDP port.

    Args:
        listening: the port's socket.
        nursery: runs the readers.
        tag: of the inbound, for the log.
        bind: opens a socket.

    Attributes:
        deliver: called with datagrams that come to one of the sockets here.
    """

    def __init__(
        self,
        listening: socket.socket,
        *,
        nursery: trio.Nursery,
        tag: str,
        bind: Bind = bind_as_destination,
    ) -> None:
        self.deliver: Deliver = _drop
        self._listening = listening
        self._bind = bind
        self._nursery = nursery
        self._tag = tag
        self._addresses: dict[bytes, _Address] = {}

    def __len__(self) -> int:
        """Return how many sockets are open."""
        return sum(each.sock is not None for each in self._addresses.values())

    def hold(self, name: bytes) -> None:
        """Count a flow that may answer from an address.

        Args:
            name: as from `transport.receive_to`.
        """
        self._addresses.setdefault(name, _Address()).flow_count += 1

    def release(self, name: bytes) -> None:
        """Count a flow no longer; the last one closes the socket."""
        address = self._addresses[name]
        address.flow_count -= 1
        if not address.flow_count:
            del self._addresses[name]
            if address.sock is not None:
                address.sock.close()

    def send(self, name: bytes, datagrams: Sequence[bytes], client: SocketAddress) -> int:
        """Send datagrams to a client from an address that is held; never waits.

        Returns:
            How many could not be sent.

        Raises:
            trio.BrokenResourceError: the socket was closed.
        """
        address = self._addresses[name]
        if address.sock is None:
            try:
                # Somebody's port may have the number of ours. Not earlier, so that our port could
                # not be bound while another program had it.
                self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                address.sock = DatagramSocket(self._bind(name, self._listening))
            except OSError as exc:
                log.warning(
                    "dokodemo.answer_dropped tag=%s destination=%s reason=%r",
                    self._tag or "-",
                    destination_of(name, Network.UDP),
                    exc.strerror or str(exc),
                )
                return len(datagrams)
            self._nursery.start_soon(self._read, name, address.sock, name="answering socket")
        return address.sock.send(datagrams, client)

    async def _read(self, name: bytes, sock: DatagramSocket) -> None:
        while True:
            try:
                received = await sock.receive()
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                return
            for datagram, client in received:
                self.deliver(client, name, datagram)
