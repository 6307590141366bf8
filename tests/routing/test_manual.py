"""Configurations as V2Ray's guide and manual have users write them, read from JSON and asked."""

import json
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

import pytest

from tests.routing.dat import BOTH, Files
from trio_vmess.config import parse_config
from trio_vmess.core import Destination, Network, parse_endpoint
from trio_vmess.node.routing import make_router
from trio_vmess.routing import NEED_ADDRESSES, Router, RoutingContext

OUTBOUNDS: Final = [
    {"protocol": "socks", "tag": "proxy", "settings": {"servers": [{"address": "a", "port": 1}]}},
    {"protocol": "freedom", "tag": "direct"},
    {"protocol": "blackhole", "tag": "blocked"},
]


def router_of(routing: object) -> Router:
    text = json.dumps(
        {
            "inbounds": [
                {"protocol": "socks", "port": 1080, "tag": "socks-in"},
                {"protocol": "http", "port": 1081, "tag": "http-in"},
            ],
            "outbounds": OUTBOUNDS,
            "routing": routing,
        }
    )
    return make_router(parse_config(text, format="json"), Files(BOTH).load)


def where(
    router: Router, target: str, *, network: str = "tcp", answers: Sequence[str] = (), **more: str
) -> str:
    """Return the tag, with `?` in front if the name had to be resolved; the default is `proxy`."""
    host, port = parse_endpoint(target, default_port=443)
    asked = RoutingContext(
        destination=Destination(host=host, port=port, network=Network(network)), **more
    )
    prefix = ""
    decision = router.decide(asked)
    if decision is NEED_ADDRESSES:
        prefix = "?"
        decision = router.decide(asked, [ip_address(each) for each in answers])
    assert decision is not NEED_ADDRESSES
    return prefix + (decision.outbound_tag or decision.balancer_tag or "proxy")


def rule(tag: str, **conditions: object) -> dict[str, object]:
    return {"type": "field", "outboundTag": tag, **conditions}


def test_the_beginners_client() -> None:
    """The node of the beginner's page: private addresses stay at home."""
    router = router_of(
        {"domainStrategy": "IPOnDemand", "rules": [rule("direct", ip=["geoip:private"])]}
    )
    assert where(router, "192.168.1.1") == "direct"
    assert where(router, "[::1]") == "direct"
    assert where(router, "8.8.8.8") == "proxy"
    assert where(router, "nas.example", answers=["10.0.0.7"]) == "?direct"
    assert where(router, "example.com", answers=["93.184.216.34"]) == "?proxy"
    assert where(router, "lost.example") == "?proxy"


def test_one_country_direct_and_no_advertisements() -> None:
    router = router_of(
        {
            "domainStrategy": "IPIfNonMatch",
            "rules": [
                rule("blocked", domain=["geosite:category-ads-all"]),
                rule("direct", domain=["geosite:cn"]),
                rule("direct", ip=["geoip:cn", "geoip:private"]),
            ],
        }
    )
    assert where(router, "ad.doubleclick.net") == "blocked"
    assert where(router, "ad7.cdn.example") == "blocked"
    assert where(router, "www.baidu.com") == "direct"
    assert where(router, "WWW.QQ.COM") == "direct"
    assert where(router, "114.114.114.114") == "direct"
    assert where(router, "8.8.8.8") == "proxy"
    assert where(router, "google.com", answers=["8.8.8.8"]) == "?proxy"
    assert where(router, "shop.example", answers=["8.8.8.8", "1.0.1.9"]) == "?direct"


def test_one_country_by_names_alone() -> None:
    router = router_of({"rules": [rule("direct", domain=["geosite:cn"], ip=["geoip:cn"])]})
    # Both conditions of a rule must hold: users who want either write two rules.
    assert where(router, "baidu.com") == "proxy"
    assert where(router, "1.0.1.1", domain="baidu.com") == "direct"
    assert where(router, "8.8.8.8", domain="baidu.com") == "proxy"


def test_bittorrent_does_not_go_through_the_proxy() -> None:
    router = router_of({"rules": [rule("direct", protocol=["bittorrent"])]})
    assert where(router, "192.0.2.1", protocol="bittorrent") == "direct"
    assert where(router, "192.0.2.1", protocol="tls") == "proxy"
    assert where(router, "192.0.2.1") == "proxy"


