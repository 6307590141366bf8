"""Resolvers built from a `dns` object, and nodes whose freedom outbound uses them."""

from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.kit.name_server import addresses, start_name_server
from tests.kit.nodes import start_node
from tests.kit.origin import start_echo, start_udp_echo
from tests.kit.resolver import TableResolver
from tests.kit.socks_client import SocksError, open_socks_stream
from trio_vmess import config
from trio_vmess.contracts import Outbound
from trio_vmess.core import Destination, Flow, Network, parse_host
from trio_vmess.dns import (
    DatagramServer,
    DnsDialer,
    HttpsServer,
    Resolver,
    StreamServer,
    SystemServer,
)
from trio_vmess.errors import ConfigError, DialError
from trio_vmess.node.dns import FlowDialer, make_resolver
from trio_vmess.node.node import Node
from trio_vmess.outbound import FreedomOutbound
from trio_vmess.transport import resolve


async def straight(_flow: Flow) -> Outbound:
    return FreedomOutbound(tag="")


def no_files(name: str) -> bytes:
    raise FileNotFoundError(f"{name} is nowhere")


def made(dialer: DnsDialer | None = None, **settings: Any) -> Resolver | None:
    return make_resolver(
        config.Config(dns=config.DnsSettings(**settings), file="node.toml"),
        dialer=dialer or FlowDialer(straight),
        load=no_files,
        system=resolve,
    )


def server(address: str, **settings: Any) -> config.DnsServerSettings:
    return config.DnsServerSettings(address=address, **settings)


def test_without_a_dns_object_the_system_resolves() -> None:
    assert made() is None


@pytest.mark.parametrize(
    ("address", "kind", "shown"),
    [
        ("localhost", SystemServer, "localhost"),
        ("192.0.2.53", DatagramServer, "udp://192.0.2.53:5353"),
        ("2001:db8::53", DatagramServer, "udp://[2001:db8::53]:5353"),
        ("udp://192.0.2.53", DatagramServer, "udp://192.0.2.53:53"),
        ("tcp://192.0.2.53:54", StreamServer, "tcp://192.0.2.53:54"),
        ("tcp+local://[2001:db8::53]", StreamServer, "tcp://[2001:db8::53]:53"),
        ("https://dns.example/dns-query", HttpsServer, "https://dns.example/dns-query"),
        ("https+local://192.0.2.1/q", HttpsServer, "https://192.0.2.1/q"),
    ],
)
def test_each_form_of_a_server(address: str, kind: type, shown: str) -> None:
    resolver = made(servers=(server(address, port=5353),))
    assert resolver is not None
    (source,) = resolver._sources
    assert type(source.server) is kind
    assert str(source.server) == shown


def test_with_hosts_alone_the_system_resolves_other_names() -> None:
    resolver = made(hosts={"a.example": tuple(addresses("192.0.2.1"))})
    assert resolver is not None
    (source,) = resolver._sources
    assert isinstance(source.server, SystemServer)


def test_all_mistakes_are_reported_at_once_with_their_keys() -> None:
    with pytest.raises(ConfigError) as caught:
        made(
            servers=(
                server("quic+local://192.0.2.1"),
                server("tcp://dns.example"),
                server("https:///dns-query"),
                server("tcp://192.0.2.1:99999"),
                server("192.0.2.1", domains=("geosite:cn",), expect_ips=("geoip:cn",)),
            ),
            hosts={"geosite:ads": tuple(addresses("127.0.0.1"))},
        )
    places = [problem.where for problem in caught.value.problems]
    assert places == [
        "dns.hosts.geosite:ads",
        "dns.servers[0].address",
        "dns.servers[1].address",
        "dns.servers[2].address",
        "dns.servers[3].address",
        "dns.servers[4].domains",
        "dns.servers[4].expect_ips",
    ]
    assert {problem.file for problem in caught.value.problems} == {"node.toml"}
    assert "geosite.dat" in str(caught.value)
    assert "quic" in str(caught.value)


def test_https_without_its_extra_names_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trio_vmess.node.dns.has_https", lambda: False)
    with pytest.raises(ConfigError, match=r"pip install 'trio-vmess\[doh\]'"):
        made(servers=(server("https://dns.example/dns-query"),))


