"""Which way a connection would take, and why: what `trio-vmess explain` prints.

Nothing is dialled but name servers, where the answer depends on what they say.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

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
from trio_vmess.node import Assets, Node, make_router, rule_name
from trio_vmess.routing import NEED_ADDRESSES, Decision, RoutingContext, Verdict
from trio_vmess.transport import resolve

_WORDS: Final = {
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
class Question:
    """A connection that somebody could ask for.

    Attributes:
        destination: where it is to go.
        inbound_tag: where it comes in; empty for an inbound without a tag.
        user: the user's email; may be empty.
    """

    destination: Destination
    inbound_tag: str = ""
    user: str = ""


async def explain(config: Config, question: Question) -> Sequence[str]:
    """Return the lines of an answer.

    Args:
        config: the node's.
        question: what is asked.

    Raises:
        ConfigError: the configuration cannot be used.
        NoRouteError: there is no such inbound, or no outbound at all.
    """
    _check_inbound(config, question.inbound_tag)
    names = _Names(Node(config))
    folders = [Path(config.file).parent] if config.file else []
    router = make_router(config, Assets(folders).load)
    context = RoutingContext(
        destination=question.destination,
        inbound_tag=question.inbound_tag,
        user=question.user,
    )
    lines = [_headline(question)]
    decision = router.decide(context)
    addresses = None
    if decision is NEED_ADDRESSES:
        answers, why = await names.look_up(str(question.destination.host))
        addresses = [address for answer in answers for address in answer.addresses]
        shown = _shown_addresses(answers) or f"none: {why}"
        lines.append(f"rules on addresses have the name looked up: {shown}")
        decision = router.decide(context, addresses)
    if decision is NEED_ADDRESSES:
        raise TypeError("a router that was given addresses asks for none")
    lines += _explain_rules(config, router.explain(context, addresses).verdicts, decision)
    if decision.rule is None:
        lines.append("no rule matches: the first outbound takes it")
    outbounds = _outbounds(config, decision)
    if decision.balancer_tag:
        lines.append(f"balancer {decision.balancer_tag} chooses one of {len(outbounds)}")
    for outbound in outbounds:
        lines += await _explain_outbound(config, outbound, question, names)
    return lines


def _check_inbound(config: Config, tag: str) -> None:
    known = [each.tag for each in config.inbounds if each.tag]
    if tag and tag not in {*known, config.dns.tag}:
        shown = f"known are {', '.join(known)}" if known else "none has a tag"
        raise NoRouteError(f"no inbound has the tag {tag!r}; {shown}")


def _headline(question: Question) -> str:
    whence = f" from {question.inbound_tag}" if question.inbound_tag else ""
    who = f" for {question.user}" if question.user else ""
    return f"{question.destination}{whence}{who}"


class _Names:
    """Looks names up as the node would."""

    def __init__(self, node: Node) -> None:
        self._resolver = node.resolver

    async def look_up(self, name: str) -> tuple[Sequence[Answer], str]:
        """Return answers, or none and why, by the `dns` object if there is one."""
        if self._resolver is None:
            return await self.look_up_by_system(name)
        try:
            answers = [each for each in await self._resolver.look_up(name) if each.addresses]
        except DialError as exc:
            return (), str(exc)
        return answers, "" if answers else f"{name} has no address"

    async def look_up_by_system(self, name: str) -> tuple[Sequence[Answer], str]:
        """Return an answer, or none and why, whatever the `dns` object says."""
        try:
            return [Answer(addresses=tuple(await resolve(name)), origin="the system")], ""
        except DialError as exc:
            return (), str(exc)


def _shown_addresses(answers: Sequence[Answer]) -> str:
    return "; ".join(
        f"{', '.join(map(str, answer.addresses))} (says {answer.origin})" for answer in answers
    )


# Rules --------------------------------------------------------------------------------------------


def _explain_rules(
    config: Config, verdicts: Sequence[Verdict], decision: Decision
) -> Iterator[str]:
    last = len(verdicts) if decision.rule is None else decision.rule + 1
    for verdict in verdicts[:last]:
        yield from _explain_rule(config, verdict, is_decisive=verdict.rule == decision.rule)
    if last < len(verdicts):
        yield f"  later rules ({len(verdicts) - last}) are not asked"


def _explain_rule(config: Config, verdict: Verdict, *, is_decisive: bool) -> Iterator[str]:
    settings = config.routing.rules[verdict.rule]
    location = settings.locations.get("")
    line = "" if location is None or location.line is None else f" (line {location.line})"
    target = settings.outbound_tag or f"balancer {settings.balancer_tag}"
    mark = "yes" if is_decisive else "no"
    yield f"  {rule_name(verdict.rule)}{line} -> {target}: {mark}"
    for check in verdict.checks:
        # Of a rule that does not match, only why it does not.
        if check.holds is is_decisive:
            against = check.compared or "nothing to compare with"
            yield f"      {check.field}: {'yes' if check.holds else 'no'}, for {against}"


# Ways ---------------------------------------------------------------------------------------------


def _outbounds(config: Config, decision: Decision) -> Sequence[OutboundSettings]:
    if not config.outbounds:
        raise NoRouteError("there is no outbound")
    if decision.rule is None:
        return config.outbounds[:1]
    if decision.outbound_tag:
        found = [each for each in config.outbounds if each.tag == decision.outbound_tag]
        if not found:
            raise NoRouteError(f"the rule's outbound {decision.outbound_tag!r} is not there")
        return found[:1]
    balancer = next(each for each in config.routing.balancers if each.tag == decision.balancer_tag)
    return [each for each in config.outbounds if each.tag.startswith(balancer.selector)]


async def _explain_outbound(
    config: Config, outbound: OutboundSettings, question: Question, names: _Names
) -> Sequence[str]:
    protocol = outbound.protocol
    lines = [f"outbound: {outbound.tag or 'without a tag'} ({_WORDS[type(protocol)]})"]
    match protocol:
        case FreedomOutboundSettings():
            lines += await _explain_freedom(config, protocol, question, names)
        case BlackholeOutboundSettings():
            lines.append("  nothing is reached: it is thrown away here")
        case VMessOutboundSettings() | SocksOutboundSettings() | HttpOutboundSettings():
            servers = ", ".join(
                format_endpoint(each.address, each.port) for each in protocol.servers
            )
            lines.append(f"  server: {servers}")
            if isinstance(question.destination.host, str):
                lines.append("  the name goes there as it is: the server looks it up")
    return lines


def _of_families(answers: Sequence[Answer], versions: Sequence[int]) -> Sequence[Answer]:
    kept = (
        attrs.evolve(each, addresses=tuple(a for a in each.addresses if a.version in versions))
        for each in answers
    )
    return [each for each in kept if each.addresses]


async def _explain_freedom(
    config: Config, freedom: FreedomOutboundSettings, question: Question, names: _Names
) -> Sequence[str]:
    redirect = freedom.redirect
    host, port = question.destination.host, question.destination.port
    lines = []
    if redirect is not None:
        host = host if redirect.host is None else redirect.host
        port = port if redirect.port is None else redirect.port
        lines.append(f"  redirected to {format_endpoint(host, port)}")
    if isinstance(host, str):
        look_up = (
            names.look_up_by_system
            if freedom.domain_strategy is FreedomDomainStrategy.AS_IS
            else names.look_up
        )
        answers, why = await look_up(host)
        answers = _of_families(answers, _FAMILIES.get(freedom.domain_strategy, (4, 6)))
        why = why or f"{host} has none of this family"
        lines.append(f"  addresses: {_shown_addresses(answers) or f'none: {why}'}")
        addresses = [address for each in answers for address in each.addresses]
    else:
        addresses = [host]
        lines.append(f"  address: {host}")
    is_remote = any(
        each.tag == question.inbound_tag and isinstance(each.protocol, VMessInboundSettings)
        for each in config.inbounds
    )
    closed = [address for address in addresses if not is_public(address)]
    if closed and is_remote and not freedom.allow_private:
        lines.append(
            f"  refused: {', '.join(map(str, closed))}, as private and special addresses are not "
            "for users of a VMess inbound (allow_private)"
        )
    return lines
