"""How a connection would be routed, and why: what `trio-vmess explain` prints.

Only name servers are contacted, where the result depends on their answers.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, assert_never

import attrs

from trio_vmess.config import (
    BlackholeOutboundSettings,
    Config,
    FreedomDomainStrategy,
    FreedomOutboundSettings,
    HttpOutboundSettings,
    OutboundSettings,
    SocksOutboundSettings,
    VMessInboundSettings,
    VMessOutboundSettings,
)
from trio_vmess.core import Destination, format_endpoint, is_public
from trio_vmess.dns import Answer
from trio_vmess.errors import DialError, NoRouteError
from trio_vmess.node import Assets, Node, default_tags_of, make_router, rule_name
from trio_vmess.routing import NEED_ADDRESSES, Decision, RoutingContext, Verdict

_PROTOCOL_NAMES: Final = {
    VMessOutboundSettings: "vmess",
    FreedomOutboundSettings: "freedom",
    BlackholeOutboundSettings: "blackhole",
    SocksOutboundSettings: "socks",
    HttpOutboundSettings: "http",
}
_FAMILIES: Final = {
    FreedomDomainStrategy.USE_IPV4: (4,),
    FreedomDomainStrategy.USE_IPV6: (6,),
}


@attrs.frozen(kw_only=True)
class HypotheticalFlow:
    """A connection that a client might request.

    Attributes:
        destination: its destination.
        inbound_tag: the tag of the inbound that accepts it; empty for one without a tag.
        user: the user's email; may be empty.
    """

    destination: Destination
    inbound_tag: str = ""
    user: str = ""


async def explain(config: Config, flow: HypotheticalFlow) -> Sequence[str]:
    """Return the lines of an explanation.

    Args:
        config: the node's.
        flow: the connection to be explained.

    Raises:
        ConfigError: the configuration cannot be used.
        NoRouteError: no inbound has this tag, or no outbound is configured.
    """
    _check_inbound(config, flow.inbound_tag)
    lookup = _Lookup(Node(config))
    folders = [Path(config.file).parent] if config.file else []
    router = make_router(config, Assets(folders).load)
    context = RoutingContext(
        destination=flow.destination,
        inbound_tag=flow.inbound_tag,
        user=flow.user,
    )
    lines = [_headline(flow)]
    decision = router.decide(context)
    addresses = None
    if decision is NEED_ADDRESSES:
        answers, why = await lookup.by_node(str(flow.destination.host))
        addresses = [address for answer in answers for address in answer.addresses]
        shown = _format_addresses(answers) or f"none: {why}"
        lines.append(f"resolved for rules on addresses: {shown}")
        decision = router.decide(context, addresses)
    if decision is NEED_ADDRESSES:
        raise TypeError("the router asked for addresses that it was given")
    lines += _explain_rules(config, router.explain(context, addresses).verdicts, decision)
    if decision.rule is None:
        lines.append("no rule matches: the first outbound is used")
    elif decision.outbound_tag in default_tags_of(config):
        tag = decision.outbound_tag
        lines.append(f"no outbound has the tag {tag}: the first one is used, as in V2Ray")
    outbounds = _outbounds(config, decision)
    if decision.balancer_tag:
        lines.append(f"balancer {decision.balancer_tag} chooses one of {len(outbounds)} outbounds")
    for outbound in outbounds:
        lines += await _explain_outbound(config, outbound, flow, lookup)
    return lines


def _check_inbound(config: Config, tag: str) -> None:
    known = [each.tag for each in config.inbounds if each.tag]
    if tag and tag not in {*known, config.dns.tag}:
        shown = f"known tags: {', '.join(known)}" if known else "none of them has a tag"
        raise NoRouteError(f"no inbound has the tag {tag!r}; {shown}")


def _headline(flow: HypotheticalFlow) -> str:
    inbound = f" from {flow.inbound_tag}" if flow.inbound_tag else ""
    user = f" for {flow.user}" if flow.user else ""
    return f"{flow.destination}{inbound}{user}"


class _Lookup:
    """Resolves names as the node would."""

    def __init__(self, node: Node) -> None:
        self._resolver = node.resolver
        self._system = node.system

    async def by_node(self, name: str) -> tuple[Sequence[Answer], str]:
        """Return the answers of the `dns` object if there is one, or none and the reason."""
        if self._resolver is None:
            return await self.by_system(name)
        try:
            answers = [each for each in await self._resolver.look_up(name) if each.addresses]
        except DialError as exc:
            return (), str(exc)
        return answers, "" if answers else f"{name} has no addresses"

    async def by_system(self, name: str) -> tuple[Sequence[Answer], str]:
        """Return the answer of the system's resolver, or none and the reason."""
        try:
            addresses = tuple(await self._system.resolve(name))
            return [Answer(addresses=addresses, origin="the system resolver")], ""
        except DialError as exc:
            return (), str(exc)


