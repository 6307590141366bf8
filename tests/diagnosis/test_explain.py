"""How a connection would be routed: the lines for every kind of rule and outbound."""

import pytest

from tests.kit.name_server import start_name_server
from tests.kit.resolver import TableResolver
from trio_vmess.config import parse_config
from trio_vmess.core import Destination, Network, parse_host
from trio_vmess.diagnosis.explain import HypotheticalFlow, explain
from trio_vmess.errors import ConfigError, NoRouteError

NODE = """
[[inbounds]]
tag = "socks-in"
protocol = "socks"
port = 1080
[[inbounds]]
tag = "vmess-in"
protocol = "vmess"
port = 10086
users = [{ id = "b831381d-6324-4d53-ad4f-8cda48b30811", email = "ann@example.com" }]

[[outbounds]]
tag = "proxy"
protocol = "vmess"
[[outbounds.servers]]
address = "vpn.example"
port = 443
users = [{ id = "b831381d-6324-4d53-ad4f-8cda48b30811" }]
[[outbounds]]
tag = "direct"
protocol = "freedom"
[[outbounds]]
tag = "direct-v4"
protocol = "freedom"
domain_strategy = "UseIPv4"
[[outbounds]]
tag = "test"
protocol = "freedom"
redirect = "192.0.2.99:0"
[[outbounds]]
tag = "blocked"
protocol = "blackhole"

[routing]
domain_strategy = "%(strategy)s"
[[routing.rules]]
domains = ["domain:ads.example"]
outbound_tag = "blocked"
[[routing.rules]]
domains = ["domain:corp.example"]
users = ["ann@example.com"]
outbound_tag = "direct"
[[routing.rules]]
domains = ["full:four.example"]
networks = ["udp"]
outbound_tag = "direct-v4"
[[routing.rules]]
ports = [8080]
balancer_tag = "some"
[[routing.rules]]
ports = [99]
outbound_tag = "test"
[[routing.rules]]
ips = ["10.0.0.0/8", "192.0.2.0/24"]
outbound_tag = "direct"
[[routing.balancers]]
tag = "some"
selector = ["direct"]
"""


async def explained(
    destination: str,
    *,
    strategy: str = "AsIs",
    extra: str = "",
    network: Network = Network.TCP,
    inbound: str = "",
    user: str = "",
) -> str:
    host, _, port = destination.rpartition(":")
    config = parse_config(NODE % {"strategy": strategy} + extra, format="toml")
    flow = HypotheticalFlow(
        destination=Destination(host=parse_host(host), port=int(port), network=network),
        inbound_tag=inbound,
        user=user,
    )
    return "\n".join(await explain(config, flow))


@pytest.fixture
def system() -> TableResolver:
    return TableResolver({"www.corp.example": ["192.0.2.7"], "local.corp.example": ["127.0.0.1"]})


async def test_the_deciding_rule_shows_the_condition_that_holds() -> None:
    text = await explained("x.ads.example:443", inbound="socks-in", user="bob@example.com")
    first_line, rule, check, later, outbound, effect = text.splitlines()
    assert first_line == "tcp:x.ads.example:443 from socks-in for bob@example.com"
    assert rule.startswith("  routing.rules[0] (line ")
    assert rule.endswith("-> blocked: yes")
    assert check == "      domains: yes (x.ads.example)"
    assert later == "  later rules (5) are not evaluated"
    assert outbound == "outbound: blocked (blackhole)"
    assert effect == "  discarded here: nothing is dialled"


async def test_each_rule_that_does_not_match_shows_why() -> None:
    text = await explained("www.corp.example:443")
    assert "users: no (nothing to compare)" in text
    assert "ports: no (443)" in text
    assert "ips: no (nothing to compare)" in text
    assert "no rule matches: the first outbound is used" in text
    assert (
        "outbound: proxy (vmess)\n  server: vpn.example:443\n  the server resolves the name" in text
    )
    assert ": yes" not in text


async def test_an_address_is_not_resolved() -> None:
    text = await explained("10.1.2.3:443")
    assert "ips: yes (10.1.2.3)" in text
    assert "outbound: direct (freedom)\n  address: 10.1.2.3" in text


async def test_a_unix_socket_is_shown_in_place_of_the_server() -> None:
    socket = """
        [[outbounds]]
        tag = "elsewhere"
        protocol = "vmess"
        address = "vpn.example"
        port = 443
        id = "b831381d-6324-4d53-ad4f-8cda48b30811"
        unix = "/run/vmess.sock"
        [[routing.rules]]
        ports = [7]
        outbound_tag = "elsewhere"
    """
    text = await explained("www.corp.example:7", extra=socket)
    assert "outbound: elsewhere (vmess)\n  server: /run/vmess.sock\n" in text


