"""From a request to its outbound: sniff, choose, connect, answer, relay, close, and log.

Here is the boundary of each connection: what goes wrong inside is logged and ends here.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import attrs
import trio

from trio_vmess.contracts import Answer, Outbound, PacketLink, StreamSide
from trio_vmess.core import NEED_DATA, Flow, Policy
from trio_vmess.core.sniff import Sniffed, SniffSettings
from trio_vmess.dispatch.sniffing import look, peek, peek_packets
from trio_vmess.errors import DialError, DialFailure, NoRouteError, RemoteProtocolError
from trio_vmess.relay import Ending, Meter, Scratch, relay_packets, relay_streams

access_log: Final = logging.getLogger("trio_vmess.access")
log: Final = logging.getLogger("trio_vmess.dispatch")

Choose = Callable[[Flow], Awaitable[Outbound]]
"""Names the outbound of a flow; raises `NoRouteError`."""

SniffingOf = Callable[[str], SniffSettings | None]
"""Says what is to be done with the names that clients of an inbound's tag mention, if anything."""


@attrs.define(eq=False, kw_only=True)
class Connection:
    """One running flow, as the node's table shows it.

    Attributes:
        flow: who wants to go where, with what was sniffed.
        outbound_tag: the way it takes.
        since: when it began, in Trio's time.
        meter: what it has carried so far.
    """

    flow: Flow
    outbound_tag: str
    since: float
    meter: Meter = attrs.field(factory=Meter)