def _format_addresses(answers: Sequence[Answer]) -> str:
    return "; ".join(
        f"{', '.join(map(str, answer.addresses))} (from {answer.origin})" for answer in answers
    )


# Rules --------------------------------------------------------------------------------------------


def _explain_rules(
    config: Config, verdicts: Sequence[Verdict], decision: Decision
) -> Iterator[str]:
    last = len(verdicts) if decision.rule is None else decision.rule + 1
    for verdict in verdicts[:last]:
        yield from _explain_rule(config, verdict, is_decisive=verdict.rule == decision.rule)
    if last < len(verdicts):
        yield f"  later rules ({len(verdicts) - last}) are not evaluated"


def _explain_rule(config: Config, verdict: Verdict, *, is_decisive: bool) -> Iterator[str]:
    settings = config.routing.rules[verdict.rule]
    location = settings.locations.get("")
    line = "" if location is None or location.line is None else f" (line {location.line})"
    target = settings.outbound_tag or f"balancer {settings.balancer_tag}"
    mark = "yes" if is_decisive else "no"
    yield f"  {rule_name(verdict.rule)}{line} -> {target}: {mark}"
    for check in verdict.checks:
        # Of the deciding rule, all conditions hold; of the others, show those that do not.
        if check.holds is is_decisive:
            compared = check.compared or "nothing to compare"
            yield f"      {check.field}: {'yes' if check.holds else 'no'} ({compared})"


# Outbounds ----------------------------------------------------------------------------------------


def _outbounds(config: Config, decision: Decision) -> Sequence[OutboundSettings]:
    if not config.outbounds:
        raise NoRouteError("the configuration has no outbound")
    if decision.rule is None or decision.outbound_tag in default_tags_of(config):
        return config.outbounds[:1]
    if decision.outbound_tag:
        found = [each for each in config.outbounds if each.tag == decision.outbound_tag]
        if not found:
            raise NoRouteError(f"the rule's outbound {decision.outbound_tag!r} does not exist")
        return found[:1]
    balancer = next(each for each in config.routing.balancers if each.tag == decision.balancer_tag)
    return [each for each in config.outbounds if each.tag.startswith(balancer.selector)]


async def _explain_outbound(
    config: Config, outbound: OutboundSettings, flow: HypotheticalFlow, lookup: _Lookup
) -> Sequence[str]:
    protocol = outbound.protocol
    lines = [f"outbound: {outbound.tag or 'without a tag'} ({_PROTOCOL_NAMES[type(protocol)]})"]
    match protocol:
        case FreedomOutboundSettings():
            lines += await _explain_freedom(config, protocol, flow, lookup)
        case BlackholeOutboundSettings():
            lines.append("  discarded here: nothing is dialled")
        case VMessOutboundSettings() | SocksOutboundSettings() | HttpOutboundSettings():
            servers = ", ".join(
                format_endpoint(each.address, each.port) for each in protocol.servers
            )
            unix = outbound.stream.unix
            if outbound.through:
                lines.append(f"  through: {outbound.through}")
            lines.append(f"  server: {servers if unix is None else unix}")
            if isinstance(flow.destination.host, str):
                lines.append("  the server resolves the name")
        case _:
            assert_never(protocol)
    return lines


def _of_families(answers: Sequence[Answer], versions: Sequence[int]) -> Sequence[Answer]:
    kept = (
        attrs.evolve(each, addresses=tuple(a for a in each.addresses if a.version in versions))
        for each in answers
    )
    return [each for each in kept if each.addresses]


async def _explain_freedom(
    config: Config, freedom: FreedomOutboundSettings, flow: HypotheticalFlow, lookup: _Lookup
) -> Sequence[str]:
    redirect = freedom.redirect
    host, port = flow.destination.host, flow.destination.port
    lines: list[str] = []
    if redirect is not None:
        host = host if redirect.host is None else redirect.host
        port = port if redirect.port is None else redirect.port
        lines.append(f"  redirected to {format_endpoint(host, port)}")
    if isinstance(host, str):
        resolve_by = (
            lookup.by_system
            if freedom.domain_strategy is FreedomDomainStrategy.AS_IS
            else lookup.by_node
        )
        answers, why = await resolve_by(host)
        answers = _of_families(answers, _FAMILIES.get(freedom.domain_strategy, (4, 6)))
        why = why or f"{host} has no addresses of this family"
        lines.append(f"  addresses: {_format_addresses(answers) or f'none: {why}'}")
        addresses = [address for each in answers for address in each.addresses]
    else:
        addresses = [host]
        lines.append(f"  address: {host}")
    is_remote = any(
        each.tag == flow.inbound_tag and isinstance(each.protocol, VMessInboundSettings)
        for each in config.inbounds
    )
    refused = [address for address in addresses if not is_public(address)]
    if refused and is_remote and not freedom.allow_private:
        lines.append(
            f"  refused: {', '.join(map(str, refused))}; users of VMess inbounds may not reach "
            "private or special addresses (allow_private is not set)"
        )
    return lines
