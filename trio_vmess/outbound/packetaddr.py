"""Packetaddr as a client: the datagrams of an association in one connection to a VMess server."""

import functools
import ipaddress
import logging
from collections.abc import Iterable, Sequence
from typing import Final, NoReturn, Protocol

import trio

from trio_vmess.contracts import Connected, Outbound, PacketLink, StreamSide
from trio_vmess.core import Flow, decode_packetaddr, encode_packetaddr
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.outbound.received_datagrams import ReceivedDatagrams
from trio_vmess.outbound.shared_sockets import Open, SharedSockets
from trio_vmess.transport import Background, PacketSender

log: Final = logging.getLogger("trio_vmess.outbound.packetaddr")

_Address = tuple[str, int]


class BoundedPacketLink(PacketLink, Protocol):
    """A packet link that says what it takes: `BodyPacketLink`."""

    @property
    def size_max(self) -> int:
        """Bytes of the largest datagram that is sent; larger ones are dropped."""
        ...


class PacketAddrSource(Outbound, Protocol):
    """What the connections are opened with: `VMessOutbound`."""

    async def connect_packetaddr(self) -> BoundedPacketLink:
        """Open a connection for datagrams that begin with an address.

        Raises:
            DialError: no server can be reached.
        """
        ...


class PacketAddrOutbound:
    """Sends all datagrams of an association through one connection: an `Outbound`, and a `Service`.

    Packetaddr has no names, and names are left to the server: this machine's resolver would hear of
    them, and answer for its own place. So datagrams to names go as without packetaddr. So do flows
    without an association, which have nothing to share, and streams.

    QUIRK: V2Ray's server opens an IPv4 socket, and ends the connection when it is to send to an
    IPv6 address. So an association has a connection for each version of IP, as with freedom it has
    a socket for each.
    Source: v2ray-core v5, app/proxyman/outbound/handler.go.

    Args:
        vmess: opens all connections.
    """

    def __init__(self, vmess: PacketAddrSource) -> None:
        self._vmess = vmess
        self._background = Background(
            f"the shared connections of outbound {vmess.tag!r} do not run"
        )
        self._sockets = SharedSockets()

    @property
    def tag(self) -> str:
        """See `Outbound.tag`."""
        return self._vmess.tag

    @property
    def connection_count(self) -> int:
        """How many connections carry datagrams of associations."""
        return len(self._sockets)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Run the connections until cancelled; see `Service.run`."""
        await self._background.run(task_status=task_status)

    async def connect(self, flow: Flow, /) -> Connected[StreamSide]:
        """See `Outbound.connect`."""
        return await self._vmess.connect(flow)

    async def connect_packets(self, flow: Flow, /) -> Connected[PacketLink]:
        """See `Outbound.connect_packets`; the flows of an association share a connection.

        Raises:
            DialError: no server can be reached.
            RuntimeError: the service does not run.
        """
        host, association = flow.destination.host, flow.association
        if association is None or isinstance(host, str):
            return await self._vmess.connect_packets(flow)
        peer = str(host), flow.destination.port
        link = await self._sockets.connect(association, host.version, peer, self._dial)
        return Connected(self.tag, link)

    async def _dial(self) -> Open:
        nursery = self._background.nursery
        return functools.partial(self._start, await self._vmess.connect_packetaddr(), nursery)

    def _start(self, link: BoundedPacketLink, nursery: trio.Nursery) -> "PacketAddrSocket":
        socket = PacketAddrSocket(link, tag=self.tag)
        nursery.start_soon(socket.run, name="packetaddr connection")
        return socket


class PacketAddrSocket:
    """A UDP socket at the server's end of a connection: a `SharedSource`.

    Args:
        link: the connection; `run` closes it.
        tag: of the outbound, for the log; may be empty.
    """

    def __init__(self, link: BoundedPacketLink, *, tag: str) -> None:
        self._link = link
        self._tag = tag or "-"
        self._sender = PacketSender(link)
        self._received = ReceivedDatagrams()
        self._scope = trio.CancelScope()

    async def receive(self) -> Sequence[tuple[bytes, _Address]]:
        """See `SharedSource.receive`."""
        return await self._received.receive()

    def send(self, datagrams: Iterable[bytes], address: _Address, /) -> int:
        """See `SharedSource.send`: dropped is what is too large with its address, or too much."""
        self._received.check()
        head = encode_packetaddr(ipaddress.ip_address(address[0]), address[1], b"")
        size_max = self._link.size_max - len(head)
        dropped, put = 0, self._sender.put
        for datagram in datagrams:
            if len(datagram) > size_max or not put(head + datagram):
                dropped += 1
        return dropped

    def close(self) -> None:
        """See `SharedSource.close`."""
        self._scope.cancel()

    async def run(self) -> None:
        """Carry until closed, or until the connection ends; close that."""
        reasons: list[str] = []
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    scope = nursery.cancel_scope
                    nursery.start_soon(self._send, scope, reasons, name="packetaddr sender")
                    reasons.append(await self._receive())
                    scope.cancel()
        except Exception:
            log.exception("packetaddr.bug tag=%s", self._tag)
        finally:
            self._received.fail()
            await self._link.aclose()
        reason = reasons[0] if reasons else "nobody uses it"
        log.debug("packetaddr.closed tag=%s reason=%r", self._tag, reason)

    async def _receive(self) -> str:
        try:
            while packets := await self._link.receive():
                for packet in packets:
                    peer, datagram = decode_packetaddr(packet)
                    self._received.put(datagram, (str(peer.host), peer.port))
        except RemoteProtocolError as exc:
            log.info("packetaddr.violation tag=%s reason=%r", self._tag, str(exc))
            return str(exc)
        except trio.BrokenResourceError as exc:
            return str(exc) or "the connection was reset"
        return "the server has closed it"

    async def _send(self, scope: trio.CancelScope, reasons: list[str]) -> None:
        try:
            await self._sender.run()
        except trio.BrokenResourceError as exc:
            reasons.append(str(exc) or "the connection was reset")
            scope.cancel()
