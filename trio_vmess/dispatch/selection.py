"""Chooses the outbound of a flow, with rules, balancers and the health of outbounds.

Routing decides without I/O. This module resolves names where rules need addresses, and turns a
decision into an outbound: a single one, or a balancer that fails over to the next outbound when one
cannot reach its own server.
"""

import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, TypeVar

import attrs
import trio

from trio_vmess.contracts import Connected, Outbound, PacketLink, ResolveFor, StreamSide
from trio_vmess.core import Destination, Flow, IPAddress
from trio_vmess.dispatch.access_log import name_user
from trio_vmess.errors import DialError, DialFailure, NoRouteError
from trio_vmess.routing import NEED_ADDRESSES, Balancer, Decision, Health, Router, RoutingContext

log: Final = logging.getLogger("trio_vmess.dispatch.selection")

_T = TypeVar("_T")


RESOLVE_LIMIT: Final = 16.0
"""Seconds for the addresses of a name; then rules on addresses do not match."""

_OWN_FAILURES: Final = frozenset({DialFailure.PARENT_PROXY})
"""Failures that are the outbound's own, and not the destination's."""


@attrs.frozen(kw_only=True)
class Probe:
    """How the outbounds of a balancer are probed.

    Attributes:
        balancer_tag: the balancer.
        interval: seconds between two probes.
        destination: what a probe connects to; a VMess outbound only dials its server.
    """

    balancer_tag: str
    interval: float
    destination: Destination


@attrs.define(eq=False, kw_only=True)
class Selection:
    """Chooses the outbound of each flow by rules and balancers.

    Attributes:
        outbounds: in the order of the configuration; the first is used if no rule matches.
        router: the rules.
        balancers: by tag.
        health: which outbounds of balancers are healthy.
        resolve_for: returns what resolves names for rules on addresses, for a flow.
        running: returns the outbound tags of all open connections.
        default_tags: tags that no outbound has, and that mean the first one.
    """

    outbounds: Sequence[Outbound]
    router: Router
    balancers: Mapping[str, Balancer] = attrs.field(factory=lambda: dict[str, Balancer]())
    health: Health = attrs.field(factory=Health)
    resolve_for: ResolveFor
    running: Callable[[], Iterable[str]]
    default_tags: Collection[str] = ()
    _by_tag: Mapping[str, Outbound] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        by_tag = {tag: first for tag in self.default_tags for first in self.outbounds[:1]}
        self._by_tag = by_tag | {outbound.tag: outbound for outbound in reversed(self.outbounds)}

    async def __call__(self, flow: Flow) -> Outbound:
        """Return the outbound of a flow.

        Raises:
            NoRouteError: the rule's outbound does not exist, or no outbound is configured.
        """
        decision = await self.decide(flow)
        if decision.balancer_tag:
            return _Balanced(self, self.balancers[decision.balancer_tag])
        if decision.rule is not None:
            return self.outbound(decision.outbound_tag)
        if not self.outbounds:
            raise NoRouteError(f"{flow.destination}: no outbound is configured")
        return self.outbounds[0]

    async def decide(self, flow: Flow) -> Decision:
        """Return the routing decision; resolves the name if a rule needs addresses."""
        context = RoutingContext.of(flow)
        decision = self.router.decide(context)
        if decision is not NEED_ADDRESSES:
            return decision
        decision = self.router.decide(context, addresses=await self._addresses(context, flow))
        if decision is NEED_ADDRESSES:
            raise TypeError("the router asked for addresses that it was given")
        return decision

    def outbound(self, tag: str) -> Outbound:
        """Return the outbound with a tag.

        Raises:
            NoRouteError: no outbound has this tag.
        """
        outbound = self._by_tag.get(tag)
        if outbound is None:
            raise NoRouteError(f"no outbound has the tag {tag!r}")
        return outbound

    async def probe(self, probe: Probe) -> None:
        """Probe every outbound of a balancer once."""
        flow = Flow(destination=probe.destination, inbound_tag=probe.balancer_tag)
        async with trio.open_nursery() as nursery:
            for tag in self.balancers[probe.balancer_tag].candidates:
                nursery.start_soon(self._probe_outbound, tag, flow, name=f"probe {tag}")

    async def _probe_outbound(self, tag: str, flow: Flow) -> None:
        self.health.begin_trial(tag, trio.current_time())
        try:
            connected = await self.outbound(tag).connect(flow)
        except DialError as exc:
            self.note_failure(tag, exc)
        else:
            self.note_success(tag)
            await connected.remote.transport.aclose()

    def note_success(self, tag: str) -> None:
        """Record that an outbound has reached its server."""
        if self.health.report_success(tag):
            log.warning("outbound.recovered tag=%s", tag)

    def note_failure(self, tag: str, failure: DialError) -> bool:
        """Record the failure of an outbound.

        A failure of the destination shows that the outbound itself works: it counts as a success.

        Returns:
            Whether the failure is the outbound's own, so that another one may do better.
        """
        if failure.reason not in _OWN_FAILURES:
            self.note_success(tag)
            return False
        if self.health.report_failure(tag, trio.current_time()):
            log.warning("outbound.unhealthy tag=%s reason=%r", tag, str(failure))
        return True

    async def _addresses(self, context: RoutingContext, flow: Flow) -> Sequence[IPAddress]:
        name = context.domain or context.destination.host
        if not isinstance(name, str):
            return ()
        try:
            with trio.fail_after(RESOLVE_LIMIT):
                return await self.resolve_for(flow)(name, socket.AF_UNSPEC)
        except (DialError, trio.TooSlowError) as exc:
            failure = exc.reason if isinstance(exc, DialError) else DialFailure.TIMED_OUT
            log.info(
                "routing.unresolved source=%s reason=%r user=%s name=%a detail=%a",
                flow.source or "-",
                failure.value,
                name_user(flow),
                name,
                str(exc) or "no answer in time",
            )
            return ()


