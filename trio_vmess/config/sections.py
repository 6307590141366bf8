"""Reading the sections that both formats share: log, policy, routing, DNS, API."""

import ipaddress
from collections.abc import Mapping
from typing import Final

import attrs

from trio_vmess.config import values
from trio_vmess.config.enums import LogLevel
from trio_vmess.config.inbounds import LEVEL_MAX
from trio_vmess.config.model import (
    BalancerSettings,
    Config,
    DnsServerSettings,
    DnsSettings,
    LogSettings,
    PolicyLevelSettings,
    PolicySettings,
    RoutingSettings,
    RuleSettings,
    SystemPolicySettings,
)
from trio_vmess.config.reader import Entry, Report, Section
from trio_vmess.config.tree import Members, Value, describe, quote
from trio_vmess.core import Host, parse_endpoint
from trio_vmess.routing import BalancerStrategy, DomainStrategy, Range, check_expression

__all__ = ["read_api_tag", "read_common"]

_DOMAIN_KINDS: Final = (
    "regexp",
    "domain",
    "full",
    "keyword",
    "dotless",
    "geosite",
    "ext",
    "ext-domain",
)
_IP_KINDS: Final = ("geoip", "ext", "ext-ip")
NO_TARGET: Final = "the rule has no target; set the tag of an outbound or of a balancer"
_PRIVATE: Final = "private"
_strategy_word: Final = values.word(BalancerStrategy)
_BUFFER_KIB_MAX: Final = 1 << 20
_DNS_SCHEMES: Final = ("https", "https+local", "tcp", "tcp+local", "quic+local", "udp")


def read_common(root: Section, config: Config) -> Config:
    """Add to a configuration the sections that both file formats share."""
    log, policy = root.section("log"), root.section("policy")
    routing, dns = root.section("routing"), root.section("dns")
    return attrs.evolve(
        config,
        log=config.log if log is None else _read_log(log),
        policy=config.policy if policy is None else _read_policy(policy),
        routing=config.routing if routing is None else _read_routing(routing),
        dns=config.dns if dns is None else _read_dns(dns),
        state=root.get("state", _state, ""),
    )


def _state(raw: Value) -> str | None:
    if isinstance(raw.content, bool):
        return "" if raw.content else None
    if isinstance(raw.content, str):
        return raw.content
    raise ValueError(f"expected the path of a folder, or false; found {describe(raw)}")


def _read_log(section: Section) -> LogSettings:
    """Read `log`."""
    if not section.native:
        section.ignore("dns_log", "lookups are not logged")
        section.ignore("mask_address", "addresses are logged in full")
    log = LogSettings(
        level=section.get("level", values.word(LogLevel), LogLevel.WARNING, json=("loglevel",)),
        access=section.get("access", values.text, ""),
        error=section.get("error", values.text, ""),
    )
    return attrs.evolve(log, locations=section.locations())


def _read_policy(section: Section) -> PolicySettings:
    """Read `policy`."""
    levels: dict[int, PolicyLevelSettings] = {}
    listed = section.section("levels")
    for key, entry in [] if listed is None else listed.members():
        level = _read_level(section.report.open(entry.value, entry.where))
        if key.isascii() and key.isdigit() and int(key) <= LEVEL_MAX:
            levels[int(key)] = level
        else:
            section.report.problem(
                entry.location,
                f"{quote(key)} is not a valid user level: "
                f"expected an integer from 0 to {LEVEL_MAX}",
            )
    system = section.section("system")
    return PolicySettings(
        levels=levels, system=SystemPolicySettings() if system is None else _read_system(system)
    )


def _read_level(section: Section) -> PolicyLevelSettings:
    default = PolicyLevelSettings()
    if not section.native:
        section.ignore("stats_user_online", "users who are online are not counted")
    return PolicyLevelSettings(
        handshake=section.get("handshake", values.seconds, default.handshake),
        connection_idle=section.get(
            "connection_idle", values.seconds, default.connection_idle, json=("connIdle",)
        ),
        uplink_only=section.get("uplink_only", values.seconds, default.uplink_only),
        downlink_only=section.get("downlink_only", values.seconds, default.downlink_only),
        buffer_size=section.get("buffer_size", _buffer_size, default.buffer_size),
        stats_user_uplink=section.get("stats_user_uplink", values.flag, False),
        stats_user_downlink=section.get("stats_user_downlink", values.flag, False),
    )


