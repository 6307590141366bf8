"""From a request to its outbound: sniff, choose, connect, answer, relay, close.

This is the error boundary of each connection: whatever fails inside is logged and goes no further.
"""

import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Final, Protocol

import trio

from trio_vmess.contracts import SILENT_ANSWER, Answer, Outbound, PacketLink, StreamSide, Transport
from trio_vmess.core import NEED_DATA, Flow, Policy
from trio_vmess.core.sniff import Sniffed, SniffingSettings
from trio_vmess.dispatch.access_log import describe_way, name_user
from trio_vmess.dispatch.connection import Connection, Observer
from trio_vmess.dispatch.sniffing import look, peek, peek_packets
from trio_vmess.errors import DialError, DialFailure, NoRouteError, RemoteProtocolError
from trio_vmess.relay import CloseReason, SharedBuffers, relay_packets, relay_streams

log: Final = logging.getLogger("trio_vmess.dispatch")

Choose = Callable[[Flow], Awaitable[Outbound]]
"""Chooses the outbound of a flow; raises `NoRouteError`."""

SniffingOf = Callable[[str], SniffingSettings | None]
"""Returns the sniffing settings of the inbound with this tag; None if it does not sniff."""


class Dispatcher:
    """Connects inbounds with outbounds.

    Args:
        choose: chooses the outbound of a flow.
        policy_of: returns the limits of a user level.
        buffers: shared by all connections of this Trio run.
        sniffing_of: returns the sniffing settings of an inbound; by default none sniffs.
        observers: notified of every connection, in this order.

    Attributes:
        connections: those that are open.
    """

    def __init__(
        self,
        choose: Choose,
        *,
        policy_of: Callable[[int], Policy],
        buffers: SharedBuffers,
        sniffing_of: SniffingOf = lambda _tag: None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.connections: set[Connection] = set()
        self._choose = choose
        self._policy_of = policy_of
        self._buffers = buffers
        self._sniffing_of = sniffing_of
        self._observers = tuple(observers)

    def stream(
        self, flow: Flow, client: StreamSide, answer: Answer, /
    ) -> Coroutine[None, None, None]:
        """See `Dispatch.stream`."""
        return self._run(flow, _StreamExchange(client, answer, self._buffers), client.transport)

    def packets(self, flow: Flow, client: PacketLink, /) -> Coroutine[None, None, None]:
        """See `Dispatch.packets`."""
        return self._run(flow, _PacketExchange(client))

    async def _run(
        self, flow: Flow, exchange: "_Exchange", transport: Transport | None = None
    ) -> None:
        connection = Connection(flow=flow, since=trio.current_time(), client=transport)
        self.connections.add(connection)
        try:
            for observer in self._observers:
                observer.opened(connection)
            settings = self._sniffing_of(flow.inbound_tag)
            if settings is not None:
                try:
                    found = await exchange.sniff()
                except RemoteProtocolError as exc:
                    connection.note_end(CloseReason.CLIENT_PROTOCOL, str(exc))
                    return
                if found is not None:
                    connection.flow = settings.apply(flow, found)
            try:
                outbound = await self._choose(connection.flow)
                # A balancer's own tag; replaced by that of the outbound which has connected.
                connection.outbound_tag = outbound.tag
                connection.outbound_tag = await exchange.connect(outbound, connection.flow)
            except DialError as exc:
                connection.note_end(CloseReason.UNREACHABLE, str(exc), exc.reason)
                await exchange.refuse(exc.reason)
                return
            except NoRouteError as exc:
                connection.note_end(CloseReason.UNREACHABLE, str(exc))
                await exchange.refuse(DialFailure.FORBIDDEN)
                return
            if connection.close_reason is not None:
                # `Connection.cancel` was called while there was no relay whose scope it could
                # cancel.
                return
            for observer in self._observers:
                observer.connected(connection)
            await exchange.accept()
            reason, fault = await exchange.relay(connection, self._policy_of(flow.user.level))
            connection.note_end(reason, fault)
        except* trio.BrokenResourceError:
            # Only the client's side raises it here: an outbound reports its own failure as a
            # `DialError`, and the relay returns what happens on either side as a close reason.
            connection.note_end(CloseReason.CLIENT_RESET)
        except* Exception:
            # The error boundary: a bug in one connection must not end the others. A cancellation
            # in the same group still propagates, which is why this is `except*`.
            connection.note_end(CloseReason.BUG)
            log.exception(
                "dispatch.bug source=%s user=%s %s",
                flow.source or "-",
                name_user(flow),
                describe_way(connection),
            )
        finally:
            connection.attach(None)
            # Has no effect unless nothing else has set a reason: then it was a cancellation.
            connection.note_end(CloseReason.CANCELLED)
            self.connections.discard(connection)
            # Before the only `await` in here, which a cancelled task would not get past.
            for observer in self._observers:
                observer.closed(connection)
            await exchange.close()


class _Exchange(Protocol):
    """The steps of a connection that differ between streams and datagrams."""

    async def sniff(self) -> Sniffed | None:
        """Examine the first payload, which is kept for the relay.

        Raises:
            RemoteProtocolError: the client broke the protocol.
            trio.BrokenResourceError: the connection was reset.
        """
        ...

    async def connect(self, outbound: Outbound, flow: Flow) -> str:
        """Connect through an outbound; return the tag of the outbound that was used.

        Raises:
            DialError: as `Outbound.connect`.
            NoRouteError: a balancer names an outbound that does not exist.
        """
        ...

    async def refuse(self, reason: DialFailure) -> None:
        """Tell the client that the destination cannot be reached."""
        ...

    async def accept(self) -> None:
        """Tell the client that the destination is connected."""
        ...

    def relay(self, connection: Connection, policy: Policy) -> Awaitable[tuple[CloseReason, str]]:
        """Relay between both sides; return the close reason and a fault, as `relay_streams`."""
        ...

    async def close(self) -> None:
        """Close both sides, even when cancelled."""
        ...


class _StreamExchange:
    __slots__ = ("_answer", "_buffers", "_client", "_is_relayed", "_remote")

    def __init__(self, client: StreamSide, answer: Answer, buffers: SharedBuffers) -> None:
        self._client = client
        self._remote: StreamSide | None = None
        self._answer = answer
        self._buffers = buffers
        self._is_relayed = False

    async def sniff(self) -> Sniffed | None:
        found = look(self._client)
        if found is NEED_DATA:
            # A SOCKS or CONNECT client sends nothing until it is told that it is connected, so it
            # is told now. If connecting fails later, all that it can be shown is a close.
            await self._answer.established(None)
            self._answer = SILENT_ANSWER
            found = await peek(self._client, buffer=self._buffers.received)
        return found

    async def connect(self, outbound: Outbound, flow: Flow) -> str:
        tag, self._remote = await outbound.connect(flow)
        return tag

    async def refuse(self, reason: DialFailure) -> None:
        await self._answer.refused(reason)

    async def accept(self) -> None:
        await self._answer.established(self._remote)

    def relay(self, connection: Connection, policy: Policy) -> Awaitable[tuple[CloseReason, str]]:
        if self._remote is None:
            raise TypeError("relay() was called before connect()")
        self._is_relayed = True
        return relay_streams(
            self._client,
            self._remote,
            buffers=self._buffers,
            policy=policy,
            meter=connection.meter,
            on_start=connection.attach,
        )

    async def close(self) -> None:
        try:
            await self._close_side(self._client)
        finally:
            if self._remote is not None:
                await self._close_side(self._remote)

    async def _close_side(self, side: StreamSide) -> None:
        """Close a side; reset it if it may still expect something.

        A transfer that breaks off must not look as if it were complete, whatever broke it.
        """
        if self._is_relayed and not side.is_ended:
            await side.transport.abort()
        else:
            await side.transport.aclose()


class _PacketExchange:
    __slots__ = ("_client", "_early", "_remote")

    def __init__(self, client: PacketLink) -> None:
        self._client = client
        self._remote: PacketLink | None = None
        self._early: Sequence[bytes] = ()

    async def sniff(self) -> Sniffed | None:
        peeked = await peek_packets(self._client)
        self._early = peeked.datagrams
        return peeked.found

    async def connect(self, outbound: Outbound, flow: Flow) -> str:
        tag, self._remote = await outbound.connect_packets(flow)
        return tag

    async def refuse(self, reason: DialFailure) -> None:
        """Do nothing: to a client of UDP, an unreachable destination is datagrams that are lost."""

    async def accept(self) -> None:
        """Do nothing: UDP has no reply for success either."""

    def relay(self, connection: Connection, policy: Policy) -> Awaitable[tuple[CloseReason, str]]:
        if self._remote is None:
            raise TypeError("relay() was called before connect()")
        return relay_packets(
            self._client,
            self._remote,
            policy=policy,
            meter=connection.meter,
            on_start=connection.attach,
            early=self._early,
        )

    async def close(self) -> None:
        try:
            await self._client.aclose()
        finally:
            if self._remote is not None:
                await self._remote.aclose()
