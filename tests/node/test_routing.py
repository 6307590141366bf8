"""From routing settings to a router, and back to the file for what is wrong."""

import pytest

from trio_vmess.config import parse_config
from trio_vmess.contracts import Outbound
from trio_vmess.core import Destination, Flow, Network, parse_host
from trio_vmess.errors import ConfigError, NoRouteError
from trio_vmess.node import Node
from trio_vmess.node.routing import make_router, probes_of
from trio_vmess.outbound import BlackholeOutbound, FreedomOutbound
from trio_vmess.routing import NEED_ADDRESSES, Decision, RoutingContext

HEAD = """
[[inbounds]]
tag = "in"
protocol = "socks"
port = 1080
[[outbounds]]
tag = "direct"
protocol = "freedom"
[[outbounds]]
tag = "blocked"
protocol = "blackhole"
"""


def no_files(name: str) -> bytes:
    raise FileNotFoundError(f"{name} is nowhere")


def decide(rules: str, context: RoutingContext) -> object:
    return make_router(parse_config(HEAD + rules, format="toml"), no_files).decide(context)


def context(host: str, **settings: str) -> RoutingContext:
    return RoutingContext(destination=Destination(host=parse_host(host), port=443), **settings)


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        ('domains = ["domain:a.example"]', context("x.a.example"), context("b.example")),
        ('ips = ["192.0.2.0/24"]', context("192.0.2.7"), context("192.0.3.7")),
        ("ports = [443]", context("a.example"), None),
        ('ports = ["1-442"]', None, context("a.example")),
        ('networks = ["tcp"]', context("a.example"), None),
        ('sources = ["10.0.0.0/8"]', context("x", source="10.1.1.1:5"), context("x")),
        (
            'source_ports = ["5-6"]',
            context("x", source="10.1.1.1:5"),
            context("x", source="1.1.1.1:7"),
        ),
        ('users = ["ann@x"]', context("x", user="ann@x"), context("x", user="bob@x")),
        ('inbound_tags = ["in"]', context("x", inbound_tag="in"), context("x")),
        ('protocols = ["tls"]', context("x", protocol="tls"), context("x", protocol="http1")),
    ],
)
def test_each_condition_reaches_the_router(
    condition: str, yes: RoutingContext | None, no: RoutingContext | None
) -> None:
    rules = f'[[routing.rules]]\n{condition}\noutbound_tag = "blocked"\n'
    if yes is not None:
        assert decide(rules, yes) == Decision(rule=0, outbound_tag="blocked")
    if no is not None:
        assert decide(rules, no) == Decision()


def test_strategy_and_balancer_reach_the_router() -> None:
    rules = (
        '[routing]\ndomain_strategy = "IPOnDemand"\n'
        '[[routing.rules]]\nips = ["192.0.2.0/24"]\nbalancer_tag = "some"\n'
        '[[routing.balancers]]\ntag = "some"\nselector = ["di"]\n'
    )
    router = make_router(parse_config(HEAD + rules, format="toml"), no_files)
    routed = context("a.example")
    assert router.decide(routed) is NEED_ADDRESSES
    address = parse_host("192.0.2.1")
    assert not isinstance(address, str)
    assert router.decide(routed, [address]) == Decision(rule=0, balancer_tag="some")
    assert routed.destination.network is Network.TCP


def test_a_mistake_is_reported_with_its_line() -> None:
    rules = '[[routing.rules]]\ndomains = ["geosite:cn"]\noutbound_tag = "direct"\n'
    with pytest.raises(ConfigError, match=r"geosite\.dat") as caught:
        make_router(parse_config(HEAD + rules, file="node.toml"), no_files)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("node.toml", HEAD.count("\n") + 2)
    assert problem.where == "routing.rules[0].domains"


def test_balancers_with_an_interval_are_probed() -> None:
    config = parse_config(
        HEAD
        + """
[[routing.rules]]
inbound_tags = ["in"]
balancer_tag = "all"
[[routing.balancers]]
tag = "all"
selector = ["d"]
probe_interval = 30
probe_destination = "probe.example:80"
[[routing.balancers]]
tag = "quiet"
selector = ["d"]
""",
        format="toml",
    )
    (probe,) = probes_of(config)
    assert (probe.balancer_tag, probe.interval) == ("all", 30.0)
    assert probe.destination == Destination(host="probe.example", port=80)


LENIENT = """{
  "inbounds": [{"tag": "in", "port": 1, "listen": "127.0.0.1", "protocol": "http"}],
  "outbounds": [{"protocol": "blackhole"}, {"protocol": "freedom", "tag": "direct"}],
  "api": {"tag": "api"},
  "routing": {"rules": [
    {"port": 1, "outboundTag": "direct"},
    {"port": 2, "outboundTag": "nowhere"},
    {"port": 3, "outboundTag": "api"}]}
}"""


async def choose(port: int) -> Outbound:
    node = Node(parse_config(LENIENT))
    destination = Destination(host="a.example", port=port)
    return await node._choose(Flow(destination=destination, inbound_tag="in"))


async def test_a_rule_of_a_v2ray_file_leads_to_the_first_outbound_if_its_own_does_not_exist() -> (
    None
):
    assert isinstance(await choose(1), FreedomOutbound)
    assert isinstance(await choose(2), BlackholeOutbound)
    assert isinstance(await choose(9), BlackholeOutbound)


async def test_what_rules_lead_to_v2rays_api_reaches_nothing() -> None:
    with pytest.raises(NoRouteError, match="no outbound has the tag 'api'"):
        await choose(3)
