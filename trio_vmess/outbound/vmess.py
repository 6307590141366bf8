"""The VMess outbound: a client of VMess servers.

Connections go to the configured servers in turn; a server that cannot be reached is skipped. Ports
and accounts that a server has offered are tried first: see `offered_accounts`.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

import attrs
import trio

from trio_vmess.contracts import Connect, Connected, PacketLink, StreamSide, Transport
from trio_vmess.core import (
    PACKETADDR_HOST,
    Destination,
    Entropy,
    Flow,
    Host,
    Network,
    PrefixedCodec,
    format_endpoint,
)
from trio_vmess.core.vmess import (
    MUX_DESTINATION,
    PACKET_SIZE,
    TIMESTAMP_JITTER,
    ClientConnection,
    Command,
    Dialect,
    PacketBody,
    Request,
    Response,
    StreamBody,
    TerminatorHabit,
    choose_security,
)
from trio_vmess.errors import DialError, DialFailure, LocalProtocolError
from trio_vmess.outbound.answered_link import AnsweredPacketLink
from trio_vmess.outbound.offered_accounts import Identity, OfferedAccount, OfferedAccounts
from trio_vmess.transport import BodyPacketLink

_T = TypeVar("_T")

log: Final = logging.getLogger("trio_vmess.outbound.vmess")

FIRST_PAYLOAD_WAIT: Final = 0.1
"""Seconds that the request header waits for payload to share a packet with.

Source:
    v2ray-core, proxy/vmess/outbound/outbound.go.
