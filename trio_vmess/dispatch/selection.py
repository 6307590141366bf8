"""Which outbound takes a flow: rules, balancers, and what became of earlier tries.

Routing decides on what it is told. Here is what it has to be told (addresses, where a rule wants
them), and what its decisions come to: an outbound, or one of several that take each other's place
when one of them cannot reach its own server.
"""

import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

import attrs
import trio

from trio_vmess.contracts import Connected, Outbound, PacketLink, Resolve, StreamSide
from trio_vmess.core import Destination, Flow, IPAddress
from trio_vmess.errors import DialError, DialFailure, NoRouteError
from trio_vmess.routing import NEED_ADDRESSES, Balancer, Decision, Health, Router, RoutingContext

log: Final = logging.getLogger("trio_vmess.dispatch.selection")

_T = TypeVar("_T")


_OWN_FAILURES: Final = frozenset({DialFailure.PARENT_PROXY})
"""What says something about the outbound, and not about the destination."""


class FirstOutbound:
    """The simplest choice: the first outbound takes everything.

    Args:
        outbounds: in the order of the configuration.
    """

    def __init__(self, outbounds: Sequence[Outbound]) -> None:
        self._outbounds = outbounds

    async def __call__(self, flow: Flow) -> Outbound:
        """See `Choose`."""
        if not self._outbounds:
            raise NoRouteError(f"{flow.destination}: there is no outbound")
        return self._outbounds[0]


@attrs.frozen(kw_only=True)
class Probe:
    """How the outbounds of a balancer are tried.

    Attributes:
        balancer_tag: whose.
        interval: seconds between two tries.
        destination: what a try connects to; a VMess outbound only dials its server.
    """

    balancer_tag: str
    interval: float
    destination: Destination


@attrs.define(eq=False, kw_only=True)
class Selection:
    """Names the outbound of each flow.

    Attributes:
        outbounds: in the order of the configuration; the first takes what no rule wants.
        router: the rules.
        balancers: by their tags.
        health: what is known of the outbounds that balancers choose among.
        resolve: finds addresses for rules on them.
        running: the outbound tags of the connections that run now.
    """

    outbounds: Sequence[Outbound]
    router: Router
    balancers: Mapping[str, Balancer] = attrs.field(factory=lambda: dict[str, Balancer]())
    health: Health = attrs.field(factory=Health)
    resolve: Resolve
    running: Callable[[], Iterable[str]]
    _by_tag: Mapping[str, Outbound] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._by_tag = {outbound.tag: outbound for outbound in reversed(self.outbounds)}

    async def __call__(self, flow: Flow) -> Outbound:
        """Return the outbound of a flow.

        Raises:
            NoRouteError: there is none.
        """
        decision = await self.decide(flow)
        if decision.balancer_tag:
            return _Balanced(self, self.balancers[decision.balancer_tag])
        if decision.rule is not None:
            return self.outbound(decision.outbound_tag)
        if not self.outbounds:
            raise NoRouteError(f"{flow.destination}: there is no outbound")
        return self.outbounds[0]

    async def decide(self, flow: Flow) -> Decision:
        """Return what the rules say, with addresses where they want them."""
        context = RoutingContext.of(flow)
        decision = self.router.decide(context)
        if decision is not NEED_ADDRESSES:
            return decision
        decision = self.router.decide(context, addresses=await self._addresses(context))
        if decision is NEED_ADDRESSES:
            raise TypeError("rules that have addresses want them again")
        return decision

    def outbound(self, tag: str) -> Outbound:
        """Return the outbound with a tag.

        Raises:
            NoRouteError: there is none.
        """
        outbound = self._by_tag.get(tag)
        if outbound is None:
            raise NoRouteError(f"there is no outbound {tag!r}")
        return outbound

    async def probe(self, probe: Probe) -> None:
        """Try every outbound of a balancer once."""
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
        """Remember that an outbound has reached its server."""
        if self.health.report_success(tag):
            log.warning("outbound.recovered tag=%s", tag)

    def note_failure(self, tag: str, failure: DialError) -> bool:
        """Remember what a failure says of the outbound; tell whether the fault is its own."""
        if failure.reason not in _OWN_FAILURES:
            self.note_success(tag)
            return False
        if self.health.report_failure(tag, trio.current_time()):
            log.warning("outbound.unhealthy tag=%s reason=%r", tag, str(failure))
        return True

    async def _addresses(self, context: RoutingContext) -> Sequence[IPAddress]:
        name = context.domain or context.destination.host
        if not isinstance(name, str):
            return ()
        try:
            return await self.resolve(name, socket.AF_UNSPEC)
        except DialError as exc:
            log.info("routing.unresolved name=%s reason=%r", name, str(exc))
            return ()


@attrs.frozen(kw_only=True)
class Prober:
    """Tries the outbounds of a balancer again and again, so that connections need not find out.

    Attributes:
        selection: has the balancer.
        probe: which one, and how.
    """

    selection: Selection
    probe: Probe

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled: a service of the node."""
        task_status.started()
        while True:
            await trio.sleep(self.probe.interval)
            await self.selection.probe(self.probe)


class _Balanced:
    """One connection's way through a balancer: an `Outbound` that tries one after another."""

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
        """Connect through the balancer's choice, or the next one where its server is dead."""
        selection, tried = self._selection, list[str]()
        failure = (
            f"balancer {self._balancer.tag!r} has no outbound",
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