async def test_without_dns_the_system_resolves(system: TableResolver) -> None:
    system.use()
    text = await explained("www.corp.example:443", user="ann@example.com")
    assert "addresses: 192.0.2.7 (from the system resolver)" in text
    assert system.asked == ["www.corp.example"]


async def test_the_domain_strategy_resolves_for_rules_on_addresses(
    system: TableResolver,
) -> None:
    system.use()
    text = await explained("www.corp.example:443", strategy="IPIfNonMatch")
    assert "resolved for rules on addresses: 192.0.2.7 (from the system resolver)" in text
    assert "ips: yes (192.0.2.7)" in text
    assert "outbound: direct (freedom)" in text
    text = await explained("nowhere.example:443", strategy="IPIfNonMatch")
    assert "resolved for rules on addresses: none: nowhere.example" in text
    assert "outbound: proxy" in text


async def test_with_dns_a_name_server_resolves(system: TableResolver) -> None:
    system.use()
    zone = {("four.example", "A"): ["192.0.2.4"], ("four.example", "AAAA"): ["2001:db8::4"]}
    async with start_name_server(zone) as server:
        extra = f'[dns]\nservers = [{{ address = "127.0.0.1", port = {server.port} }}]\n'
        extra = extra + '[[outbounds]]\ntag = "x"\nprotocol = "freedom"\n'
        # Directly: by default, queries would take the first outbound, which is a proxy.
        extra = extra.replace('"127.0.0.1"', f'"tcp+local://127.0.0.1:{server.port}"')
        text = await explained("four.example:53", extra=extra, network=Network.UDP)
    assert f"addresses: 192.0.2.4 (from tcp://127.0.0.1:{server.port})" in text
    assert system.asked == []


async def test_fixed_hosts_of_another_family_do_not_count(system: TableResolver) -> None:
    system.use()
    extra = '[dns.hosts]\n"four.example" = "2001:db8::1"\n'
    text = await explained("four.example:53", extra=extra, network=Network.UDP)
    assert "addresses: none: four.example has no addresses of this family" in text


async def test_a_name_that_does_not_resolve(system: TableResolver) -> None:
    system.use()
    text = await explained("missing.corp.example:443", user="ann@example.com")
    assert "addresses: none: missing.corp.example" in text


async def test_a_balancer_shows_all_its_outbounds(system: TableResolver) -> None:
    system.use()
    text = await explained("192.0.3.1:8080")
    assert "balancer some chooses one of 2 outbounds" in text
    assert "outbound: direct (freedom)" in text
    assert "outbound: direct-v4 (freedom)" in text


async def test_a_redirect_replaces_the_address() -> None:
    text = await explained("192.0.3.1:99")
    assert "  redirected to 192.0.2.99:99\n  address: 192.0.2.99" in text


@pytest.mark.parametrize(("inbound", "refused"), [("vmess-in", True), ("socks-in", False)])
async def test_private_addresses_are_refused_to_vmess_users_only(
    inbound: str, refused: bool, system: TableResolver
) -> None:
    system.use()
    text = await explained("local.corp.example:22", user="ann@example.com", inbound=inbound)
    line = (
        "  refused: 127.0.0.1; users of VMess inbounds may not reach private or special addresses "
        "(allow_private is not set)"
    )
    assert (line in text.splitlines()) is refused


async def test_an_outbound_that_does_not_exist_is_the_first_in_a_v2ray_file() -> None:
    config = parse_config(
        '{"outbounds": [{"protocol": "blackhole", "tag": "first"}],'
        ' "routing": {"rules": [{"port": 443, "outboundTag": "nowhere"}]}}'
    )
    flow = HypotheticalFlow(destination=Destination(host="a.example", port=443))
    assert (await explain(config, flow))[1:] == [
        "  routing.rules[0] (line 1) -> nowhere: yes",
        "      ports: yes (443)",
        "no outbound has the tag nowhere: the first one is used, as in V2Ray",
        "outbound: first (blackhole)",
        "  discarded here: nothing is dialled",
    ]


async def test_an_unknown_inbound_is_an_error() -> None:
    with pytest.raises(
        NoRouteError, match="no inbound has the tag 'other'; known tags: socks-in, vmess-in"
    ):
        await explained("a.example:1", inbound="other")


async def test_unusable_rules_are_a_config_error() -> None:
    extra = '[[routing.rules]]\ndomains = ["ext:missing-file.dat:x"]\noutbound_tag = "direct"\n'
    with pytest.raises(ConfigError, match=r"missing-file\.dat"):
        await explained("a.example:1", extra=extra)
