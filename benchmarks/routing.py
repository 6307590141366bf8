"""The cost of routing decisions, and of building their tables.

    python benchmarks/routing.py

Times are microseconds per call, the best of several rounds. Takes about half a minute.
"""

import gc
import ipaddress
import pathlib
import random
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from tests.routing.dat import write_geoip, write_geosite
from trio_vmess.core import Destination, Network, parse_host
from trio_vmess.routing import (
    AddressMatcher,
    Balancer,
    BalancerStrategy,
    DomainMatcher,
    DomainStrategy,
    GeoFiles,
    Health,
    Router,
    RoutingContext,
    Rule,
)

T = TypeVar("T")
A = TypeVar("A")

CHOICE = random.Random(1)
SYLLABLES = [a + b for a in "bcdfghklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "or")]
ENDINGS = ("com", "net", "org", "cn", "com.cn", "io", "co.uk")


def word(least: int = 2, most: int = 4) -> str:
    return "".join(CHOICE.choices(SYLLABLES, k=CHOICE.randint(least, most)))


def name(depth: int = 1) -> str:
    labels = [word() for _ in range(depth)]
    return ".".join([*labels, CHOICE.choice(ENDINGS)])


def microseconds(call: Callable[[A], object], arguments: Sequence[A]) -> float:
    rounds = []
    gc.disable()
    for _ in range(7):
        begin = time.perf_counter()
        for argument in arguments:
            call(argument)
        rounds.append(time.perf_counter() - begin)
    gc.enable()
    return min(rounds) / len(arguments) * 1e6


def row(what: str, figure: float, unit: str = "µs") -> None:
    print(f"  {what:<62}{figure:>10.2f} {unit}")


def built(what: str, make: Callable[[], T]) -> T:
    begin = time.perf_counter()
    made = make()
    row(f"build: {what}", (time.perf_counter() - begin) * 1e3, "ms")
    return made


def no_files(file: str) -> bytes:
    raise FileNotFoundError(file)


def domains() -> None:
    print("names")
    geo = GeoFiles(no_files)
    names = [name() for _ in range(100_000)]
    listed = ["www." + each for each in CHOICE.sample(names, 1000)]
    unlisted = [name(CHOICE.randint(2, 3)) for _ in range(1000)]
    for count in (10, 1000, 100_000):
        matcher = built(
            f"{count} domain: entries",
            partial(DomainMatcher, [f"domain:{each}" for each in names[:count]], geo),
        )
        row(
            "  a listed name" if count == 100_000 else "  a name",
            microseconds(matcher.matches, listed),
        )
        row("  an unlisted name", microseconds(matcher.matches, unlisted))
    words = [word(2, 5) for _ in range(10_000)]
    for count in (10, 1000, 10_000):
        matcher = built(
            f"{count} keywords",
            partial(DomainMatcher, words[:count], geo),
        )
        row("  an unlisted name", microseconds(matcher.matches, unlisted))
    alike = DomainMatcher([f"adserver{i:05}" for i in range(10_000)], geo)
    row("10 000 keywords that begin alike: an unlisted name", microseconds(alike.matches, unlisted))
    tricky = [f"ads.adserver{i % 7}.adserv.adserver.example.com" for i in range(1000)]
    row("  a name full of such beginnings", microseconds(alike.matches, tricky))
    long_name = ".".join(["adserver"] * 27)
    row("  a name of 242 letters full of them", microseconds(alike.matches, [long_name] * 100))
    for count in (10, 100):
        expressions = [rf"regexp:^(.+\.)?ad{i}[0-9]*\.{word()}\.(com|net)$" for i in range(count)]
        matcher = DomainMatcher(expressions, geo)
        row(f"{count} expressions: an unlisted name", microseconds(matcher.matches, unlisted))


def addresses() -> None:
    print("addresses")
    geo = GeoFiles(no_files)
    for count in (10, 1000, 100_000):
        networks = [
            f"{ipaddress.IPv4Address(CHOICE.getrandbits(32))}/{CHOICE.randint(16, 32)}"
            for _ in range(count)
        ]
        matcher = built(f"{count} networks", partial(AddressMatcher, networks, geo))
        sample = [ipaddress.IPv4Address(CHOICE.getrandbits(32)) for _ in range(1000)]
        row("  an address", microseconds(matcher.matches, sample))
    networks = [
        f"{ipaddress.IPv6Address(CHOICE.getrandbits(128))}/{CHOICE.randint(32, 64)}"
        for _ in range(100_000)
    ]
    matcher6 = built("100000 IPv6 networks", lambda: AddressMatcher(networks, geo))
    sample6 = [ipaddress.IPv6Address(CHOICE.getrandbits(128)) for _ in range(1000)]
    row("  an address", microseconds(matcher6.matches, sample6))


def files() -> None:
    print("data files")
    lists = {f"LIST{i}": [f"domain:{name()}" for _ in range(40)] for i in range(1400)} | {
        "CN": [f"domain:{name()}" for _ in range(60_000)]
    }
    geosite = write_geosite(lists)
    countries = {
        f"C{i}": [
            f"{ipaddress.IPv4Address(CHOICE.getrandbits(32))}/{CHOICE.randint(16, 24)}"
            for _ in range(1000)
        ]
        for i in range(250)
    }
    geoip = write_geoip(countries)
    row("geosite.dat with 1401 lists", len(geosite) / 1e6, "MB")
    built(
        "  a list of 40 names, last but one",
        lambda: GeoFiles(lambda _: geosite).sites("f", "list1399"),
    )
    built("  the list of 60 000 names", lambda: GeoFiles(lambda _: geosite).sites("f", "cn"))
    row("geoip.dat with 250 countries", len(geoip) / 1e6, "MB")
    built("  the last country", lambda: GeoFiles(lambda _: geoip).networks("f", "c249"))


def rules_of(count: int) -> list[Rule]:
    """Return a typical rule set, extended to `count` rules."""
    rules = [
        Rule(outbound_tag="direct", protocols=("bittorrent",)),
        Rule(outbound_tag="direct", ips=("geoip:private",)),
        Rule(outbound_tag="blocked", networks=(Network.UDP,), ports=((443, 443),)),
        Rule(outbound_tag="dns", inbound_tags=("dns-in",)),
        Rule(outbound_tag="blocked", domains=("keyword:adserv", "domain:doubleclick.net")),
        Rule(outbound_tag="work", users=("a@example.com", "b@example.com")),
    ]
    while len(rules) < count:
        entries = tuple(f"domain:{name()}" for _ in range(10))
        rules.append(Rule(outbound_tag="proxy", domains=entries))
        networks = tuple(f"{ipaddress.IPv4Address(CHOICE.getrandbits(32))}/24" for _ in range(10))
        rules.append(Rule(outbound_tag="proxy", ips=networks))
    return rules[:count]


def context(host: str) -> RoutingContext:
    return RoutingContext(
        destination=Destination(host=parse_host(host), port=443),
        source="192.0.2.7:51234",
        inbound_tag="socks-in",
        user="u@example.com",
        protocol="tls",
    )


def decisions() -> None:
    print("decisions")
    names = [context(name(2)) for _ in range(1000)]
    addresses = [context(str(ipaddress.IPv4Address(CHOICE.getrandbits(32)))) for _ in range(1000)]
    for count in (6, 20, 200, 2000):
        router = built(f"{count} rules", partial(Router, rules_of(count), load=no_files))
        row("  a name", microseconds(router.decide, names))
        row("  an address", microseconds(router.decide, addresses))
    big = tuple(f"domain:{name()}" for _ in range(100_000))
    networks = tuple(f"{ipaddress.IPv4Address(CHOICE.getrandbits(32))}/24" for _ in range(100_000))
    router = built(
        "22 rules, 100 000 names, 100 000 networks, IPIfNonMatch",
        lambda: Router(
            [
                *rules_of(20),
                Rule(outbound_tag="direct", domains=big),
                Rule(outbound_tag="direct", ips=networks),
            ],
            load=no_files,
            strategy=DomainStrategy.IP_IF_NON_MATCH,
        ),
    )
    row("  a name: resolve it", microseconds(router.decide, names))
    resolved = [ipaddress.IPv4Address("203.0.113.9"), ipaddress.IPv4Address("198.51.100.7")]
    row("  a name with two addresses", microseconds(lambda f: router.decide(f, resolved), names))
    row("  an address", microseconds(router.decide, addresses))
    row("explain", microseconds(router.explain, names[:100]))
    target = Destination(host="example.com", port=443)
    row(
        "make the context",
        microseconds(lambda _: RoutingContext(destination=target, user="u", source="s"), names),
    )


def balancers() -> None:
    print("balancers of ten")
    load = {f"p{i}": i % 3 for i in range(10)}
    for strategy in BalancerStrategy:
        balancer = Balancer(
            tag="b",
            selector=["p"],
            outbound_tags=list(load),
            health=Health(),
            entropy=secrets,
            strategy=strategy,
        )

        def choose(now: float, balancer: Balancer = balancer) -> object:
            return balancer.choose(now, connections=load)

        row(strategy.value, microseconds(choose, range(1000)))


if __name__ == "__main__":
    domains()
    addresses()
    files()
    decisions()
    balancers()
