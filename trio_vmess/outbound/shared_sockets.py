"""UDP sockets that several flows of one association send from and receive on.

Every peer of the association sees the same address of ours. A datagram goes to the flow of the peer
that it comes from. One from any other peer asks the association for a flow, and waits for it.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final

import trio

from trio_vmess.core import Association, Destination, IPAddress, Network, parse_host
from trio_vmess.transport import DatagramSocket, SocketAddress

QUEUE_COUNT_MAX: Final = 256
"""Datagrams that wait in one flow; further ones are dropped."""

UNINVITED_PEERS_MAX: Final = 32
UNINVITED_COUNT_MAX: Final = 8
"""Peers without a flow whose datagrams wait, and how many of each."""

Open = Callable[[], DatagramSocket]
"""Opens an unconnected socket; raises `DialError`."""

_Address = tuple[str, int]
_Key = tuple[Association, int]


class SharedSockets:
    """The sockets of all associations: one for each association and family, while flows use it."""

    def __init__(self) -> None:
        self._sockets: dict[_Key, _SharedSocket] = {}

    def __len__(self) -> int:
        return len(self._sockets)

    def link(
        self, association: Association, address: IPAddress, port: int, open_socket: Open
    ) -> "SharedSocketLink":
        """Return a link to a peer.

        Args:
            association: whose socket is used.
            address: the peer's.
            port: the peer's.
            open_socket: opens the socket if the association has none yet.

        Raises:
            DialError: from `open_socket`.
        """
        key = association, address.version
        shared = self._sockets.get(key)
        if shared is None:
            shared = self._sockets[key] = _SharedSocket(association, open_socket())
        return SharedSocketLink(self, key, shared, (str(address), port))

    def close_unused(self, key: _Key) -> None:
        """Close a socket that no flow uses any more."""
        shared = self._sockets.get(key)
        if shared is not None and not shared.links:
            del self._sockets[key]
            shared.datagrams.close()


class _SharedSocket:
    """A socket, its flows, and what came from others."""

    __slots__ = ("_association", "_is_reading", "_uninvited", "by_peer", "datagrams", "links")

    def __init__(self, association: Association, datagrams: DatagramSocket) -> None:
        self.datagrams = datagrams
        self.links: set[SharedSocketLink] = set()
        self.by_peer: dict[_Address, SharedSocketLink] = {}
        self._association = association
        self._uninvited: OrderedDict[_Address, list[bytes]] = OrderedDict()
        self._is_reading = False

    def take_uninvited(self, peer: _Address) -> list[bytes]:
        """Return what has come from a peer before it had a flow."""
        return self._uninvited.pop(peer, [])

    async def wait(self, link: "SharedSocketLink") -> None:
        """Wait until there is something for a link, or may be.

        One of those who wait reads the socket for all. When it leaves, another one goes on.
        """
        if self._is_reading:
            await link.readable.park()
            return
        self._is_reading = True
        try:
            for datagram, source in await self.datagrams.receive():
                self._sort(datagram, source)
        finally:
            self._is_reading = False
            self._wake_a_reader(link)

    def _wake_a_reader(self, leaving: "SharedSocketLink") -> None:
        for link in self.links:
            if link is not leaving and link.readable:
                link.readable.unpark_all()
                return

    def _sort(self, datagram: bytes, source: SocketAddress) -> None:
        peer = source[:2]
        link = self.by_peer.get(peer)
        if link is not None:
            link.put(datagram)
            return
        waiting = self._uninvited.get(peer)
        if waiting is None:
            host, port = parse_host(peer[0]), peer[1]
            destination = Destination(host=host, port=port, network=Network.UDP)
            if not self._association.invite(destination):
                return
            if len(self._uninvited) >= UNINVITED_PEERS_MAX:
                self._uninvited.popitem(last=False)
            waiting = self._uninvited[peer] = []
        if len(waiting) < UNINVITED_COUNT_MAX:
            waiting.append(datagram)


class SharedSocketLink:
    """Datagrams to and from one peer, by a socket that others use, too: a `PacketLink`.

    Args:
        sockets: told when the link is closed.
        key: the socket's there.
        shared: the socket.
        peer: address and port.
    """

    __slots__ = ("_is_closed", "_key", "_peer", "_shared", "_sockets", "_waiting", "readable")

    def __init__(
        self, sockets: SharedSockets, key: _Key, shared: _SharedSocket, peer: _Address
    ) -> None:
        self.readable = trio.lowlevel.ParkingLot()
        self._sockets = sockets
        self._key = key
        self._shared = shared
        self._peer = peer
        self._waiting: deque[bytes] = deque(shared.take_uninvited(peer), maxlen=QUEUE_COUNT_MAX)
        self._is_closed = False
        shared.links.add(self)
        shared.by_peer[peer] = self

    def put(self, datagram: bytes) -> None:
        """Queue a datagram from the peer; drop it if too many wait."""
        if len(self._waiting) < QUEUE_COUNT_MAX:
            self._waiting.append(datagram)
            self.readable.unpark_all()

    async def receive(self) -> Sequence[bytes]:
        """See `PacketLink.receive`."""
        while not self._waiting:
            if self._is_closed:
                raise trio.ClosedResourceError("the link is closed")
            await self._shared.wait(self)
        datagrams = list(self._waiting)
        self._waiting.clear()
        return datagrams

    async def send(self, datagrams: Sequence[bytes], /) -> int:
        """See `PacketLink.send`; it never waits."""
        # Of two flows to one peer, by its name and by its address, the one that asks gets answers.
        self._shared.by_peer[self._peer] = self
        return self._shared.datagrams.send(datagrams, self._peer)

    async def aclose(self) -> None:
        """See `PacketLink.aclose`; it never waits."""
        if self._is_closed:
            return
        self._is_closed = True
        shared = self._shared
        shared.links.discard(self)
        if shared.by_peer.get(self._peer) is self:
            del shared.by_peer[self._peer]
        self.readable.unpark_all()
        self._sockets.close_unused(self._key)