@attrs.frozen(kw_only=True)
class Prober:
    """Probes a balancer's outbounds periodically, so that no connection has to wait for a failure.

    Attributes:
        selection: contains the balancer.
        probe: the balancer, the interval and the destination.
    """

    selection: Selection
    probe: Probe

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Probe until cancelled; see `Service.run`."""
        task_status.started()
        while True:
            await trio.sleep(self.probe.interval)
            await self.selection.probe(self.probe)


class _Balanced:
    """A balancer for one connection: an `Outbound` that tries its outbounds one after another."""

    def __init__(self, selection: Selection, balancer: Balancer) -> None:
        self._selection = selection
        self._balancer = balancer
        self.tag = balancer.tag

    async def connect(self, flow: Flow, /) -> Connected[StreamSide]:
        """See `Outbound.connect`."""
        return await self._try(lambda outbound: outbound.connect(flow))

    async def connect_packets(self, flow: Flow, /) -> Connected[PacketLink]:
        """See `Outbound.connect_packets`."""
        return await self._try(lambda outbound: outbound.connect_packets(flow))

    async def _try(self, connect: Callable[[Outbound], Awaitable[_T]]) -> _T:
        """Connect through the balancer's choice, or the next one if it cannot reach its server."""
        selection, tried = self._selection, list[str]()
        failure = (
            f"balancer {self._balancer.tag!r} has no outbounds",
            DialFailure.PARENT_PROXY,
        )
        while True:
            tag = self._balancer.choose(
                trio.current_time(),
                connections=Counter(selection.running()),
                exclude=tried,
            )
            if tag is None:
                text, reason = failure
                raise DialError(text, reason=reason)
            tried.append(tag)
            try:
                connected = await connect(selection.outbound(tag))
            except DialError as exc:
                if not selection.note_failure(tag, exc):
                    raise
                failure = str(exc), exc.reason
            else:
                selection.note_success(tag)
                return connected
