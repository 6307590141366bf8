from ipaddress import IPv4Address, IPv6Address

import attrs
import pytest

from tests.routing.dat import BOTH, Files
from trio_vmess.core import Destination, Flow, Network, User, parse_endpoint
from trio_vmess.errors import ConfigError, ConfigProblem
from trio_vmess.routing import (
    NEED_ADDRESSES,
    Check,
    Decision,
    DomainStrategy,
    Router,
    RoutingContext,
    Rule,
)

AS_IS, NON_MATCH, ON_DEMAND = DomainStrategy


def context(
    target: str = "example.com:443", *, network: str = "tcp", **more: str
) -> RoutingContext:
    host, port = parse_endpoint(target)
    return RoutingContext(
        destination=Destination(host=host, port=port, network=Network(network)), **more
    )


def router(*rules: Rule, strategy: DomainStrategy = AS_IS) -> Router:
    named = [attrs.evolve(rule, outbound_tag=f"out{i}") for i, rule in enumerate(rules)]
    return Router(named, load=Files(BOTH).load, strategy=strategy)


def took(decision: object) -> int | None:
    assert isinstance(decision, Decision)
    return decision.rule


# Each condition ----------------------------------------------------------------------------------

CONDITIONS = [
    (Rule(domains=("domain:example.com",)), context("www.example.com:1"), context("example.org:1")),
    (Rule(domains=("domain:example.com",)), context("a.Example.COM.:1"), context("192.0.2.1:1")),
    (Rule(domains=("full:a.b", "c")), context("xcx:1"), context("xa.b:1")),
    (Rule(domains=("geosite:cn",)), context("www.baidu.com:443"), context("google.com:443")),
    (
        Rule(domains=("full:sniffed.example",)),
        context("192.0.2.1:443", domain="Sniffed.example"),
        context("192.0.2.1:443", domain="other.example"),
    ),
    (
        Rule(domains=("full:sniffed.example",)),
        context("asked.example:443", domain="sniffed.example"),
        context("sniffed.example:443", domain="asked.example"),
    ),
    (Rule(ips=("192.0.2.0/24",)), context("192.0.2.9:1"), context("192.0.3.9:1")),
    (Rule(ips=("geoip:private", "geoip:us")), context("[fe80::1]:1"), context("1.1.1.1:1")),
    (Rule(ips=("geoip:!us",)), context("1.1.1.1:1"), context("8.8.8.8:1")),
    (Rule(ips=("0.0.0.0/0", "::/0")), context("1.1.1.1:1"), context("a.example:1")),
    (
        Rule(ips=("10.0.0.1",)),
        context("10.0.0.1:1", domain="a.b"),
        context("10.0.0.2:1", domain="a.b"),
    ),
    (Rule(ports=((80, 80), (1000, 2000))), context("a:1500"), context("a:81")),
    (Rule(ports=((80, 80), (1000, 2000))), context("a:2000"), context("a:2001")),
    (Rule(ports=((0, 65535),)), context("a:65535"), None),
    (Rule(networks=(Network.UDP,)), context(network="udp"), context()),
    (Rule(networks=(Network.TCP,)), context(), context(network="udp")),
    (Rule(networks=(Network.TCP, Network.UDP)), context(network="udp"), None),
    (Rule(sources=("10.0.0.0/8",)), context(source="10.2.3.4:999"), context(source="11.2.3.4:999")),
    (Rule(sources=("::1",)), context(source="[::1]:999"), context(source="")),
    (Rule(sources=("geoip:cn",)), context(source="1.0.1.1:9"), context(source="name.example:9")),
    (Rule(source_ports=((53, 53),)), context(source="10.2.3.4:53"), context(source="10.2.3.4:54")),
    (
        Rule(source_ports=((0, 65535),)),
        context(source="[fe80::1]:1"),
        context(source="no endpoint"),
    ),
    (
        Rule(users=("love@v2ray.com",)),
        context(user="love@v2ray.com"),
        context(user="Love@v2ray.com"),
    ),
    (Rule(users=("",)), None, context(user="")),
    (
        Rule(inbound_tags=("socks-in",)),
        context(inbound_tag="socks-in"),
        context(inbound_tag="socks"),
    ),
    (Rule(inbound_tags=("", "x")), context(inbound_tag="x"), context(inbound_tag="")),
    (Rule(protocols=("http",)), context(protocol="http1"), context(protocol="tls")),
    (Rule(protocols=("tls", "bittorrent")), context(protocol="bittorrent"), context(protocol="")),
    (Rule(protocols=("",)), None, context(protocol="tls")),
    (
        Rule(protocols=("http",)),
        context(request_protocol="http/1.1"),
        context(protocol="tls"),
    ),
    (
        Rule(protocols=("http/1.1",)),
        context(request_protocol="http/1.1", protocol="http1"),
        context(protocol="http1"),
    ),
    (
        Rule(protocols=("http1",)),
        context(request_protocol="http/1.1", protocol="http1"),
        context(request_protocol="http/1.1"),
    ),
    (
        Rule(ports=((443, 443),), users=("u",), domains=("a",), networks=(Network.TCP,)),
        context("a:443", user="u"),
        context("a:443", user="v"),
    ),
    (Rule(domains=("full:a",), ips=("0.0.0.0/0",)), None, context("a:1")),
    (
        Rule(domains=("full:a",), ips=("10.0.0.1",)),
        context("10.0.0.1:1", domain="a"),
        context("10.0.0.1:1"),
    ),
    (Rule(domains=("geosite:google@none",)), None, context("google.com:1")),
    (Rule(), context(), None),
]


