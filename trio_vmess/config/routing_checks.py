"""Checks of routing, across settings: the part of `validate`."""

from collections.abc import Iterator

import attrs

from trio_vmess.config.location import Finding, locate
from trio_vmess.config.model import Config, RuleSettings
from trio_vmess.config.references import dangling, duplicates, on_line
from trio_vmess.config.sections import NO_TARGET

__all__ = ["find_routing_problems", "find_routing_warnings"]


def find_routing_problems(config: Config) -> Iterator[Finding]:
    """Find balancers and rules that cannot be used."""
    balancers = config.routing.balancers
    yield from duplicates(
        (
            (each.tag, locate(each.locations, "tag", f"routing.balancers[{index}]"))
            for index, each in enumerate(balancers)
        ),
        lambda first: f"duplicate tag: already used by {on_line(first)}; tags must be unique",
    )
    tags = _Tags.of(config)
    for index, balancer in enumerate(balancers):
        if balancer.selector and not any(
            tag.startswith(balancer.selector) for tag in tags.outbounds
        ):
            location = locate(balancer.locations, "selector", f"routing.balancers[{index}]")
            yield location, "no outbound tag starts with any of these prefixes"
    for index, rule in enumerate(config.routing.rules):
        where = f"routing.rules[{index}]"
        yield from _rule(rule, tags, where)
        if not config.routing.is_lenient:
            yield from _dangling_outbound(rule, tags, where)
            yield from _dangling_inbounds(rule, tags, where)


def find_routing_warnings(config: Config) -> Iterator[Finding]:
    """Find rules with tags that nothing has, where that is no mistake."""
    if not config.routing.is_lenient:
        return
    tags = _Tags.of(config)
    for index, rule in enumerate(config.routing.rules):
        where = f"routing.rules[{index}]"
        for location, message in _dangling_inbounds(rule, tags, where):
            yield location, f"{_sentence(message)} Nothing matches by it"
        if rule.inbound_tags and not tags.inbounds.intersection(rule.inbound_tags):
            # The rule matches nothing, so it does not matter where it leads.
            continue
        for location, message in _dangling_outbound(rule, tags, where):
            consequence = "What the rule matches takes the first outbound, as in V2Ray"
            yield location, f"{_sentence(message)} {consequence}"


def _sentence(message: str) -> str:
    return message if message.endswith("?") else f"{message}."


@attrs.frozen
class _Tags:
    """The tags that rules may name."""

    inbounds: frozenset[str]
    outbounds: frozenset[str]
    balancers: frozenset[str]

    @classmethod
    def of(cls, config: Config) -> "_Tags":
        api = (config.api.tag, *config.api.inbound_tags) if config.api else ()
        return cls(
            frozenset((*(each.tag for each in config.inbounds), *api, config.dns.tag)) - {""},
            frozenset((*(each.tag for each in config.outbounds), *api[:1])) - {""},
            frozenset(each.tag for each in config.routing.balancers) - {""},
        )


def _rule(rule: RuleSettings, tags: _Tags, where: str) -> Iterator[Finding]:
    itself = locate(rule.locations, "", where)
    if not rule.conditions:
        yield (
            itself,
            "the rule has no condition; add one, or make its outbound the first (the default)",
        )
    if rule.outbound_tag and rule.balancer_tag:
        location = locate(rule.locations, "balancer_tag", where)
        yield location, "a rule has either an outbound or a balancer; remove one of the tags"
    elif rule.balancer_tag and rule.balancer_tag not in tags.balancers:
        location = locate(rule.locations, "balancer_tag", where)
        yield location, dangling(rule.balancer_tag, tags.balancers, "balancer")
    elif (
        not (rule.outbound_tag or rule.balancer_tag)
        and not {"outbound_tag", "balancer_tag"} & rule.locations.keys()
    ):
        yield itself, NO_TARGET


def _dangling_outbound(rule: RuleSettings, tags: _Tags, where: str) -> Iterator[Finding]:
    tag = rule.outbound_tag
    if tag and not rule.balancer_tag and tag not in tags.outbounds:
        location = locate(rule.locations, "outbound_tag", where)
        yield location, dangling(tag, tags.outbounds, "outbound")


def _dangling_inbounds(rule: RuleSettings, tags: _Tags, where: str) -> Iterator[Finding]:
    for tag in rule.inbound_tags:
        if tag not in tags.inbounds:
            location = locate(rule.locations, "inbound_tags", where)
            yield location, dangling(tag, tags.inbounds, "inbound")
