"""The server's end of packetaddr: datagrams to many addresses, in one connection of command UDP."""

import ipaddress
from collections.abc import Sequence
from typing import Final

import trio

from trio_vmess.contracts import Dispatch, PacketLink
from trio_vmess.core import Destination, Flow, decode_packetaddr, encode_packetaddr
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.inbound.mux.association import ClientAssociation
from trio_vmess.transport import PacketSender


class PacketAddrSession:
    """A connection that carries the datagrams of one socket of a client's program.

    Args:
        link: the client's; closed at the end.
        flow: of whom they are.
        dispatch: gets a flow for each destination.
    """

    def __init__(self, link: PacketLink, flow: Flow, dispatch: Dispatch) -> None:
        self._link = link
        self._association = ClientAssociation(dispatch, flow, is_full_cone=True)
        self._sender = PacketSender(link)

    async def run(self) -> str:
        """Carry until the connection or the association ends; return why."""
        reasons: Final[list[str]] = []
        self._association.attach(self)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run_association, nursery, name="packetaddr association")
                nursery.start_soon(self._keep_sending, nursery, name="packetaddr sender")
                reasons.append(await self._keep_receiving())
                nursery.cancel_scope.cancel()
        finally:
            await self._link.aclose()
        return reasons[0] if reasons else "nobody uses it"

    def send(self, datagrams: Sequence[bytes], peer: Destination) -> int:
        """See `DatagramSink.send`."""
        host = peer.host
        if not isinstance(host, ipaddress.IPv4Address | ipaddress.IPv6Address):
            return len(datagrams)
        put = self._sender.put
        packets = (encode_packetaddr(host, peer.port, datagram) for datagram in datagrams)
        return sum(not put(packet) for packet in packets)

    def end(self) -> None:
        """See `DatagramSink.end`: the connection's end says it."""

    async def _run_association(self, nursery: trio.Nursery) -> None:
        await self._association.run()
        nursery.cancel_scope.cancel()

    async def _keep_receiving(self) -> str:
        try:
            while datagrams := await self._link.receive():
                for datagram in datagrams:
                    destination, payload = decode_packetaddr(datagram)
                    self._association.put(destination, payload)
        except (RemoteProtocolError, trio.BrokenResourceError) as exc:
            return str(exc) or "the connection was reset"
        return "the client has closed it"

    async def _keep_sending(self, nursery: trio.Nursery) -> None:
        try:
            await self._sender.run()
        except trio.BrokenResourceError:
            nursery.cancel_scope.cancel()