def _buffer_size(raw: Value) -> int | None:
    kib = values.whole(-_BUFFER_KIB_MAX, _BUFFER_KIB_MAX)(raw)
    return None if kib < 0 else kib * 1024


def _read_system(section: Section) -> SystemPolicySettings:
    if not section.native:
        section.ignore(
            "override_access_log_dest", "the access log has the destination that is dialled"
        )
    return SystemPolicySettings(
        stats_inbound_uplink=section.get("stats_inbound_uplink", values.flag, False),
        stats_inbound_downlink=section.get("stats_inbound_downlink", values.flag, False),
        stats_outbound_uplink=section.get("stats_outbound_uplink", values.flag, False),
        stats_outbound_downlink=section.get("stats_outbound_downlink", values.flag, False),
    )


def _read_routing(section: Section) -> RoutingSettings:
    """Read `routing`; in a V2Ray file, everything may also be inside of `settings`."""
    if not section.native:
        section.ignore("domain_matcher", "there is only one way of matching")
        section.get("strategy", values.text, "rules")
        wrapped = section.section("settings")
        if wrapped is not None:
            return _read_routing(wrapped)
    return RoutingSettings(
        domain_strategy=section.get(
            "domain_strategy", values.word(DomainStrategy), DomainStrategy.AS_IS
        ),
        rules=tuple(map(_read_rule, section.sections("rules"))),
        balancers=tuple(map(_read_balancer, section.sections("balancers"))),
    )


def _read_rule(section: Section) -> RuleSettings:
    if not section.native:
        section.ignore("domain_matcher", "there is only one way of matching")
        section.ignore("rule_tag", "rules have no tags")
        section.ignore("id", "rules have no ids")
        section.ignore("enabled", "as in V2Ray, every rule is in force")
        section.ignore("remarks", "remarks are not used")
        section.get("type", _rule_type, "")
    rule = RuleSettings(
        outbound_tag=section.get("outbound_tag", values.text, ""),
        balancer_tag=section.get("balancer_tag", values.text, ""),
        domains=section.many("domains", domain_entry, json=("domain", "domains")),
        ips=section.many("ips", ip_entry, json=("ip",)),
        ports=section.many("ports", _rule_ports, json=("port",)),
        networks=section.many("networks", values.network, json=("network",)),
        sources=section.many("sources", ip_entry, json=("source",)),
        source_ports=section.many("source_ports", _rule_ports, json=("sourcePort",)),
        users=section.many("users", values.filled_text, json=("user",)),
        inbound_tags=section.many("inbound_tags", values.filled_text, json=("inboundTag",)),
        protocols=section.many("protocols", values.filled_text, json=("protocol",)),
        attributes=section.get("attributes", _attributes, "", json=("attrs",)),
    )
    if not {"outbound_tag", "balancer_tag"} & section.locations().keys():
        section.note_missing("outbound_tag", NO_TARGET)
    return attrs.evolve(rule, locations=section.locations())


def _rule_type(raw: Value) -> str:
    name = values.text(raw)
    if name.lower() != "field":
        raise ValueError(f"expected 'field', found {quote(name)}: other types are not supported")
    return name


def _attributes(raw: Value) -> str:
    value = values.text(raw)
    if value:
        # Imported here: few files have such a condition.
        from trio_vmess.routing import parse_attributes

        parse_attributes(value)
    return value


def _rule_ports(raw: Value) -> Range:
    ports = values.remote_ports(raw)
    return ports.first, ports.last


def domain_entry(raw: Value) -> str:
    """Read a condition on domain names: its form is checked, it is kept as it is."""
    value = values.filled_text(raw)
    kind, colon, rest = value.partition(":")
    if not colon:
        return value
    if kind not in _DOMAIN_KINDS:
        raise ValueError(values.unknown("prefix", f"{kind}:", _DOMAIN_KINDS))
    if not rest and kind != "dotless":
        raise ValueError(f"{quote(kind + ':')} must be followed by a value")
    if kind == "regexp":
        check_expression(rest)
    return value


def ip_entry(raw: Value) -> str:
    """Read a condition on addresses: its form is checked, it is kept as it is."""
    value = values.filled_text(raw)
    kind, _, rest = value.partition(":")
    if value == _PRIVATE:
        return value
    if kind in _IP_KINDS:
        if not rest:
            raise ValueError(f"{quote(kind + ':')} must be followed by a value")
        return value
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError(
            f"expected an IP address, a network such as 10.0.0.0/8, 'private', or a geoip: or ext: "
            f"entry, found {quote(value)}"
        ) from None
    return value


