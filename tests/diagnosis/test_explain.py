"""Which way a connection would take, and why: sentences for every way there is."""

import pytest

from tests.kit.name_server import start_name_server
from tests.kit.resolver import TableResolver
from trio_vmess.config import parse_config
from trio_vmess.core import Destination, Network, parse_host
from trio_vmess.diagnosis.explain import Question, explain
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
    question = Question(
        destination=Destination(host=parse_host(host), port=int(port), network=network),
        inbound_tag=inbound,
        user=user,
    )
    return "\n".join(await explain(config, question))


@pytest.fixture
def system() -> TableResolver:
    return TableResolver({"www.corp.example": ["192.0.2.7"], "local.corp.example": ["127.0.0.1"]})


async def test_a_rule_on_names_and_what_it_compared() -> None:
    text = await explained("x.ads.example:443", inbound="socks-in", user="bob@example.com")
    first_line, rule, check, later, outbound, way = text.splitlines()
    assert first_line == "tcp:x.ads.example:443 from socks-in for bob@example.com"
    assert rule.startswith("  routing.rules[0] (line ")
    assert rule.endswith("-> blocked: yes")
    assert check == "      domains: yes, for x.ads.example"
    assert later == "  later rules (5) are not asked"
    assert outbound == "outbound: blocked (blackhole)"
    assert "nothing is reached" in way


async def test_no_rule_matches_and_why_each_does_not() -> None:
    text = await explained("www.corp.example:443")
    assert "users: no, for nothing to compare with" in text
    assert "ports: no, for 443" in text
    assert "ips: no, for nothing to compare with" in text
    assert "no rule matches: the first outbound takes it" in text
    assert (
        "outbound: proxy (vmess)\n  server: vpn.example:443\n  the name goes there as it is" in text
    )
    assert ": yes" not in text


async def test_an_address_needs_no_name() -> None:
    text = await explained("10.1.2.3:443")
    assert "ips: yes, for 10.1.2.3" in text
    assert "outbound: direct (freedom)\n  address: 10.1.2.3" in text


async def test_addresses_of_the_system(system: TableResolver) -> None:
    system.use()
    text = await explained("www.corp.example:443", user="ann@example.com")
    assert "addresses: 192.0.2.7 (says the system)" in text
    assert system.asked == ["www.corp.example"]


async def test_addresses_for_rules_are_looked_up_if_the_strategy_says_so(
    system: TableResolver,
) -> None:
    system.use()
    text = await explained("www.corp.example:443", strategy="IPIfNonMatch")
    assert "have the name looked up: 192.0.2.7 (says the system)" in text
    assert "ips: yes, for 192.0.2.7" in text
    assert "outbound: direct (freedom)" in text
    text = await explained("nowhere.example:443", strategy="IPIfNonMatch")
    assert "have the name looked up: none: nowhere.example" in text
    assert "outbound: proxy" in text


async def test_the_dns_object_says_the_addresses(system: TableResolver) -> None:
    system.use()
    zone = {("four.example", "A"): ["192.0.2.4"], ("four.example", "AAAA"): ["2001:db8::4"]}
    async with start_name_server(zone) as server:
        extra = f'[dns]\nservers = [{{ address = "127.0.0.1", port = {server.port} }}]\n'
        extra = extra + '[[outbounds]]\ntag = "x"\nprotocol = "freedom"\n'
        # Straight, for the first outbound would be a proxy.
        extra = extra.replace('"127.0.0.1"', f'"tcp+local://127.0.0.1:{server.port}"')
        text = await explained("four.example:53", extra=extra, network=Network.UDP)
    assert f"addresses: 192.0.2.4 (says tcp://127.0.0.1:{server.port})" in text
    assert system.asked == []


async def test_fixed_hosts(system: TableResolver) -> None:
    system.use()
    extra = '[dns.hosts]\n"four.example" = "2001:db8::1"\n'
    text = await explained("four.example:53", extra=extra, network=Network.UDP)
    assert "addresses: none: four.example has none of this family" in text


async def test_a_name_without_addresses(system: TableResolver) -> None:
    system.use()
    text = await explained("missing.corp.example:443", user="ann@example.com")
    assert "addresses: none: missing.corp.example" in text


async def test_a_balancer_shows_all_it_chooses_from(system: TableResolver) -> None:
    system.use()
    text = await explained("192.0.3.1:8080")
    assert "balancer some chooses one of 2" in text
    assert "outbound: direct (freedom)" in text
    assert "outbound: direct-v4 (freedom)" in text


async def test_a_redirect() -> None:
    text = await explained("192.0.3.1:99")
    assert "  redirected to 192.0.2.99:99\n  address: 192.0.2.99" in text


@pytest.mark.parametrize(("inbound", "refused"), [("vmess-in", True), ("socks-in", False)])
async def test_private_addresses_are_not_for_remote_users(
    inbound: str, refused: bool, system: TableResolver
) -> None:
    system.use()
    text = await explained("local.corp.example:22", user="ann@example.com", inbound=inbound)
    assert ("refused: 127.0.0.1" in text) is refused


async def test_an_inbound_that_is_not_there() -> None:
    with pytest.raises(NoRouteError, match="known are socks-in, vmess-in"):
        await explained("a.example:1", inbound="other")


async def test_rules_that_cannot_be_used() -> None:
    extra = '[[routing.rules]]\ndomains = ["ext:missing-file.dat:x"]\noutbound_tag = "direct"\n'
    with pytest.raises(ConfigError, match=r"missing-file\.dat"):
        await explained("a.example:1", extra=extra)
