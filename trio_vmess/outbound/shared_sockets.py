"""UDP sockets that several flows of one association send from and receive on.

Every peer of the association sees the same address of ours. A datagram goes to the flow of the peer
that it comes from. One from any other peer asks the association for a flow, and waits for it.
"""

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import trio

from trio_vmess.core import Association, Destination, Network, parse_host
from trio_vmess.errors import DialError
from trio_vmess.outbound.pending_dial import PendingDial
from trio_vmess.transport import SocketAddress

QUEUE_COUNT_MAX: Final = 256
"""Datagrams that wait in one flow; further ones are dropped."""

UNINVITED_PEERS_MAX: Final = 32
UNINVITED_COUNT_MAX: Final = 8
"""Peers without a flow whose datagrams wait, and how many of each."""

_Address = tuple[str, int]
_Key = tuple[Association, int]


class SharedSource(Protocol):
    """Where the datagrams of an association come from and go to: a `DatagramSocket`, for one."""

    async def receive(self) -> Sequence[tuple[bytes, SocketAddress]]:
        """Wait for datagrams; return them with their senders.

        Raises:
            trio.BrokenResourceError: it failed for good.
        """
        ...

    def send(self, datagrams: Sequence[bytes], address: _Address, /) -> int:
        """Send datagrams to one peer without waiting; return how many were dropped.

        Raises:
            trio.BrokenResourceError: it failed for good.
        """
        ...

    def close(self) -> None:
        """Close it."""
        ...


Open = Callable[[], SharedSource]
"""Opens an unconnected socket, or what is like one; raises `DialError`."""


class SharedSockets:
    """The sockets of all associations: one for each association and family, while flows use it."""

    def __init__(self) -> None:
        self._sockets: dict[_Key, _SharedSocket] = {}
        self._dials: dict[_Key, PendingDial] = {}

    def __len__(self) -> int:
        return len(self._sockets)

    def find(
        self, association: Association, family: int, peer: _Address
    ) -> "SharedSocketLink | None":
        """Return a link to a peer, if the association has such a socket, which has not failed."""
        key = association, family
        shared = self._sockets.get(key)
        if shared is None or shared.is_broken:
            return None
        return SharedSocketLink(self, key, shared, peer)

    def link(
        self, association: Association, family: int, peer: _Address, open_socket: Open
    ) -> "SharedSocketLink":
        """Return a link to a peer.

        Args:
            association: whose socket is used.
            family: which of its sockets: 4 or 6 for the versions of IP, or another number.
            peer: its address, or its name where the sockets know names, and its port.
            open_socket: opens the socket if the association has none yet, or a broken one.

        Raises:
            DialError: from `open_socket`.
        """
        if (link := self.find(association, family, peer)) is not None:
            return link
        key = association, family
        shared = self._sockets[key] = _SharedSocket(association, open_socket())
        return SharedSocketLink(self, key, shared, peer)

    async def connect(
        self,
        association: Association,
        family: int,
        peer: _Address,
        dial: Callable[[], Awaitable[Open]],
    ) -> "SharedSocketLink":
        """Return a link to a peer, through a connection that takes time to open.

        Args:
            association: as for `link`, like the next two.
            family: as there.
            peer: as there.
            dial: connects, for all flows of the association that come meanwhile.

        Raises:
            DialError: from `dial`, or what it has returned.
        """
        key = association, family
        while (link := self.find(association, family, peer)) is None:
            pending = self._dials.get(key)
            if pending is None:
                return self.link(association, family, peer, await self._dial(key, dial))
            await pending.wait()
        return link

    async def _dial(self, key: _Key, dial: Callable[[], Awaitable[Open]]) -> Open:
        pending = self._dials[key] = PendingDial()
        try:
            return await dial()
        except DialError as exc:
            pending.fail(exc)
            raise
        finally:
            # Whoever waits goes on in a later turn, and finds the socket.
            del self._dials[key]
            pending.end()

    def close_unused(self, key: _Key, shared: "_SharedSocket") -> None:
        """Close a socket if no flow uses it any more."""
        if not shared.links:
            if self._sockets.get(key) is shared:
                del self._sockets[key]
            shared.datagrams.close()


class _SharedSocket:
    """A socket, its flows, and what came from others."""

    __slots__ = (
        "_association",
        "_is_reading",
        "_uninvited",
        "by_peer",
        "datagrams",
        "is_broken",
        "links",
    )

    def __init__(self, association: Association, datagrams: SharedSource) -> None:
        self.datagrams = datagrams
        self.is_broken = False
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
        except trio.BrokenResourceError:
            self.is_broken = True
            raise
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
        self._sockets.close_unused(self._key, shared)