"""

OFFER_DIAL_LIMIT: Final = 4.0
"""Seconds in which an offered port must be reached: the main port is there to fall back on."""

HABITS_MAX: Final = 256
"""Servers of which is remembered whether they send terminators; offers may name any host."""

PACKET_READ_SIZE: Final = 64 * 1024

_PACKETADDR: Final = Destination(host=PACKETADDR_HOST, port=0, network=Network.UDP)


@attrs.frozen(kw_only=True)
class Server:
    """A VMess server.

    Attributes:
        host: where it is.
        port: its main port.
        identities: one of them is picked at random for each connection.
    """

    host: Host
    port: int
    identities: Sequence[Identity]


class VMessOutbound:
    """Connects through VMess servers.

    Args:
        tag: the outbound's name.
        servers: at least one.
        dialect: the VMess variant that they speak.
        padding: whether to pad chunks.
        entropy: source of keys, padding, jitter and random choices.
        clock: returns UTC seconds.
        machine: the processor, as `platform.machine()` names it; decides what `auto` means.
        buffer: the read buffer of packet links; shared by all connections.
        connect: opens transports to servers.
        connect_packets: opens those for datagrams, where a peer that is gone should be noticed
            soon; None stands for `connect`.
        packet_size: bytes of the largest datagram; larger ones are dropped and counted.
        jitter: seconds by which legacy timestamps are randomised; 0 for sing-box servers.
    """

    def __init__(
        self,
        *,
        tag: str,
        servers: Sequence[Server],
        dialect: Dialect,
        padding: bool,
        entropy: Entropy,
        clock: Callable[[], int],
        machine: str,
        buffer: memoryview,
        connect: Connect,
        connect_packets: Connect | None = None,
        packet_size: int = PACKET_SIZE,
        jitter: int = TIMESTAMP_JITTER,
    ) -> None:
        self.tag = tag
        self._servers = servers
        self._dialect = dialect
        self._padding = padding
        self._entropy = entropy
        self._clock = clock
        self._machine = machine
        self._buffer = buffer[:PACKET_READ_SIZE]
        self._connect = connect
        self._connect_packets = connect_packets or connect
        self._packet_size = packet_size
        self._jitter = jitter
        self._turn = 0
        self._offers = OfferedAccounts()
        # By host: a server speaks alike on all its ports.
        self._habits: dict[Host, TerminatorHabit] = {}

    @property
    def offered_ports(self) -> Sequence[tuple[Host, int]]:
        """Host and port of each offered account that has not expired."""
        return self._offers.list_ports(trio.current_time())

    async def connect(self, flow: Flow, /) -> Connected[StreamSide]:
        """See `Outbound.connect`."""
        return Connected(self.tag, await self._open_stream(flow.destination, Command.TCP))

    async def connect_carrier(self) -> StreamSide:
        """Open a connection that is to carry many; its payload are the frames of Mux.Cool.

        Raises:
            DialError: no server can be reached, or the dialect has no such command.
        """
        return await self._open_stream(MUX_DESTINATION, Command.MUX)

    async def connect_packets(self, flow: Flow, /) -> Connected[PacketLink]:
        """See `Outbound.connect_packets`."""
        link = await self._open_packets(flow.destination)
        return Connected(self.tag, AnsweredPacketLink(link))

    async def connect_packetaddr(self) -> BodyPacketLink:
        """Open a connection for datagrams that begin with an address.

        Raises:
            DialError: no server can be reached.
        """
        return await self._open_packets(_PACKETADDR)

    async def _open_packets(self, destination: Destination) -> BodyPacketLink:
        transport, header, body = await self._open(destination, Command.UDP)
        if not isinstance(body, PacketBody):
            raise TypeError(f"expected a PacketBody, not {type(body).__name__}")
        body.sealer.restrict(self._packet_size)
        return BodyPacketLink(transport, body, prefix=header, buffer=self._buffer)

    async def _open_stream(self, destination: Destination, command: Command) -> StreamSide:
        transport, header, body = await self._open(destination, command)
        if not isinstance(body, StreamBody):
            raise TypeError(f"expected a StreamBody, not {type(body).__name__}")
        return StreamSide(
            transport=transport,
            opener=body.opener,
            sealer=PrefixedCodec(header, body.sealer),
            early=body.trailing,
            flush_after=FIRST_PAYLOAD_WAIT,
        )

    async def _open(
        self, destination: Destination, command: Command
    ) -> tuple[Transport, bytes, StreamBody | PacketBody]:
        """Connect to the first candidate that can be reached, and prepare the request.

        Returns:
            The transport, the sealed request header (not sent yet), and the codecs of both bodies.

        Raises:
            DialError: no server can be reached, or VMess cannot encode the destination.
        """
        failures: list[str] = []
        connect = self._connect_packets if command is Command.UDP else self._connect
        for host, port, identity, offered in self._candidates():
            try:
                transport = await self._dial(connect, host, port, offered)
            except DialError as exc:
                failures.append(str(exc))
                log.warning(
                    "vmess.server_unreachable server=%s reason=%r",
                    format_endpoint(host, port),
                    str(exc),
                )
                if offered is not None:
                    self._offers.set_aside(offered, exc.reason, trio.current_time())
                continue
            try:
                header, body = self._request_header(destination, command, host, identity, offered)
                return transport, header, body
            except LocalProtocolError as exc:
                await transport.aclose()
                raise DialError(f"{destination}: {exc}", reason=DialFailure.UNSUPPORTED) from None
            except BaseException:
                await transport.aclose()
                raise
        reasons = "; ".join(failures)
        raise DialError(
            f"no VMess server could be reached: {reasons}", reason=DialFailure.PARENT_PROXY
        )

    async def _dial(
        self, connect: Connect, host: Host, port: int, offered: OfferedAccount | None
    ) -> Transport:
        if offered is None:
            return await connect(host, port)
        offered.is_dialled = True
        try:
            with trio.move_on_after(OFFER_DIAL_LIMIT):
                transport = await connect(host, port)
                offered.was_reached = True
                return transport
        finally:
            offered.is_dialled = False
        raise DialError(
            f"{format_endpoint(host, port)}: connection attempt timed out",
            reason=DialFailure.TIMED_OUT,
        )

    def _request_header(
        self,
        destination: Destination,
        command: Command,
        host: Host,
        identity: Identity,
        offered: OfferedAccount | None,
    ) -> tuple[bytes, StreamBody | PacketBody]:
        """Seal the request header for a destination.

        Returns:
            The header, and the codecs for what follows it and for the server's response.

        Raises:
            LocalProtocolError: VMess cannot encode the destination.
        """
        security, options = choose_security(
            identity.security,
            machine=self._machine,
            command=command,
            dialect=self._dialect,
            padding=self._padding,
            authenticated_length=identity.authenticated_length,
        )
        connection = ClientConnection(
            entropy=self._entropy,
            dialect=self._dialect,
            jitter=self._jitter,
            sends_terminator=identity.sends_terminator,
        )
        header = connection.send(
            Request(
                account=identity.account,
                destination=destination,
                command=command,
                security=security,
                options=options,
                timestamp=self._clock(),
            )
        )

        if offered is not None:
            # Counted when the request is made and reset by its response: nothing but a response
            # proves that the server still knows the account.
            offered.unanswered += 1

        def on_response(response: Response) -> None:
            if offered is not None:
                offered.unanswered = 0
            if response.switch_account is not None:
                self._offers.add(response.switch_account, host, identity, trio.current_time())

        return header, connection.hand_over_early(on_response, habit=self._habit_of(host))

    def _habit_of(self, host: Host) -> TerminatorHabit:
        if host not in self._habits and len(self._habits) >= HABITS_MAX:
            del self._habits[next(iter(self._habits))]
        return self._habits.setdefault(host, TerminatorHabit())

    # Candidates ---------------------------------------------------------------------------------

    def _candidates(self) -> Iterator[tuple[Host, int, Identity, OfferedAccount | None]]:
        """Yield where to connect, best first: offered accounts, then each configured server.

        Both lists are rotated by one more place for each connection, which spreads the load while
        a connection still tries every server before it fails.
        """
        turn, self._turn = self._turn, self._turn + 1
        for each in _rotated(list(self._offers.usable(trio.current_time())), turn):
            yield each.host, each.port, each.identity, each
        for server in _rotated(self._servers, turn):
            number = 0
            # A single identity draws nothing from the entropy source.
            if len(server.identities) > 1:
                number = self._entropy.randbelow(len(server.identities))
            yield server.host, server.port, server.identities[number], None


def _rotated(items: Sequence[_T], turn: int) -> Sequence[_T]:
    start = turn % len(items) if items else 0
    return (*items[start:], *items[:start])
