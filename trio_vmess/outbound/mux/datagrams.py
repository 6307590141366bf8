"""The datagrams of one association in one session of a carrier: XUDP as a client."""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from trio_vmess.core import Destination, Network, parse_host
from trio_vmess.outbound.mux.stream import NOT_OPEN
from trio_vmess.outbound.received_datagrams import ReceivedDatagrams

ADDRESS_COUNT_MAX: Final = 256
"""Names of which is remembered who answers for them."""

_Address = tuple[str, int]


class SocketOwner(Protocol):
    """What a session needs of its carrier."""

    def send_from(
        self, socket: "XudpSocket", datagrams: Iterable[bytes], peer: Destination, /
    ) -> int:
        """Queue datagrams to a peer, opening the session first; return how many were dropped."""
        ...

    def close_socket(self, socket: "XudpSocket", /) -> None:
        """End the session."""
        ...


class XudpSocket:
    """A UDP socket at the server's end of a carrier: a `SharedSource`, and a `PacketSession`.

    It knows peers by address or by name. Servers mostly say which address has answered for a name:
    the first one with the name's port that was not written to by its address is taken for it, if
    no other name was written to at that port.

    Args:
        owner: the carrier.
        global_id: the 8 bytes by which the server knows the socket, on any carrier; zeros for none.
    """

    def __init__(self, owner: SocketOwner, global_id: bytes) -> None:
        self.number = NOT_OPEN
        self.global_id = global_id
        self._owner = owner
        self._received = ReceivedDatagrams()
        self._first: _Address = "", 0
        self._destinations: dict[_Address, Destination] = {}
        self._names: dict[_Address, _Address] = {}  # by who answers for them

    async def receive(self) -> Sequence[tuple[bytes, _Address]]:
        """See `SharedSource.receive`."""
        return await self._received.receive()

    def send(self, datagrams: Iterable[bytes], address: _Address, /) -> int:
        """See `SharedSource.send`."""
        self._received.check()
        destination = self._destinations.get(address)
        if destination is None:
            destination = self._remember(address)
        return self._owner.send_from(self, datagrams, destination)

    def close(self) -> None:
        """See `SharedSource.close`."""
        self.detach()
        self._owner.close_socket(self)

    def take(self, datagram: bytes, peer: Destination | None, /) -> None:
        """See `PacketSession.take`: it is kept until it is read."""
        address = self._first if peer is None else self._name((str(peer.host), peer.port))
        self._received.put(datagram, address)

    def detach(self) -> None:
        """See `PacketSession.detach`: nothing is sent any more."""
        self._received.fail()

    def _remember(self, address: _Address) -> Destination:
        if not self._destinations:
            self._first = address
        elif len(self._destinations) >= ADDRESS_COUNT_MAX:
            del self._destinations[next(iter(self._destinations))]
        host, port = address
        destination = Destination(host=parse_host(host), port=port, network=Network.UDP)
        self._destinations[address] = destination
        return destination

    def _name(self, address: _Address) -> _Address:
        """Return the name that was written to where this address answers for it."""
        if address in self._destinations:
            return address
        if address in self._names:
            return self._names[address]
        named = [
            each
            for each, destination in self._destinations.items()
            if each[1] == address[1]
            and not isinstance(destination.host, ipaddress.IPv4Address | ipaddress.IPv6Address)
        ]
        if len(named) != 1 or named[0] in self._names.values():
            return address
        if len(self._names) >= ADDRESS_COUNT_MAX:
            del self._names[next(iter(self._names))]
        self._names[address] = named[0]
        return named[0]