class Dispatcher:
    """Connects inbounds with outbounds.

    Args:
        choose: which outbound takes a flow.
        policy_of: the limits of a user level.
        scratch: the buffers of this Trio run.
        sniffing_of: for which inbounds first bytes are looked at; nobody's unless said otherwise.
        on_close: is told of every connection that has ended, when the table has it no more.
    """

    def __init__(
        self,
        choose: Choose,
        *,
        policy_of: Callable[[int], Policy],
        scratch: Scratch,
        sniffing_of: SniffingOf = lambda _tag: None,
        on_close: Callable[[Connection], None] | None = None,
    ) -> None:
        self._choose = choose
        self._policy_of = policy_of
        self._scratch = scratch
        self._sniffing_of = sniffing_of
        self._on_close = on_close
        self.connections: set[Connection] = set()

    async def stream(self, flow: Flow, near: StreamSide, answer: Answer, /) -> None:
        """See `Dispatch.stream`."""
        far: StreamSide | None = None
        connection = self._open(flow)
        ending, fault = Ending.CANCELLED, ""
        try:
            try:
                settings = self._sniffing_of(flow.inbound_tag)
                if settings is not None:
                    answer = await self._sniff(connection, settings, near, answer)
            except RemoteProtocolError as exc:
                ending, fault = Ending.CLIENT_PROTOCOL, str(exc)
                return
            try:
                outbound = await self._choose(connection.flow)
                connection.outbound_tag = outbound.tag
                connection.outbound_tag, far = await outbound.connect(connection.flow)
            except DialError as exc:
                ending, fault = Ending.UNREACHABLE, str(exc)
                await answer.refused(exc.reason)
                return
            except NoRouteError as exc:
                ending, fault = Ending.UNREACHABLE, str(exc)
                await answer.refused(DialFailure.FORBIDDEN)
                return
            _log_access(connection, "accepted")
            await answer.established(far)
            ending, fault = await relay_streams(
                near,
                far,
                scratch=self._scratch,
                policy=self._policy_of(flow.user.level),
                meter=connection.meter,
            )
        except* trio.BrokenResourceError:
            if ending is Ending.CANCELLED:
                ending = Ending.CLIENT_RESET
        except* Exception:
            # The boundary: a bug in one connection is not the others' business. A cancellation that
            # came with it goes on its way.
            ending = Ending.BUG
            log.exception("dispatch.bug %s", _facts(connection))
        finally:
            self._close(connection, ending, fault)
            try:
                await near.transport.aclose()
            finally:
                if far is not None:
                    await far.transport.aclose()

    async def packets(self, flow: Flow, near: PacketLink, /) -> None:
        """See `Dispatch.packets`."""
        far: PacketLink | None = None
        connection = self._open(flow)
        ending, fault = Ending.CANCELLED, ""
        try:
            try:
                early = await self._sniff_packets(connection, near)
            except RemoteProtocolError as exc:
                ending, fault = Ending.CLIENT_PROTOCOL, str(exc)
                return
            except trio.BrokenResourceError:
                ending = Ending.CLIENT_RESET
                return
            try:
                outbound = await self._choose(connection.flow)
                connection.outbound_tag = outbound.tag
                connection.outbound_tag, far = await outbound.connect_packets(connection.flow)
            except (DialError, NoRouteError) as exc:
                ending, fault = Ending.UNREACHABLE, str(exc)
                return
            _log_access(connection, "accepted")
            ending, fault = await relay_packets(
                near,
                far,
                policy=self._policy_of(flow.user.level),
                meter=connection.meter,
                early=early,
            )
        except* Exception:
            # The boundary: a bug in one connection is not the others' business. A cancellation that
            # came with it goes on its way.
            ending = Ending.BUG
            log.exception("dispatch.bug %s", _facts(connection))
        finally:
            self._close(connection, ending, fault)
            try:
                await near.aclose()
            finally:
                if far is not None:
                    await far.aclose()

    # Sniffing -----------------------------------------------------------------------------------

    async def _sniff(
        self, connection: Connection, settings: SniffSettings, near: StreamSide, answer: Answer
    ) -> Answer:
        """Put what the first bytes tell into the connection's flow.

        Returns:
            Whom to answer from now on: a client that had to be told to begin is told nothing more.
        """
        found = look(near)
        if found is NEED_DATA:
            # A program says nothing before it is connected. If it never will be, it sees a close.
            await answer.established(None)
            answer = _ANSWERED
            found = await peek(near, room=self._scratch.received)
        _note(connection, settings, found)
        return answer

    async def _sniff_packets(self, connection: Connection, near: PacketLink) -> Sequence[bytes]:
        """Do the same with datagrams; return those that were read."""
        settings = self._sniffing_of(connection.flow.inbound_tag)
        if settings is None:
            return ()
        peeked = await peek_packets(near)
        _note(connection, settings, peeked.found)
        return peeked.datagrams

    # The table ----------------------------------------------------------------------------------

    def _open(self, flow: Flow) -> Connection:
        connection = Connection(flow=flow, outbound_tag="", since=trio.current_time())
        self.connections.add(connection)
        return connection

    def _close(self, connection: Connection, ending: Ending, fault: str) -> None:
        self.connections.discard(connection)
        if self._on_close is not None:
            self._on_close(connection)
        if ending is Ending.UNREACHABLE:
            _log_access(connection, "rejected", fault)
            log.info("dispatch.unreachable %s reason=%s", _facts(connection), quoted(fault))
            return
        if fault:
            log.info("dispatch.fault %s reason=%s", _facts(connection), quoted(fault))
        if access_log.isEnabledFor(logging.INFO):
            meter = connection.meter
            access_log.info(
                "closed %s up=%d down=%d%s seconds=%.3f reason=%s",
                _facts(connection),
                meter.uplink,
                meter.downlink,
                f" dropped={meter.dropped}" if meter.dropped else "",
                trio.current_time() - connection.since,
                quoted(ending.value),
            )


def _note(connection: Connection, settings: SniffSettings, found: Sniffed | None) -> None:
    if found is not None:
        connection.flow = settings.apply(connection.flow, found)


class _Answered:
    """What is left to say to a client that was answered already."""

    async def established(self, far: StreamSide | None, /) -> None:
        """Say nothing."""

    async def refused(self, reason: DialFailure, /) -> None:
        """Say nothing."""


_ANSWERED: Final = _Answered()


def _log_access(connection: Connection, status: str, fault: str = "") -> None:
    if access_log.isEnabledFor(logging.INFO):
        reason = f" reason={quoted(fault)}" if fault else ""
        access_log.info("%s %s%s", status, _facts(connection), reason)


def _facts(connection: Connection) -> str:
    flow = connection.flow
    sniffed = flow.sniffed_protocol
    if flow.sniffed_domain:
        sniffed += f":{flow.sniffed_domain}"
    return (
        f"source={flow.source or '-'} user={quoted(flow.user.email or '-')} "
        f"network={flow.destination.network} destination={quoted(str(flow.destination))} "
        f"{f'sniffed={sniffed} ' if sniffed else ''}outbound={connection.outbound_tag or '-'}"
    )


def quoted(text: str) -> str:
    """Write a value of a log line: in quotes where it has spaces or anything that does not print.

    Names come from clients: none may begin a new line, or speak to a terminal.
    """
    return ascii(text) if " " in text or not text.isprintable() else text