def _read_balancer(section: Section) -> BalancerSettings:
    balancer = BalancerSettings(
        tag=section.get(
            "tag", values.filled_text, "", required="the name that rules use for the balancer"
        ),
        selector=section.many("selector", values.filled_text),
        strategy=_read_strategy(section),
        fallback=section.get("fallback", values.text, "", json=("fallbackTag",)),
        probe_interval=section.get("probe_interval", values.seconds, 0.0),
        probe_destination=section.get("probe_destination", _endpoint, None),
    )
    missing = section.missing_location("selector")
    if not balancer.selector and not section.report.has_problem_within(missing.where):
        section.report.problem(
            missing, "'selector' is missing or empty: prefixes of the outbound tags to choose from"
        )
    return attrs.evolve(balancer, locations=section.locations())


def _endpoint(raw: Value) -> tuple[Host, int]:
    """Read `host:port`."""
    return parse_endpoint(values.filled_text(raw))


def _read_strategy(section: Section) -> BalancerStrategy:
    """Read how a balancer chooses: a string in TOML, an object with a `type` in JSON."""
    if section.native:
        return section.get("strategy", _strategy_word, BalancerStrategy.RANDOM)
    strategy = section.section("strategy")
    if strategy is None:
        return BalancerStrategy.RANDOM
    strategy.ignore("settings", "strategies have no settings")
    return strategy.get("type", _strategy_word, BalancerStrategy.RANDOM)


def _read_dns(section: Section) -> DnsSettings:
    """Read `dns`."""
    if not section.native:
        for name in ("query_strategy", "disable_cache", "disable_fallback"):
            section.ignore(name, "the resolver does not support it")
    hosts = section.section("hosts")
    servers = [_read_dns_server(section.report, each) for each in section.entries("servers")]
    return DnsSettings(
        servers=tuple(servers),
        hosts={} if hosts is None else _read_hosts(hosts),
        client_ip=section.get("client_ip", values.ip_address, None),
        tag=section.get("tag", values.text, ""),
    )


def _read_dns_server(report: Report, entry: Entry) -> DnsServerSettings:
    if not isinstance(entry.value.content, Members):
        try:
            return DnsServerSettings(address=_dns_address(entry.value))
        except ValueError as exc:
            report.problem(entry.location, str(exc))
            return DnsServerSettings(address="")
    section = report.open(entry.value, entry.where)
    if not section.native:
        section.ignore("skip_fallback", "servers are always asked in order")
    return DnsServerSettings(
        address=section.get("address", _dns_address, "", required="the address of the DNS server"),
        port=section.get("port", values.port, 53),
        domains=section.many("domains", domain_entry),
        expect_ips=section.many("expect_ips", ip_entry, json=("expectIPs",)),
    )


def _dns_address(raw: Value) -> str:
    if not isinstance(raw.content, str):
        raise ValueError(
            f"expected the address of a DNS server, or an object with one, found {describe(raw)}"
        )
    value = raw.content
    if value.lower() == "fakedns":
        raise ValueError("'fakedns' is not supported; use the address of a DNS server")
    scheme, separator, rest = value.partition("://")
    if separator and rest and scheme.lower() in _DNS_SCHEMES:
        return value
    if value.lower() == "localhost":
        return "localhost"
    try:
        return str(values.ip_address(raw))
    except ValueError:
        raise ValueError(
            f"{quote(value)} is not a valid DNS server: expected an IP address, localhost, "
            "or a URL such as https://dns.example/dns-query"
        ) from None


def _read_hosts(section: Section) -> Mapping[str, tuple[Host, ...]]:
    hosts: dict[str, tuple[Host, ...]] = {}
    for name, entry in section.members():
        listed = entry.value.content if isinstance(entry.value.content, tuple) else (entry.value,)
        try:
            domain_entry(attrs.evolve(entry.value, content=name))
            hosts[name] = tuple(map(values.host, listed))
        except ValueError as exc:
            section.report.problem(entry.location, str(exc))
    return hosts


def read_api_tag(section: Section) -> str:
    """Read `api`: what rules call it; the rest has no effect."""
    section.leave_unread()
    return section.get("tag", values.text, "")
