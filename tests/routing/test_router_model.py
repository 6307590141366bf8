"""The router against a model that tries rules one after the other, as V2Ray does."""

from collections.abc import Callable, Sequence

import hypothesis.strategies as st
from hypothesis import given

from tests.routing.dat import BOTH, Files
from trio_vmess.core import Destination, Host, Network, parse_endpoint, parse_host
from trio_vmess.routing import (
    NEED_ADDRESSES,
    Decision,
    DomainStrategy,
    GeoFiles,
    Router,
    RoutingContext,
    Rule,
)
from trio_vmess.routing.address import AddressMatcher
from trio_vmess.routing.domain import DomainMatcher

GEO = GeoFiles(Files(BOTH).load)
HOSTS = ["a.cn", "google.com", "x.google.com", "localhost", "10.0.0.1", "1.0.1.1", "8.8.8.8", "::1"]


def subsets(*choices: str) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(choices), max_size=2, unique=True).map(tuple)


PORTS = st.lists(st.sampled_from([(80, 80), (443, 443), (1, 1000), (444, 65535)]), max_size=2).map(
    tuple
)
RULES = st.builds(
    Rule,
    outbound_tag=st.just("out"),
    domains=subsets("geosite:cn", "domain:google.com", "keyword:o", "dotless:", r"regexp:^x\."),
    ips=subsets("geoip:private", "geoip:!us", "geoip:cn", "::/0"),
    ports=PORTS,
    networks=st.sampled_from([(), (Network.TCP,), (Network.UDP,), tuple(Network)]),
    sources=subsets("10.0.0.0/8", "geoip:us"),
    source_ports=PORTS,
    users=subsets("u", "v"),
    inbound_tags=subsets("in1", "in2"),
    protocols=subsets("http", "tls", "t"),
)
CONTEXTS = st.builds(
    RoutingContext,
    destination=st.builds(
        Destination,
        host=st.sampled_from(HOSTS).map(parse_host),
        port=st.sampled_from([80, 443, 8080]),
        network=st.sampled_from(Network),
    ),
    source=st.sampled_from(["", "10.0.0.9:80", "8.8.8.8:443", "[::1]:8080"]),
    user=st.sampled_from(["", "u", "w"]),
    inbound_tag=st.sampled_from(["", "in1"]),
    protocol=st.sampled_from(["", "http1", "tls"]),
    domain=st.sampled_from(["", "google.com"]),
)
RESOLVED = st.lists(
    st.sampled_from(["10.0.0.1", "1.0.1.1", "8.8.8.8", "2001:db8::1"]).map(parse_host), max_size=2
)


def has_port(ranges: Sequence[tuple[int, int]], port: int) -> bool:
    return any(first <= port <= last for first, last in ranges)


def applies(rule: Rule, asked: RoutingContext, addresses: Sequence[Host]) -> bool:
    """V2Ray's way: each condition of one rule on its own."""
    to = asked.destination
    name = asked.domain or (to.host if isinstance(to.host, str) else "")
    source, source_port = parse_endpoint(asked.source) if asked.source else (None, None)
    conditions: list[tuple[Sequence[object], Callable[[], bool]]] = [
        (rule.domains, lambda: bool(name) and DomainMatcher(rule.domains, GEO).matches(name)),
        (
            rule.ips,
            lambda: any(
                AddressMatcher(rule.ips, GEO).matches(each)
                for each in addresses
                if not isinstance(each, str)
            ),
        ),
        (rule.ports, lambda: has_port(rule.ports, to.port)),
        (rule.networks, lambda: to.network in rule.networks),
        (
            rule.sources,
            lambda: (
                source is not None
                and not isinstance(source, str)
                and AddressMatcher(rule.sources, GEO).matches(source)
            ),
        ),
        (
            rule.source_ports,
            lambda: source_port is not None and has_port(rule.source_ports, source_port),
        ),
        (rule.users, lambda: asked.user in rule.users),
        (rule.inbound_tags, lambda: asked.inbound_tag in rule.inbound_tags),
        (rule.protocols, lambda: asked.protocol.startswith(rule.protocols)),
    ]
    return all(holds() for entries, holds in conditions if entries)


def first_of(rules: Sequence[Rule], asked: RoutingContext, addresses: Sequence[Host]) -> int | None:
    return next((i for i, rule in enumerate(rules) if applies(rule, asked, addresses)), None)


@given(st.lists(RULES, max_size=5), CONTEXTS, RESOLVED, st.sampled_from(DomainStrategy))
def test_the_router_agrees_with_trying_rules_in_turn(
    rules: list[Rule], asked: RoutingContext, resolved: list[Host], strategy: DomainStrategy
) -> None:
    made = Router(rules, load=Files(BOTH).load, strategy=strategy)
    host = asked.destination.host
    if not isinstance(host, str):
        expected = first_of(rules, asked, [host])
    elif strategy is DomainStrategy.AS_IS:
        expected = first_of(rules, asked, [])
    elif strategy is DomainStrategy.IP_IF_NON_MATCH:
        expected = first_of(rules, asked, [])
        if expected is None:
            expected = first_of(rules, asked, resolved)
    else:
        expected = first_of(rules, asked, resolved)
    addresses = [each for each in resolved if not isinstance(each, str)]
    answer = made.decide(asked)
    if answer is NEED_ADDRESSES:
        assert isinstance(host, str)
        assert strategy is not DomainStrategy.AS_IS
        answer = made.decide(asked, addresses)
    assert isinstance(answer, Decision)
    assert answer.rule == expected
    assert made.decide(asked, addresses) == answer

    told = made.explain(asked, addresses)
    assert told.decision == answer
    seen = addresses if isinstance(host, str) else [host]
    assert [each.matches for each in told.verdicts] == [applies(r, asked, seen) for r in rules]
