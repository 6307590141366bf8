"""From a request to its outbound: choose, connect, answer, relay, close, and say so in the log.

Here is the boundary of each connection: what goes wrong inside is logged and ends here.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final

import attrs
import trio

from trio_vmess.contracts import Answer, Outbound, PacketLink, StreamSide
from trio_vmess.core import Flow, Policy
from trio_vmess.errors import DialError, DialFailure, NoRouteError
from trio_vmess.relay import Ending, Meter, Scratch, relay_packets, relay_streams

access_log: Final = logging.getLogger("trio_vmess.access")
log: Final = logging.getLogger("trio_vmess.dispatch")

Choose = Callable[[Flow], Outbound]
"""Names the outbound of a flow; raises `NoRouteError`."""


@attrs.define(eq=False, kw_only=True)
class Connection:
    """One running flow, as the node's table shows it.

    Attributes:
        flow: who wants to go where.
        outbound_tag: the way it takes.
        since: when it began, in Trio's time.
        meter: what it has carried so far.
        scope: cancelling it ends the connection.
    """

    flow: Flow
    outbound_tag: str
    since: float
    meter: Meter = attrs.field(factory=Meter)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


class Dispatcher:
    """Connects inbounds with outbounds.

    Args:
        choose: which outbound takes a flow.
        policy_of: the limits of a user level.
        scratch: the buffers of this Trio run.
    """

    def __init__(
        self, choose: Choose, *, policy_of: Callable[[int], Policy], scratch: Scratch
    ) -> None:
        self._choose = choose
        self._policy_of = policy_of
        self._scratch = scratch
        self.connections: set[Connection] = set()

    async def stream(self, flow: Flow, near: StreamSide, answer: Answer, /) -> None:
        """See `Dispatch.stream`."""
        far: StreamSide | None = None
        connection = self._open(flow)
        ending, fault = Ending.CANCELLED, ""
        try:
            with connection.scope:
                try:
                    outbound = self._route(connection)
                    far = await outbound.connect(flow)
                except DialError as exc:
                    ending, fault = Ending.UNREACHABLE, str(exc)
                    await answer.refused(exc.reason)
                    return
                except NoRouteError as exc:
                    ending, fault = Ending.UNREACHABLE, str(exc)
                    await answer.refused(DialFailure.FORBIDDEN)
                    return
                _log_access(connection, "accepted")
                await answer.established(far.local)
                ending, fault = await relay_streams(
                    near,
                    far,
                    scratch=self._scratch,
                    policy=self._policy_of(flow.level),
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
            with connection.scope:
                try:
                    outbound = self._route(connection)
                    far = await outbound.connect_packets(flow)
                except (DialError, NoRouteError) as exc:
                    ending, fault = Ending.UNREACHABLE, str(exc)
                    return
                _log_access(connection, "accepted")
                ending, fault = await relay_packets(
                    near, far, policy=self._policy_of(flow.level), meter=connection.meter
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

    # The table ----------------------------------------------------------------------------------

    def _open(self, flow: Flow) -> Connection:
        connection = Connection(flow=flow, outbound_tag="", since=trio.current_time())
        self.connections.add(connection)
        return connection

    def _route(self, connection: Connection) -> Outbound:
        outbound = self._choose(connection.flow)
        connection.outbound_tag = outbound.tag
        return outbound

    def _close(self, connection: Connection, ending: Ending, fault: str) -> None:
        self.connections.discard(connection)
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


def _log_access(connection: Connection, status: str, fault: str = "") -> None:
    if access_log.isEnabledFor(logging.INFO):
        reason = f" reason={quoted(fault)}" if fault else ""
        access_log.info("%s %s%s", status, _facts(connection), reason)


def _facts(connection: Connection) -> str:
    flow = connection.flow
    return (
        f"source={flow.source or '-'} user={quoted(flow.user or '-')} "
        f"network={flow.destination.network} destination={quoted(str(flow.destination))} "
        f"outbound={connection.outbound_tag or '-'}"
    )


def quoted(text: str) -> str:
    """Write a value of a log line: in quotes where it has spaces or anything that does not print.

    Names come from clients: none may begin a new line, or speak to a terminal.
    """
    return ascii(text) if " " in text or not text.isprintable() else text


class FirstOutbound:
    """The simplest choice: the first outbound takes everything.

    Args:
        outbounds: in the order of the configuration.
    """

    def __init__(self, outbounds: Sequence[Outbound]) -> None:
        self._outbounds = outbounds

    def __call__(self, flow: Flow) -> Outbound:
        """See `Choose`."""
        if not self._outbounds:
            raise NoRouteError(f"{flow.destination}: there is no outbound")
        return self._outbounds[0]
