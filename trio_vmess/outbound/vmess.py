"""The VMess outbound: a client of VMess servers.

Servers take turns, and one that cannot be reached is passed over. A server may offer another port
and account for some minutes ("dynamic port"): those are preferred while they last, given up when
they cannot be reached, and passed over when they stay silent.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

import attrs
import trio

from trio_vmess.contracts import Connect, Connected, PacketLink, StreamSide, Transport
from trio_vmess.core import (
    Destination,
    Entropy,
    Flow,
    Host,
    Network,
    PrefixedCodec,
    format_endpoint,
)
from trio_vmess.core.vmess import (
    TIMESTAMP_JITTER,
    Account,
    ClientConnection,
    Command,
    Dialect,
    PacketBody,
    Request,
    Response,
    StreamBody,
    SwitchAccount,
    choose_security,
)
from trio_vmess.errors import DialError, DialFailure, LocalProtocolError
from trio_vmess.transport import BodyPacketLink

_T = TypeVar("_T")

log: Final = logging.getLogger("trio_vmess.outbound.vmess")

FIRST_PAYLOAD_WAIT: Final = 0.1
"""Seconds that the header waits for payload to travel with. Source: v2ray-core, outbound.go."""

SWITCHED_MAX: Final = 16
"""How many offered accounts are kept; the oldest goes first."""

OFFER_DIAL_LIMIT: Final = 4.0
"""Seconds in which an offered port must be reached: the main port is there to fall back on."""

UNANSWERED_MAX: Final = 4
"""Requests in a row that an offered account may leave unanswered: a server that was started anew
does not know the accounts that it offered before, and says nothing to them."""

PACKET_READ_SIZE: Final = 64 * 1024


@attrs.frozen(kw_only=True)
class Identity:
    """Who we are to a server, and how we protect our bodies there.

    Attributes:
        account: as the server knows it.
        security: a word of `SECURITY_WORDS`.
        authenticated_length: seal chunk sizes.
        sends_terminator: close bodies with the chunk that says so.
    """

    account: Account
    security: str = "auto"
    authenticated_length: bool = False
    sends_terminator: bool = True


@attrs.frozen(kw_only=True)
class Server:
    """A VMess server.

    Attributes:
        host: where it is.
        port: its main port.
        identities: one of them is drawn for each connection.
    """

    host: Host
    port: int
    identities: Sequence[Identity]


@attrs.define(eq=False, kw_only=True)
class _Switched:
    """An account that a server offered, until `expires` (Trio's time)."""

    host: Host
    port: int
    identity: Identity
    expires: float
    unanswered: int = 0


class VMessOutbound:
    """Connects through VMess servers.

    Args:
        tag: the outbound's name.
        servers: at least one.
        dialect: which VMess they speak.
        padding: pad chunks.
        entropy: where keys, padding, jitter and choices come from.
        clock: UTC seconds.
        machine: the processor, as `platform.machine()` names it.
        buffer: where reads go to; shared with everybody else.
        connect: opens transports to servers.
        jitter: seconds by which legacy timestamps may be off; 0 for sing-box servers.
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
        self._jitter = jitter
        self._turn = 0
        self._switched: list[_Switched] = []

    @property
    def switched(self) -> Sequence[tuple[Host, int]]:
        """The offered ports that are in use now."""
        now = trio.current_time()
        return [(each.host, each.port) for each in self._switched if each.expires > now]

    async def connect(self, flow: Flow, /) -> Connected[StreamSide]:
        """See `Outbound.connect`."""
        transport, header, body = await self._open(flow)
        if not isinstance(body, StreamBody):
            raise TypeError("a stream was asked for")
        side = StreamSide(
            transport=transport,
            opener=body.opener,
            sealer=PrefixedCodec(header, body.sealer),
            early=body.trailing,
            flush_after=FIRST_PAYLOAD_WAIT,
        )
        return Connected(self.tag, side)

    async def connect_packets(self, flow: Flow, /) -> Connected[PacketLink]:
        """See `Outbound.connect_packets`."""
        transport, header, body = await self._open(flow)
        if not isinstance(body, PacketBody):
            raise TypeError("datagrams were asked for")
        link = BodyPacketLink(transport, body, prefix=header, buffer=self._buffer)
        return Connected(self.tag, link)

    async def _open(self, flow: Flow) -> tuple[Transport, bytes, StreamBody | PacketBody]:
        """Dial the servers in turn; return the first that answers, and what to say to it."""
        failures: list[str] = []
        for host, port, identity, switched in self._candidates():
            try:
                transport = await self._dial(host, port, switched)
            except DialError as exc:
                failures.append(str(exc))
                log.info(
                    "vmess.server_unreachable server=%s reason=%r",
                    format_endpoint(host, port),
                    str(exc),
                )
                if switched is not None:
                    self._give_up(switched)
                continue
            try:
                return transport, *self._ask(flow.destination, host, identity, switched)
            except LocalProtocolError as exc:
                await transport.aclose()
                raise DialError(
                    f"{flow.destination}: {exc}", reason=DialFailure.UNSUPPORTED
                ) from None
            except BaseException:
                await transport.aclose()
                raise
        reasons = "; ".join(failures)
        raise DialError(
            f"no VMess server can be reached: {reasons}", reason=DialFailure.PARENT_PROXY
        )

    async def _dial(self, host: Host, port: int, switched: _Switched | None) -> Transport:
        if switched is None:
            return await self._connect(host, port)
        with trio.move_on_after(OFFER_DIAL_LIMIT):
            return await self._connect(host, port)
        raise DialError(
            f"{format_endpoint(host, port)}: no answer in time", reason=DialFailure.TIMED_OUT
        )

    def _ask(
        self,
        destination: Destination,
        host: Host,
        identity: Identity,
        switched: _Switched | None,
    ) -> tuple[bytes, StreamBody | PacketBody]:
        command = Command.UDP if destination.network is Network.UDP else Command.TCP
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

        if switched is not None:
            switched.unanswered += 1

        def on_response(response: Response) -> None:
            if switched is not None:
                switched.unanswered = 0
            if response.switch_account is not None:
                self._switch(response.switch_account, host, identity)

        return header, connection.hand_over_early(on_response)

    # Turns --------------------------------------------------------------------------------------

    def _candidates(self) -> Iterator[tuple[Host, int, Identity, _Switched | None]]:
        """Yield offered accounts, then every server once, each time beginning with another."""
        now = trio.current_time()
        self._switched = [each for each in self._switched if each.expires > now]
        turn, self._turn = self._turn, self._turn + 1
        for each in _rotated(self._switched, turn):
            if each.unanswered >= UNANSWERED_MAX:
                continue
            yield each.host, each.port, each.identity, each
        for server in _rotated(self._servers, turn):
            number = 0
            if len(server.identities) > 1:
                number = self._entropy.randbelow(len(server.identities))
            yield server.host, server.port, server.identities[number], None

    def _switch(self, offer: SwitchAccount, dialled: Host, identity: Identity) -> None:
        """Remember an offer, for as long as it says."""
        entry = _Switched(
            host=dialled if offer.host is None else offer.host,
            port=offer.port,
            identity=attrs.evolve(
                identity,
                account=Account(
                    user_id=offer.user_id,
                    alter_id_count=offer.alter_id_count,
                    level=offer.level,
                    email=identity.account.email,
                ),
            ),
            expires=trio.current_time() + offer.minutes * 60,
        )
        same = [
            each
            for each in self._switched
            if (each.host, each.port, each.identity.account.user_id)
            == (entry.host, entry.port, offer.user_id)
        ]
        for each in same:
            entry.unanswered = each.unanswered
            self._switched.remove(each)
        if not same:
            log.info(
                "vmess.switched server=%s minutes=%d",
                format_endpoint(entry.host, entry.port),
                offer.minutes,
            )
        self._switched.append(entry)
        del self._switched[:-SWITCHED_MAX]

    def _give_up(self, switched: _Switched) -> None:
        if switched in self._switched:
            self._switched.remove(switched)


def _rotated(items: Sequence[_T], turn: int) -> Sequence[_T]:
    start = turn % len(items) if items else 0
    return (*items[start:], *items[:start])