def test_a_server_that_keeps_clients_out_of_its_network() -> None:
    router = router_of({"rules": [rule("blocked", ip=["geoip:private"])]})
    assert where(router, "127.0.0.1") == "blocked"
    assert where(router, "192.0.2.1") == "blocked"
    assert where(router, "1.1.1.1") == "proxy"


def test_everything_abroad_is_the_rest() -> None:
    router = router_of(
        {"rules": [rule("direct", ip=["geoip:!us"]), rule("blocked", port="1-65535")]}
    )
    assert where(router, "1.1.1.1") == "direct"
    assert where(router, "8.8.8.8") == "blocked"
    assert where(router, "example.com") == "blocked"


def test_the_old_form_inside_of_settings() -> None:
    router = router_of(
        {
            "strategy": "rules",
            "settings": {
                "domainStrategy": "IPIfNonMatch",
                "rules": [rule("direct", port="1-52"), rule("blocked", network="udp")],
            },
        }
    )
    assert where(router, "example.com:52") == "direct"
    assert where(router, "example.com:53") == "proxy"
    assert where(router, "example.com:53", network="udp") == "blocked"


FULL_RULE: Final = rule(
    "direct",
    domain=["baidu.com", "qq.com", "geosite:cn"],
    ip=["0.0.0.0/8", "10.0.0.0/8", "fc00::/7", "fe80::/10", "geoip:cn"],
    port="53,443,1000-2000",
    sourcePort="53,443,1000-2000",
    network="tcp",
    source=["10.0.0.1"],
    user=["love@v2ray.com"],
    inboundTag=["socks-in"],
    protocol=["http", "tls", "bittorrent"],
)
ALL_OF_IT: Final = {
    "source": "10.0.0.1:1500",
    "user": "love@v2ray.com",
    "inbound_tag": "socks-in",
    "protocol": "http1",
    "domain": "www.baidu.com",
}


def test_the_rule_with_all_conditions_but_attributes() -> None:
    router = router_of({"rules": [FULL_RULE]})
    assert where(router, "10.1.2.3:443", **ALL_OF_IT) == "direct"
    assert where(router, "10.1.2.3:444", **ALL_OF_IT) == "proxy"
    assert where(router, "11.1.2.3:443", **ALL_OF_IT) == "proxy"


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("source", "10.0.0.2:1500"),
        ("source", "10.0.0.1:999"),
        ("user", "hate@v2ray.com"),
        ("inbound_tag", "http-in"),
        ("protocol", "quic"),
        ("domain", "www.google.com"),
    ],
)
def test_each_of_these_conditions_is_needed(fact: str, value: str) -> None:
    router = router_of({"rules": [FULL_RULE]})
    assert where(router, "10.1.2.3:443", **{**ALL_OF_IT, fact: value}) == "proxy"


def test_a_balancer() -> None:
    router = router_of(
        {
            "balancers": [{"tag": "b", "selector": ["pro", "dir"]}],
            "rules": [{"type": "field", "balancerTag": "b", "network": "tcp,udp"}],
        }
    )
    assert where(router, "example.com") == "b"
    assert where(router, "example.com", network="udp") == "b"


def test_one_inbound_to_one_outbound() -> None:
    router = router_of({"rules": [rule("direct", inboundTag=["http-in"])]})
    assert where(router, "example.com", inbound_tag="http-in") == "direct"
    assert where(router, "example.com", inbound_tag="socks-in") == "proxy"


@pytest.mark.parametrize(
    ("entry", "name", "tag"),
    [
        ("sina.com", "sina.company.com", "direct"),
        ("sina.com", "sina.cn", "proxy"),
        ("keyword:sina.com", "www.sina.com.cn", "direct"),
        (r"regexp:\.goo.*\.com$", "www.google.com", "direct"),
        (r"regexp:\.goo.*\.com$", "google.com", "proxy"),
        ("domain:v2ray.com", "www.v2ray.com", "direct"),
        ("domain:v2ray.com", "xv2ray.com", "proxy"),
        ("full:v2ray.com", "v2ray.com", "direct"),
        ("full:v2ray.com", "www.v2ray.com", "proxy"),
        ("geosite:google@ads", "www.doubleclick.net", "direct"),
    ],
)
def test_the_manuals_examples_of_names(entry: str, name: str, tag: str) -> None:
    assert where(router_of({"rules": [rule("direct", domain=[entry])]}), name) == tag