@pytest.mark.parametrize(("rule", "yes", "no"), CONDITIONS)
def test_each_kind_of_condition(
    rule: Rule, yes: RoutingContext | None, no: RoutingContext | None
) -> None:
    decide = router(rule).decide
    if yes is not None:
        assert decide(yes) == Decision(rule=0, outbound_tag="out0")
    if no is not None:
        assert decide(no) == Decision()


def test_the_first_match_wins() -> None:
    rules = [
        Rule(domains=("full:a",)),
        Rule(ports=((443, 443),)),
        Rule(domains=("domain:a",)),
        Rule(networks=(Network.TCP,)),
    ]
    decide = router(*rules).decide
    assert took(decide(context("a:443"))) == 0
    assert took(decide(context("b:443"))) == 1
    assert took(decide(context("x.a:80"))) == 2
    assert took(decide(context("x.b:80"))) == 3
    assert took(decide(context("x.b:80", network="udp"))) is None
    assert took(router(*reversed(rules)).decide(context("a:443"))) == 0


def test_without_rules_nothing_matches() -> None:
    assert router().decide(context()) == Decision()
    assert router(strategy=ON_DEMAND).decide(context()) == Decision()


def test_a_thousand_rules() -> None:
    decide = router(*(Rule(domains=(f"full:n{i}.example",)) for i in range(1000))).decide
    for index in (0, 1, 31, 64, 999):
        assert took(decide(context(f"n{index}.example:1"))) == index
    assert took(decide(context("n1000.example:1"))) is None


def test_a_rule_can_name_a_balancer() -> None:
    rules = [Rule(ports=((1, 1),), balancer_tag="b")]
    answer = Router(rules, load=Files().load, balancers=["b"]).decide(context("a:1"))
    assert answer == Decision(rule=0, balancer_tag="b")


def test_the_context_of_a_flow() -> None:
    target = Destination(host=IPv4Address("192.0.2.1"), port=443, network=Network.UDP)
    flow = Flow(
        destination=target,
        source="10.0.0.1:5",
        inbound_tag="in",
        user=User(email="u"),
        request_protocol="http/1.1",
        sniffed_protocol="quic",
        sniffed_domain="a.example",
    )
    assert RoutingContext.of(flow) == RoutingContext(
        destination=target,
        source="10.0.0.1:5",
        inbound_tag="in",
        user="u",
        protocol="quic",
        request_protocol="http/1.1",
        domain="a.example",
    )


# When names are resolved --------------------------------------------------------------------------

HERE, THERE = IPv4Address("10.0.0.1"), IPv6Address("2001:db8::1")
TO_HERE = Rule(ips=("10.0.0.0/8",))
NAMED = Rule(domains=("domain:example.com",))


@pytest.mark.parametrize(
    ("strategy", "rules", "first", "with_here", "with_there"),
    [
        (AS_IS, [TO_HERE], None, None, None),
        (AS_IS, [TO_HERE, NAMED], 1, 1, 1),
        (NON_MATCH, [TO_HERE], "ask", 0, None),
        (NON_MATCH, [TO_HERE, NAMED], 1, 1, 1),
        (NON_MATCH, [NAMED, TO_HERE], 0, 0, 0),
        (NON_MATCH, [Rule(ports=((9, 9),), ips=("10.0.0.1",))], None, None, None),
        (ON_DEMAND, [TO_HERE], "ask", 0, None),
        (ON_DEMAND, [TO_HERE, NAMED], "ask", 0, 1),
        (ON_DEMAND, [NAMED, TO_HERE], 0, 0, 0),
        (ON_DEMAND, [Rule(ports=((9, 9),), ips=("10.0.0.1",)), NAMED], 1, 1, 1),
        (ON_DEMAND, [NAMED], 0, 0, 0),
    ],
)
def test_when_names_are_resolved(
    strategy: DomainStrategy,
    rules: list[Rule],
    first: int | str | None,
    with_here: int | None,
    with_there: int | None,
) -> None:
    decide = router(*rules, strategy=strategy).decide
    answer = decide(context())
    if first == "ask":
        assert answer is NEED_ADDRESSES
    else:
        assert took(answer) == first
    assert took(decide(context(), [HERE])) == with_here
    assert took(decide(context(), [THERE])) == with_there
    assert took(decide(context(), [THERE, HERE])) == with_here
    # A name that leads nowhere matches no rule on addresses.
    assert took(decide(context(), [])) == with_there


