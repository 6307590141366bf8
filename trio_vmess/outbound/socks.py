"""The SOCKS outbound: connects through parent SOCKS5 proxies.

A stream is a CONNECT. Each flow of datagrams is a UDP ASSOCIATE of its own: its TCP connection (the
control connection) stays open, and the association ends when that connection does.
"""

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from typing import Final

import trio

from trio_vmess.contracts import Connect, Connected, PacketLink, Resolve, StreamSide, Transport
from trio_vmess.core import NEED_DATA, Destination, Flow, IPAddress, Network
from trio_vmess.core.socks import (
    Command,
    Reply,
    ReplyCode,
    SocksClient,
    decode_datagram,
    encode_datagram,
)
from trio_vmess.errors import DialError, DialFailure, RemoteProtocolError
from trio_vmess.outbound.parent_proxy import (
    READ_SIZE,
    ParentProxies,
    ParentProxy,
    send_pending,
)
from trio_vmess.transport import (
    DatagramSocket,
    SocketOption,
    cancel_at_end,
    connect_datagram_socket,
    resolve,
)

FAILURES: Final[Mapping[ReplyCode, DialFailure]] = {
    ReplyCode.GENERAL_FAILURE: DialFailure.PARENT_PROXY,
    ReplyCode.NOT_ALLOWED: DialFailure.FORBIDDEN,
    ReplyCode.NETWORK_UNREACHABLE: DialFailure.NETWORK_UNREACHABLE,
    ReplyCode.HOST_UNREACHABLE: DialFailure.HOST_UNREACHABLE,
    ReplyCode.CONNECTION_REFUSED: DialFailure.REFUSED,
    ReplyCode.TTL_EXPIRED: DialFailure.TIMED_OUT,
    ReplyCode.COMMAND_NOT_SUPPORTED: DialFailure.UNSUPPORTED,
    ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED: DialFailure.UNSUPPORTED,
}
"""The failure for each reply code of the parent proxy."""

_ANYWHERE: Final = Destination(host=ipaddress.IPv4Address(0), port=0, network=Network.UDP)
"""Stands for "address not known yet" in a UDP ASSOCIATE. Source: RFC 1928 section 4."""


class SocksOutbound:
    """Connects through SOCKS5 proxies, which take turns.

    Args:
        tag: the outbound's name; may be empty.
        servers: one or more.
        connect: opens transports to them.
        local: the address to send datagrams from; None leaves it to the system.
        options: of the sockets for datagrams.
        resolve: finds where a proxy takes datagrams if it says so by name.
        has_datagrams: False if only streams reach the proxies as they should.

    Raises:
        ValueError: `servers` is empty.
    """

    def __init__(
        self,
        *,
        tag: str,
        servers: Sequence[ParentProxy],
        connect: Connect,
        local: IPAddress | None = None,
        options: Sequence[SocketOption] = (),
        resolve: Resolve = resolve,
        has_datagrams: bool = True,
    ) -> None:
        self.tag = tag
        self._resolve = resolve
        self._proxies = ParentProxies(servers, connect)
        self._local = local
        self._options = options
        self._has_datagrams = has_datagrams

    async def connect(self, flow: Flow, /) -> Connected[StreamSide]:
        """See `Outbound.connect`."""
        transport, _, early = await self._request(Command.CONNECT, flow.destination)
        return Connected(self.tag, StreamSide(transport=transport, early=early))

    async def connect_packets(self, flow: Flow, /) -> Connected[PacketLink]:
        """See `Outbound.connect_packets`."""
        if not self._has_datagrams:
            raise DialError(
                f"{flow.destination}: the proxy is reached through another outbound, and its "
                "datagrams would not be",
                reason=DialFailure.UNSUPPORTED,
            )
        try:
            header = encode_datagram(flow.destination.host, flow.destination.port, b"")
        except ValueError as exc:
            raise DialError(f"{flow.destination}: {exc}", reason=DialFailure.UNSUPPORTED) from None
        control, relay, _ = await self._request(Command.UDP_ASSOCIATE, _ANYWHERE)
        try:
            address = await _relay_address(relay, control, self._resolve)
            datagrams = connect_datagram_socket(
                address, relay.port, local=self._local, options=self._options
            )
            return Connected(self.tag, SocksPacketLink(control, datagrams, header))
        except BaseException:
            await control.aclose()
            raise

    async def _request(
        self, command: Command, destination: Destination
    ) -> tuple[Transport, Destination, bytes]:
        """Connect to a server and send it a request.

        Returns:
            The connection, the bound address of the reply, and the bytes that followed the reply.

        Raises:
            DialError: no server could be reached, or the server refused the request.
        """

        async def negotiate(server: ParentProxy, transport: Transport) -> tuple[Destination, bytes]:
            client = _client(server, command, destination)
            reply = await _negotiate(client, transport)
            if reply.code is not ReplyCode.SUCCEEDED or reply.bound is None:
                raise DialError(
                    f"{server}: {destination}: {reply.code.name.lower().replace('_', ' ')}",
                    reason=FAILURES[reply.code],
                )
            return reply.bound, client.trailing_data

        transport, (bound, early) = await self._proxies.open(negotiate)
        return transport, bound, early


