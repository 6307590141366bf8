"""The SOCKS inbound: does the I/O for `core.socks`.

CONNECT becomes a stream for dispatch. Each UDP ASSOCIATE opens a UDP port that lives as long as the
TCP connection that requested it, and accepts datagrams only from that connection's address.
"""

import functools
import ipaddress
import logging
import socket
from collections.abc import Mapping, Sequence
from typing import Final

import attrs
import trio

from trio_vmess.contracts import Dispatch, StreamSide, Transport
from trio_vmess.core import (
    NEED_DATA,
    Destination,
    Flow,
    Host,
    IPAddress,
    Network,
    User,
    parse_endpoint,
    parse_host,
)
from trio_vmess.core.socks import (
    Command,
    ConnectionClosed,
    Reply,
    ReplyCode,
    Request,
    SocksServer,
    decode_datagram,
    encode_datagram,
    split_datagram,
)
from trio_vmess.errors import DialFailure, RemoteProtocolError
from trio_vmess.inbound.association_limit import AssociationLimit
from trio_vmess.inbound.flow_table import (
    FLOW_COUNT_MAX,
    INVITED_COUNT_MAX,
    FlowTable,
    Opening,
)
from trio_vmess.inbound.flow_table import Reply as SendReplies
from trio_vmess.transport import DatagramSocket, SocketAddress, cancel_at_end, close_lingering

log: Final = logging.getLogger("trio_vmess.inbound.socks")

READ_SIZE: Final = 4096
"""Bytes that one read of the handshake takes; what follows the request is early data."""

LOOPBACK: Final = ipaddress.IPv4Address("127.0.0.1")

REPLY_CODES: Final[Mapping[DialFailure, ReplyCode]] = {
    DialFailure.REFUSED: ReplyCode.CONNECTION_REFUSED,
    DialFailure.TIMED_OUT: ReplyCode.HOST_UNREACHABLE,
    DialFailure.HOST_UNREACHABLE: ReplyCode.HOST_UNREACHABLE,
    DialFailure.NETWORK_UNREACHABLE: ReplyCode.NETWORK_UNREACHABLE,
    DialFailure.NAME_NOT_FOUND: ReplyCode.HOST_UNREACHABLE,
    DialFailure.FORBIDDEN: ReplyCode.NOT_ALLOWED,
    DialFailure.UNSUPPORTED: ReplyCode.COMMAND_NOT_SUPPORTED,
    DialFailure.PARENT_PROXY: ReplyCode.GENERAL_FAILURE,
}
"""The reply code for each reason why a destination was not reached."""