async def test_domains_and_expected_addresses_use_the_matchers_of_routing() -> None:
    general_zone = {("a.example", "A"): ["192.0.2.1"], ("x.corp.example", "A"): ["192.0.2.2"]}
    async with (
        start_name_server(general_zone) as general,
        start_name_server({("x.corp.example", "A"): ["10.0.0.7", "192.0.2.66"]}) as own,
    ):
        resolver = made(
            servers=(
                server("127.0.0.1", port=general.port),
                server(
                    "127.0.0.1",
                    port=own.port,
                    domains=("domain:corp.example",),
                    expect_ips=("10.0.0.0/8",),
                ),
            ),
            hosts={"domain:test.example": (parse_host("192.0.2.9"),)},
        )
        assert resolver is not None
        assert await resolver.resolve("a.example") == addresses("192.0.2.1")
        assert await resolver.resolve("x.corp.example") == addresses("10.0.0.7")
        assert await resolver.resolve("deep.test.example") == addresses("192.0.2.9")
        assert own.count("a.example") == 0
        assert general.count("x.corp.example") == 0


# Whole nodes --------------------------------------------------------------------------------------


def node_with(dns: config.DnsSettings, strategy: config.FreedomDomainStrategy) -> config.Config:
    return config.Config(
        inbounds=(
            config.InboundSettings(
                tag="socks",
                protocol=config.SocksInboundSettings(),
                listen=parse_host("127.0.0.1"),
                port=config.PortRange(0, 0),
            ),
        ),
        outbounds=(
            config.OutboundSettings(
                tag="direct", protocol=config.FreedomOutboundSettings(domain_strategy=strategy)
            ),
        ),
        dns=dns,
    )


async def check_echo(port: int, host: str, target: int) -> None:
    async with await open_socks_stream(port, host, target) as stream:
        await stream.send_all(b"hello")
        assert await stream.receive_some(5) == b"hello"


@pytest.mark.parametrize("strategy", ["UseIP", "UseIPv4"])
async def test_freedom_asks_the_dns_object(strategy: str) -> None:
    system = TableResolver({})
    system.use()
    zone = {("service.example", "CNAME"): ["real.example."], ("real.example", "A"): ["127.0.0.1"]}
    async with start_echo() as echo, start_name_server(zone) as names:
        dns = config.DnsSettings(servers=(server("127.0.0.1", port=names.port),))
        settings = node_with(dns, config.FreedomDomainStrategy(strategy))
        async with start_node(settings) as node:
            for _ in range(3):
                await check_echo(node.port, "service.example", echo.port)
            with pytest.raises(SocksError):
                await check_echo(node.port, "missing.example", echo.port)
    assert names.asked.count(("service.example", "A", "udp")) == 1
    assert system.asked == []


async def test_freedom_as_is_asks_the_system() -> None:
    system = TableResolver({"service.example": ["127.0.0.1"]})
    system.use()
    async with start_echo() as echo, start_name_server() as names:
        dns = config.DnsSettings(servers=(server("127.0.0.1", port=names.port),))
        async with start_node(node_with(dns, config.FreedomDomainStrategy.AS_IS)) as node:
            await check_echo(node.port, "service.example", echo.port)
    assert system.asked == ["service.example"]
    assert names.asked == []


async def test_freedom_sends_datagrams_to_resolved_names() -> None:
    TableResolver({}).use()
    async with start_udp_echo() as echo:
        dns = config.DnsSettings(hosts={"udp.example": (parse_host("127.0.0.1"),)})
        (direct,) = Node(node_with(dns, config.FreedomDomainStrategy.USE_IP)).outbounds
        target = Destination(host="udp.example", port=echo.port, network=Network.UDP)
        link = (await direct.connect_packets(Flow(destination=target))).remote
        await link.send([b"ping"])
        assert list(await link.receive()) == [b"ping"]
        await link.aclose()


async def resolves_behind_a_blackhole(address: str) -> bool:
    """Tell whether a node whose only outbound is a blackhole can resolve a name."""
    settings = attrs.evolve(
        node_with(
            config.DnsSettings(servers=(server(address),)), config.FreedomDomainStrategy.USE_IP
        ),
        outbounds=(
            config.OutboundSettings(tag="hole", protocol=config.BlackholeOutboundSettings()),
        ),
    )
    resolver = Node(settings).resolver
    assert resolver is not None
    with trio.move_on_after(5.0):
        try:
            return bool(await resolver.resolve("a.example"))
        except DialError:
            return False
    return False


async def test_queries_are_routed_unless_the_server_is_local(
    fast_clock: MockClock,
) -> None:
    TableResolver({}).use()
    async with start_name_server({("a.example", "A"): ["127.0.0.1"]}) as names:
        place = f"127.0.0.1:{names.port}"
        assert not await resolves_behind_a_blackhole(f"udp://{place}")
        assert not await resolves_behind_a_blackhole(f"tcp://{place}")
        assert names.asked == []
        assert await resolves_behind_a_blackhole(f"tcp+local://{place}")
    assert {each[2] for each in names.asked} == {"tcp"}