@pytest.mark.parametrize("strategy", DomainStrategy)
def test_an_address_is_decided_without_resolving(strategy: DomainStrategy) -> None:
    decide = router(TO_HERE, strategy=strategy).decide
    assert took(decide(context("10.1.1.1:1"))) == 0
    assert took(decide(context("11.1.1.1:1"))) is None
    # The name that was sniffed is for rules on names: where the connection goes is known.
    assert took(decide(context("11.1.1.1:1", domain="here.example"))) is None


# What cannot be built -----------------------------------------------------------------------------


def problems(*rules: Rule) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Router(rules, load=Files(BOTH).load, balancers=["known"])
    return [str(problem) for problem in caught.value.problems]


def test_all_problems_are_reported_at_once_with_key_paths() -> None:
    found = problems(
        Rule(outbound_tag="x", domains=("geosite:nix", "regexp:(", "ok"), ips=("geoip:zz",)),
        Rule(balancer_tag="lost", sources=("nowhere",)),
        Rule(outbound_tag="x", balancer_tag="known"),
        Rule(ports=((1, 1),)),
        Rule(outbound_tag="x", attributes="len(attrs)"),
        Rule(balancer_tag="known"),
    )
    assert [text.split(": ")[0] for text in found] == [
        "routing.rules[0].domains",
        "routing.rules[0].domains",
        "routing.rules[0].ips",
        "routing.rules[1].balancer_tag",
        "routing.rules[1].sources",
        "routing.rules[2].outbound_tag",
        "routing.rules[3].outbound_tag",
        "routing.rules[4].attributes",
    ]
    assert any("'len(attrs)' is not supported" in text for text in found)
    assert any("geosite.dat has no list 'nix'" in text for text in found)


def test_a_missing_file_is_reported_with_key_path_and_advice() -> None:
    with pytest.raises(ConfigError) as caught:
        Router([Rule(outbound_tag="x", ips=("geoip:cn",))], load=Files().load)
    assert str(caught.value) == "routing.rules[0].ips: geoip.dat is nowhere; install it"


def test_locate_adds_the_location_to_problems() -> None:
    def locate(rule: int, field: str, message: str) -> ConfigProblem:
        return ConfigProblem(where=f"r{rule}.{field}", message=message, file="f", line=7)

    with pytest.raises(ConfigError, match=r"^f:7: r0\.ips: expected an IP address"):
        Router([Rule(outbound_tag="x", ips=("x",))], load=Files().load, locate=locate)


def test_files_are_read_once_and_only_if_rules_use_them() -> None:
    files = Files(BOTH)
    rules = [
        Rule(outbound_tag="x", ips=("geoip:cn", "geoip:us"), sources=("geoip:cn",)),
        Rule(outbound_tag="x", domains=("domain:a",)),
    ]
    made = Router(rules, load=files.load)
    assert files.read == ["geoip.dat"]
    made.decide(context())
    assert files.read == ["geoip.dat"]


# Explained ----------------------------------------------------------------------------------------


def test_an_explanation_names_each_condition() -> None:
    rules = [
        Rule(domains=("full:a",), ports=((443, 443),)),
        Rule(ips=("10.0.0.0/8",), users=("u",)),
        Rule(networks=(Network.TCP,)),
    ]
    asked = context("a:80", user="u", source="[::1]:7")
    told = router(*rules).explain(asked)
    assert told.decision == Decision(rule=2, outbound_tag="out2")
    assert [verdict.matches for verdict in told.verdicts] == [False, False, True]
    assert told.verdicts[0].checks == (
        Check(field="ports", holds=False, compared="80"),
        Check(field="domains", holds=True, compared="a"),
    )
    assert told.verdicts[1].checks == (
        Check(field="users", holds=True, compared="u"),
        Check(field="ips", holds=False, compared=""),
    )
    assert told.verdicts[2].checks == (Check(field="networks", holds=True, compared="tcp"),)


def test_an_explanation_with_addresses() -> None:
    made = router(TO_HERE, strategy=ON_DEMAND)
    assert made.explain(context()).decision is NEED_ADDRESSES
    told = made.explain(context(), [HERE, THERE])
    assert told.decision == Decision(rule=0, outbound_tag="out0")
    check = Check(field="ips", holds=True, compared="10.0.0.1, 2001:db8::1")
    assert told.verdicts[0].checks == (check,)
    check = Check(field="ips", holds=False, compared="192.0.2.1")
    assert made.explain(context("192.0.2.1:1")).verdicts[0].checks == (check,)
