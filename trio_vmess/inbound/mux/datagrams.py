"""A UDP sub-connection of a carrier: the session that an association's answers go to."""

from collections.abc import Sequence
from typing import Protocol

from trio_vmess.core import Destination, decode_packetaddr, encode_packetaddr
from trio_vmess.core.mux import New
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.inbound.mux.association import ClientAssociation


class DatagramOwner(Protocol):
    """What a session needs of its carrier."""

    def send_datagrams(
        self, session: "DatagramSession", datagrams: Sequence[bytes], peer: Destination | None
    ) -> int:
        """Queue datagrams for the client; return how many were dropped."""
        ...

    def end_datagrams(self, session: "DatagramSession") -> None:
        """Tell the client that the association has ended."""
        ...


class DatagramSession:
    """A session for datagrams: a `DatagramSink`.

    Args:
        owner: the carrier.
        association: whose session this is.
        frame: has opened it.
        is_kept: whether the association outlives it.
    """

    __slots__ = ("_association", "_first", "_is_kept", "_owner", "number")

    def __init__(
        self, owner: DatagramOwner, association: ClientAssociation, frame: New, *, is_kept: bool
    ) -> None:
        self.number = frame.session_id
        self._first = frame.destination
        self._owner = owner
        self._association = association
        self._is_kept = is_kept

    def take(self, datagram: bytes, peer: Destination | None, /) -> None:
        """Pass on a datagram from the client."""
        if peer is not None:
            self._association.is_full_cone = True
        self._association.put(peer or self._first, datagram)

    def send(self, datagrams: Sequence[bytes], peer: Destination) -> int:
        """See `DatagramSink.send`."""
        source = peer if self._association.is_full_cone else None
        return self._owner.send_datagrams(self, datagrams, source)

    def end(self) -> None:
        """See `DatagramSink.end`."""
        self._owner.end_datagrams(self)

    def detach(self) -> None:
        """The client has ended the session, or the carrier has ended."""
        self._association.detach(self, keep=self._is_kept)


class PacketAddrDatagrams(DatagramSession):
    """A session whose datagrams begin with an address, as V2Ray 5 opens it when mux is on."""

    __slots__ = ()

    def take(self, datagram: bytes, _peer: Destination | None, /) -> None:
        """Pass on a datagram from the client; one without an address ends the session."""
        try:
            destination, payload = decode_packetaddr(datagram)
        except RemoteProtocolError:
            self.detach()
            self.end()
        else:
            self._association.put(destination, payload)

    def send(self, datagrams: Sequence[bytes], peer: Destination) -> int:
        """See `DatagramSink.send`."""
        if isinstance(peer.host, str):
            return len(datagrams)
        head = encode_packetaddr(peer.host, peer.port, b"")
        return self._owner.send_datagrams(self, [head + each for each in datagrams], None)