class SocksPacketLink:
    """The datagrams of one flow through a SOCKS5 proxy: a `PacketLink`.

    Args:
        control: the connection of the association; owned by the link from now on.
        datagrams: connected to the proxy's UDP port; owned by the link as well.
        header: the SOCKS header of the destination; put in front of each datagram.
    """

    def __init__(self, control: Transport, datagrams: DatagramSocket, header: bytes) -> None:
        self._control = control
        self._datagrams = datagrams
        self._header = header
        self._has_ended = False

    async def receive(self) -> Sequence[bytes]:
        """See `PacketLink.receive`; returns none when the association has ended."""
        payloads: list[bytes] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_at_end, self._control, nursery.cancel_scope, name="control")
            payloads = await self._receive_payloads()
            nursery.cancel_scope.cancel()
        self._has_ended = not payloads
        return payloads

    async def _receive_payloads(self) -> list[bytes]:
        """Wait for datagrams with a valid header; others are dropped."""
        payloads: list[bytes] = []
        while not payloads:
            for data in await self._datagrams.receive_connected():
                try:
                    payloads.append(decode_datagram(data).payload)
                except RemoteProtocolError:
                    continue
        return payloads

    async def send(self, datagrams: Sequence[bytes], /) -> int:
        """See `PacketLink.send`.

        Raises:
            trio.BrokenResourceError: the parent proxy has ended the association.
        """
        if self._has_ended:
            raise trio.BrokenResourceError("the parent proxy has ended the association")
        return self._datagrams.send([self._header + each for each in datagrams])

    async def aclose(self) -> None:
        """See `PacketLink.aclose`; it never waits."""
        self._datagrams.close()
        await self._control.aclose()


def _client(server: ParentProxy, command: Command, destination: Destination) -> SocksClient:
    try:
        return SocksClient(
            command=command, destination=destination, user=server.user, password=server.password
        )
    except ValueError as exc:
        raise DialError(f"{destination}: {exc}", reason=DialFailure.UNSUPPORTED) from None


async def _negotiate(client: SocksClient, transport: Transport) -> Reply:
    """Run the handshake.

    Raises:
        RemoteProtocolError: the server does not accept us, or does not speak SOCKS5.
        trio.BrokenResourceError: the connection was reset.
    """
    buffer = memoryview(bytearray(READ_SIZE))
    while True:
        event = client.next_event()
        if event is not NEED_DATA:
            return event
        await send_pending(client, transport)
        size = await transport.receive_into(buffer)
        client.receive_data(buffer[:size])


async def _relay_address(relay: Destination, control: Transport, resolve: Resolve) -> IPAddress:
    """Return the address to which the proxy wants datagrams sent.

    Args:
        relay: the bound address of its reply. All zeros stand for the address of the proxy itself.
        control: the connection to the proxy.
        resolve: used if the reply has a host name.

    Raises:
        DialError: the reply has a host name without an address.
    """
    if isinstance(relay.host, str):
        return (await resolve(relay.host, socket.AF_UNSPEC))[0]
    if relay.host.is_unspecified and (remote := control.remote) is not None:
        return relay.host if isinstance(remote.host, str) else remote.host
    return relay.host
