"""The settings of a node, as frozen values that both file formats are read into.

A field's name is its key in TOML, without `is_`; the V2Ray JSON name is the same in camelCase
unless the readers say otherwise. Durations are float seconds and sizes are bytes, whatever unit the
file's key has. Ids and passwords are kept out of every `repr`.

Settings that later checks may complain about have `locations`: where in the file each of their keys
is. It is not compared, and is empty for settings that were built in Python.
"""

from collections.abc import Mapping
from typing import Final

import attrs

from trio_vmess.config.endpoints import InboundSettings, OutboundSettings
from trio_vmess.config.enums import LogLevel
from trio_vmess.config.location import Location, Locations
from trio_vmess.core import Host, IPAddress, Policy
from trio_vmess.errors import ConfigProblem
from trio_vmess.routing import BalancerStrategy, DomainStrategy, Rule


@attrs.frozen(kw_only=True)
class LogSettings:
    """Where the logs go.

    Attributes:
        level: the least severe events that the error log holds.
        access: a path; `none` for no access log; empty for stdout.
        error: a path; `none` for no error log; empty for stderr.
    """

    level: LogLevel = LogLevel.WARNING
    access: str = ""
    error: str = ""
    locations: Locations = attrs.field(factory=dict[str, Location], eq=False, repr=False)


@attrs.frozen(kw_only=True)
class PolicyLevelSettings(Policy):
    """The limits of the users of one level, and whether their traffic is counted.

    Files give `buffer_size` in KiB.
    """

    stats_user_uplink: bool = False
    stats_user_downlink: bool = False


_DEFAULT_LEVEL: Final = PolicyLevelSettings()


@attrs.frozen(kw_only=True)
class SystemPolicySettings:
    """Whether the traffic of inbounds and outbounds is counted."""

    stats_inbound_uplink: bool = False
    stats_inbound_downlink: bool = False
    stats_outbound_uplink: bool = False
    stats_outbound_downlink: bool = False


@attrs.frozen(kw_only=True)
class PolicySettings:
    """Limits by user level; levels that are not listed have the defaults."""

    levels: Mapping[int, PolicyLevelSettings] = attrs.field(factory=dict[int, PolicyLevelSettings])
    system: SystemPolicySettings = SystemPolicySettings()

    def level(self, number: int) -> PolicyLevelSettings:
        """Return the limits of a level."""
        return self.levels.get(number, _DEFAULT_LEVEL)


@attrs.frozen(kw_only=True)
class RuleSettings(Rule):
    """A routing rule, and where the file has its conditions."""

    locations: Locations = attrs.field(factory=dict[str, Location], eq=False, repr=False)


@attrs.frozen(kw_only=True)
class BalancerSettings:
    """A choice among the outbounds whose tags start with an entry of `selector`.

    Attributes:
        strategy: how one of the healthy ones is chosen.
        fallback: tag of the outbound that is taken when none is healthy; empty for none.
        probe_interval: seconds between two probes of all of them; with 0 there are none, and only
            connections find out which outbounds fail.
        probe_destination: what a probe connects to, where the outbound has to name something.
    """

    tag: str
    selector: tuple[str, ...]
    strategy: BalancerStrategy = BalancerStrategy.RANDOM
    fallback: str = ""
    probe_interval: float = 0.0
    probe_destination: tuple[Host, int] | None = None
    locations: Locations = attrs.field(factory=dict[str, Location], eq=False, repr=False)


@attrs.frozen(kw_only=True)
class RoutingSettings:
    """Which connection takes which outbound; the first matching rule decides.

    Attributes:
        is_lenient: tags that nothing has are no mistakes, as in V2Ray: a rule for an inbound that
            does not exist matches nothing, and an outbound that does not exist is the first one.
            This is not compared.
    """

    domain_strategy: DomainStrategy = DomainStrategy.AS_IS
    rules: tuple[RuleSettings, ...] = ()
    balancers: tuple[BalancerSettings, ...] = ()
    is_lenient: bool = attrs.field(default=False, eq=False)


@attrs.frozen(kw_only=True)
class DnsServerSettings:
    """A DNS server.

    Attributes:
        address: an IP address, `localhost` for the system's resolver, or a URL.
        port: where it listens, unless the address is a URL.
        domains: names for which this server is asked first; entries as in routing rules.
        expect_ips: addresses outside of these are dropped; entries as in routing rules.
    """

    address: str
    port: int = 53
    domains: tuple[str, ...] = ()
    expect_ips: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class DnsSettings:
    """How names are resolved.

    Attributes:
        servers: asked in turn; none means the system's resolver.
        hosts: fixed answers: a name (or an entry as in routing rules) with its addresses, or with
            one name that is resolved instead.
        client_ip: the client address that is sent to servers (EDNS client subnet).
        tag: the inbound tag of the resolver's own connections, for routing rules.
    """

    servers: tuple[DnsServerSettings, ...] = ()
    hosts: Mapping[str, tuple[Host, ...]] = attrs.field(factory=dict[str, tuple[Host, ...]])
    client_ip: IPAddress | None = None
    tag: str = ""


@attrs.frozen(kw_only=True)
class ApiSettings:
    """V2Ray's control API: not supported, but rules may name its tags.

    Attributes:
        tag: what rules have as its outbound; what they lead there is refused.
        inbound_tags: its inbounds, which are not opened.
    """

    tag: str
    inbound_tags: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Config:
    """The complete configuration of a node.

    Attributes:
        log: by default, there is no access log.
        outbounds: the first one is the default.
        stats: count traffic, as far as the policy asks for it.
        control: path of the control socket; empty for a path that the node chooses, which it opens
            only if traffic is counted.
        state: the folder for what is to outlive the node; empty for the usual place, None for
            nothing outliving it.
        api: None unless a V2Ray file has it.
        warnings: settings without effect, and what is probably a mistake.
        file: the name of the file; empty if it was not read from one.
    """

    log: LogSettings = LogSettings(access="none")
    inbounds: tuple[InboundSettings, ...] = ()
    outbounds: tuple[OutboundSettings, ...] = ()
    policy: PolicySettings = attrs.field(factory=PolicySettings)
    routing: RoutingSettings = RoutingSettings()
    dns: DnsSettings = attrs.field(factory=DnsSettings)
    stats: bool = False
    control: str = ""
    state: str | None = ""
    api: ApiSettings | None = None
    warnings: tuple[ConfigProblem, ...] = attrs.field(default=(), eq=False)
    file: str = attrs.field(default="", eq=False)
