"""The server's end of packetaddr: datagrams to many addresses, in one connection of command UDP."""

import ipaddress
from collections import deque
from collections.abc import Sequence
from typing import Final

import trio

from trio_vmess.contracts import Dispatch, PacketLink
from trio_vmess.core import Destination, Flow, decode_packetaddr, encode_packetaddr
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.inbound.flow_table import QUEUE_COUNT_MAX, QUEUE_SIZE_MAX
from trio_vmess.inbound.mux.association import ClientAssociation


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
        self._answers: deque[bytes] = deque()
        self._answers_size = 0
        self._lot = trio.lowlevel.ParkingLot()
        self._has_ended = False

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
        dropped = 0
        for datagram in datagrams:
            if len(self._answers) >= QUEUE_COUNT_MAX or self._answers_size >= QUEUE_SIZE_MAX:
                dropped += 1
            else:
                self._answers.append(encode_packetaddr(host, peer.port, datagram))
                self._answers_size += len(datagram)
        self._lot.unpark()
        return dropped

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
            while True:
                if not self._answers:
                    await self._lot.park()
                answers, self._answers = self._answers, deque()
                self._answers_size = 0
                await self._link.send(answers)
        except trio.BrokenResourceError:
            nursery.cancel_scope.cancel()