class SocksInbound:
    """A SOCKS4, SOCKS4a and SOCKS5 proxy.

    Args:
        dispatch: gets every flow.
        tag: the inbound's name; may be empty.
        level: the policy level of all clients.
        accounts: user name to password; None for no authentication.
        udp: whether to serve UDP ASSOCIATE.
        udp_address: the address in the reply to UDP ASSOCIATE; None for the address on which the
            client has reached us.
        associations: limits UDP associations; None for the default limits.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        *,
        tag: str,
        level: int,
        accounts: Mapping[str, str] | None,
        udp: bool,
        udp_address: IPAddress | None,
        associations: AssociationLimit | None = None,
    ) -> None:
        self._dispatch = dispatch
        self._tag = tag
        self._anonymous = User(level=level)
        self._accounts = accounts
        self._udp = udp
        self._udp_address = udp_address
        self._associations = associations or AssociationLimit()

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        """See `Inbound.serve`."""
        try:
            server = SocksServer(accounts=self._accounts)
            request = await self._read_request(server, transport, source, deadline)
            if request is None:
                return
            if request.command is Command.CONNECT:
                flow = self._flow(request.destination, request, source)
                side = StreamSide(transport=transport, early=server.trailing_data)
                await self._dispatch.stream(flow, side, _Answer(server, transport))
            elif self._udp:
                await self._associate_if_allowed(server, request, transport, source)
            else:
                log.info("socks.refused source=%s reason=%r", source, "UDP is not enabled")
                reply = Reply(code=ReplyCode.COMMAND_NOT_SUPPORTED)
                await close_lingering(transport, server.send(reply))
        finally:
            await transport.aclose()

    def _flow(self, destination: Destination, request: Request, source: str) -> Flow:
        return Flow(
            destination=destination,
            source=source,
            inbound_tag=self._tag,
            user=self._user(request.user),
        )

    def _user(self, name: str | None) -> User:
        if not name:
            return self._anonymous
        return User(id=name.encode(), email=name, level=self._anonymous.level)

    async def _read_request(
        self, server: SocksServer, transport: Transport, source: str, deadline: float
    ) -> Request | None:
        """Run the handshake; None if it failed."""
        reason = "no complete request before the handshake deadline"
        try:
            with trio.move_on_at(deadline):
                request = await _negotiate(server, transport)
                if request is not None:
                    return request
                reason = "the client closed the connection before its request"
        except RemoteProtocolError as exc:
            log.warning("socks.refused source=%s reason=%r", source, str(exc))
            await close_lingering(transport, server.data_to_send())
            return None
        except trio.BrokenResourceError:
            reason = "the connection was reset before the request"
        log.info("socks.refused source=%s reason=%r", source, reason)
        return None

    # UDP ----------------------------------------------------------------------------------------

    async def _associate_if_allowed(
        self, server: SocksServer, request: Request, transport: Transport, source: str
    ) -> None:
        client = f"user {request.user}" if request.user else source.rpartition(":")[0]
        if problem := self._associations.enter(client):
            log.warning("socks.refused source=%s reason=%r", source, problem)
            reply = Reply(code=ReplyCode.GENERAL_FAILURE)
            await close_lingering(transport, server.send(reply))
            return
        try:
            await self._associate(server, request, transport, source)
        finally:
            self._associations.leave(client)

    async def _associate(
        self,
        server: SocksServer,
        request: Request,
        transport: Transport,
        source: str,
    ) -> None:
        """Serve one association until its connection ends."""
        local = transport.local
        reached = LOOPBACK if local is None else local.host
        try:
            datagrams = DatagramSocket(_bind(reached))
        except OSError as exc:
            log.warning(
                "socks.refused source=%s reason=%r", source, f"cannot open a UDP port: {exc}"
            )
            reply = Reply(code=ReplyCode.GENERAL_FAILURE)
            await close_lingering(transport, server.send(reply))
            return
        try:
            bound = Destination(
                host=self._udp_address or reached,
                port=datagrams.socket.getsockname()[1],
                network=Network.UDP,
            )
            await transport.send_all(server.send(Reply(code=ReplyCode.SUCCEEDED, bound=bound)))
            client = parse_endpoint(source)[0] if source else LOOPBACK
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_at_end, transport, nursery.cancel_scope, name="control")
                association = _Association(datagrams, client, source)

                def open_flow(encoded: bytes) -> Opening:
                    destination = decode_datagram(_UNFRAGMENTED + encoded).destination
                    flow = self._flow(destination, request, source)
                    return Opening(
                        flow=attrs.evolve(flow, association=association),
                        reply=association.reply_from(destination),
                    )

                flows = FlowTable(self._dispatch, open_flow=open_flow)
                await association.receive(flows, nursery)
                nursery.cancel_scope.cancel()
        except trio.BrokenResourceError:
            log.info("socks.association.reset source=%s", source)
        finally:
            datagrams.close()


_UNFRAGMENTED: Final = bytes(3)
"""Two reserved bytes and fragment number 0: the UDP header in front of the address."""


class _Association:
    """The datagrams of one client: an `Association`.

    Args:
        datagrams: the UDP port of the association.
        client: the host that may use it. The association is bound to the source port of the first
            valid datagram from this host.
        source: of the association's connection, for the log.
    """

    _nursery: trio.Nursery

    def __init__(self, datagrams: DatagramSocket, client: Host, source: str) -> None:
        self._datagrams = datagrams
        self._client = client
        self._source = source
        self._peer: SocketAddress | None = None
        self._flows: FlowTable[bytes] | None = None
        self._invited: set[bytes] = set()

    async def receive(self, flows: FlowTable[bytes], nursery: trio.Nursery) -> None:
        """Have datagrams sorted into flows until the socket fails; peers may open flows, too."""
        self._flows, self._nursery = flows, nursery
        try:
            await self._receive(flows, nursery)
        finally:
            self._flows = None

    def invite(self, peer: Destination, /) -> bool:
        """See `Association.invite`."""
        flows = self._flows
        if flows is None or len(flows) >= FLOW_COUNT_MAX:
            return False
        encoded = encode_datagram(peer.host, peer.port, b"")[len(_UNFRAGMENTED) :]
        if encoded in flows:
            return True
        self._invited = {each for each in self._invited if each in flows}
        if len(self._invited) >= INVITED_COUNT_MAX:
            return False
        self._invited.add(encoded)
        return flows.open(encoded, self._nursery) is not None

    async def _receive(self, flows: FlowTable[bytes], nursery: trio.Nursery) -> None:
        """Sort datagrams into flows until the socket fails.

        The key of a flow is the destination as encoded in the datagram: known keys need no parsing.
        """
        while True:
            try:
                batch = await self._datagrams.receive()
            except trio.BrokenResourceError as exc:
                log.warning(
                    "socks.association.socket_failed source=%s reason=%r", self._source, str(exc)
                )
                return
            for data, address in batch:
                if address != self._peer and not self._may_become_peer(address):
                    continue
                encoded, payload = split_datagram(data)
                if encoded not in flows:
                    try:
                        decode_datagram(data)
                    except RemoteProtocolError as exc:
                        log.debug("socks.datagram.dropped source=%s reason=%r", address, str(exc))
                        continue
                self._peer = address
                flows.deliver(encoded, payload, nursery)

    def _may_become_peer(self, address: SocketAddress) -> bool:
        return self._peer is None and _host_of(address) == self._client

    def reply_from(self, destination: Destination) -> SendReplies:
        """Return a function that sends datagrams of `destination` to the client."""
        header = encode_datagram(destination.host, destination.port, b"")
        return functools.partial(self._reply, header)

    def _reply(self, header: bytes, payloads: Sequence[bytes]) -> int:
        peer = self._peer
        if peer is None:
            return len(payloads)
        return self._datagrams.send([header + each for each in payloads], peer)


class _Answer:
    """The SOCKS reply to a CONNECT."""

    def __init__(self, server: SocksServer, transport: Transport) -> None:
        self._server = server
        self._transport = transport

    async def established(self, remote: StreamSide | None, /) -> None:
        """See `Answer.established`.

        Raises:
            trio.BrokenResourceError: the client's connection was reset.
        """
        reply = Reply(
            code=ReplyCode.SUCCEEDED, bound=None if remote is None else remote.transport.local
        )
        await self._transport.send_all(self._server.send(reply))

    async def refused(self, reason: DialFailure, /) -> None:
        """See `Answer.refused`."""
        await close_lingering(self._transport, self._server.send(Reply(code=REPLY_CODES[reason])))


async def _negotiate(server: SocksServer, transport: Transport) -> Request | None:
    """Run the handshake; None if the client closes the connection.

    Raises:
        RemoteProtocolError: the request is malformed, or its login is wrong.
        trio.BrokenResourceError: the connection was reset.
    """
    buffer = memoryview(bytearray(READ_SIZE))
    while True:
        event = server.next_event()
        if data := server.data_to_send():
            await transport.send_all(data)
        if isinstance(event, ConnectionClosed):
            return None
        if event is not NEED_DATA:
            return event
        size = await transport.receive_into(buffer)
        server.receive_data(buffer[:size])


def _bind(host: Host) -> socket.socket:
    family = socket.AF_INET6 if isinstance(host, ipaddress.IPv6Address) else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.bind((str(host), 0))
    except OSError:
        sock.close()
        raise
    return sock


def _host_of(address: SocketAddress) -> Host:
    return parse_host(address[0].partition("%")[0])
