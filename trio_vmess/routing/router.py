"""Decide which outbound takes a connection: the first rule of which all conditions hold.

Rules are not tried one after the other. Each rule has a bit, and each kind of condition is one
index over all rules: one lookup returns the bits of the rules whose condition holds, and of the
rules that have no such condition. The bits that remain after all kinds are the rules that match,
and the lowest bit is the first rule. So a decision costs the same for ten rules as for a thousand,
and the same for ten names as for a hundred thousand.

Conditions on addresses come last. If the destination is a name, its addresses are not known at
first; depending on the strategy, `decide` then asks for them with `NEED_ADDRESSES`:

- `AsIs`: never.
- `IPIfNonMatch`: if no other rule matches, but one might, depending on the addresses.
- `IPOnDemand`: if a rule that might match, depending on the addresses, comes before the first rule
  that matches anyway.

A name that cannot be resolved has no addresses: conditions on addresses do not hold for it.

Source:
    v2ray-core, app/router/router.go, pickRouteInternal; app/router/condition.go.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Literal

from trio_vmess.core import IPAddress
from trio_vmess.errors import ConfigError, ConfigProblem
from trio_vmess.routing.geo import GeoFiles, Load
from trio_vmess.routing.indices import Builder, Locate, has_condition, name_of, source_of
from trio_vmess.routing.rule import (
    NEED_ADDRESSES,
    Check,
    Decision,
    DomainStrategy,
    Explanation,
    Field,
    NeedAddresses,
    RoutingContext,
    Rule,
    Verdict,
)

_DEFAULT: Final = Decision()


def locate_by_index(rule: int, field: str, message: str) -> ConfigProblem:
    """Name a rule by its index: `routing.rules[3].domains`."""
    return ConfigProblem(where=f"routing.rules[{rule}].{field}", message=message)


class Router:
    """The rules of a node, compiled.

    Args:
        rules: the first that matches decides.
        strategy: when names are resolved for conditions on addresses.
        balancers: the tags that rules may use.
        load: reads `geoip.dat` and similar files. It is called here only, and only for files that
            rules use.
        locate: adds the location of a rule in the configuration to a message.

    Raises:
        ConfigError: rules are not valid, or use what does not exist; with all problems.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        load: Load,
        strategy: DomainStrategy = DomainStrategy.AS_IS,
        balancers: Collection[str] = (),
        locate: Locate = locate_by_index,
    ) -> None:
        builder = Builder(rules, GeoFiles(load), locate)
        builder.check_targets(balancers)
        self._rules = tuple(rules)
        self._strategy = strategy
        self._every = (1 << len(rules)) - 1
        self._probes = tuple(builder.make_probes())
        self._addresses = builder.make_addresses()
        self._without_ips = builder.without("ips")
        if builder.problems:
            raise ConfigError(*builder.problems)
        self._decisions = tuple(
            Decision(rule=index, outbound_tag=rule.outbound_tag, balancer_tag=rule.balancer_tag)
            for index, rule in enumerate(rules)
        )

    def decide(
        self, context: RoutingContext, addresses: Collection[IPAddress] | None = None
    ) -> Decision | Literal[NeedAddresses.NEED_ADDRESSES]:
        """Find the first rule that matches.

        Args:
            context: the connection.
            addresses: those of the destination's name, empty if it cannot be resolved. None while
                they are not known; then the result can be `NEED_ADDRESSES`.
        """
        alive = self._every
        for _, probe in self._probes:
            alive = probe(context, alive)
            if not alive:
                return _DEFAULT
        if self._addresses is not None:
            host = context.destination.host
            if not isinstance(host, str):
                alive &= self._without_ips | self._addresses.find(host)
            else:
                matching = self._match_name(alive, addresses)
                if matching is None:
                    return NEED_ADDRESSES
                alive = matching
        if not alive:
            return _DEFAULT
        return self._decisions[(alive & -alive).bit_length() - 1]

    def explain(
        self, context: RoutingContext, addresses: Collection[IPAddress] | None = None
    ) -> Explanation:
        """Check each condition of each rule for a connection.

        Args:
            context: the connection.
            addresses: see `decide`.
        """
        held: dict[Field, int] = {
            field: probe(context, self._every) for field, probe in self._probes
        }
        host = context.destination.host
        seen = (addresses or ()) if isinstance(host, str) else (host,)
        held["ips"] = self._without_ips | self._find_addresses(seen)
        compared = _compared(context, seen)
        return Explanation(
            decision=self.decide(context, addresses),
            verdicts=tuple(
                Verdict(
                    rule=index,
                    checks=tuple(
                        Check(field=field, holds=bool(bits >> index & 1), compared=compared[field])
                        for field, bits in held.items()
                        if has_condition(rule, field)
                    ),
                )
                for index, rule in enumerate(self._rules)
            ),
        )

    def _match_name(self, alive: int, addresses: Collection[IPAddress] | None) -> int | None:
        """Return the rules that match a name; None if its addresses are needed for that."""
        certain = alive & self._without_ips
        open_ = alive & ~self._without_ips
        if not open_ or self._strategy is DomainStrategy.AS_IS:
            return certain
        if certain:
            # V2Ray's first pass knows no addresses: a rule that matches in it is final.
            if self._strategy is DomainStrategy.IP_IF_NON_MATCH:
                return certain
            if certain & -certain < open_ & -open_:
                return certain
        if addresses is None:
            return None
        return certain | open_ & self._find_addresses(addresses)

    def _find_addresses(self, addresses: Iterable[IPAddress]) -> int:
        found = 0
        if self._addresses is not None:
            for address in addresses:
                found |= self._addresses.find(address)
        return found


def _compared(context: RoutingContext, addresses: Iterable[IPAddress]) -> Mapping[Field, str]:
    """Return what each kind of condition is compared with, as text."""
    destination = context.destination
    host, port = source_of(context)
    return {
        "inbound_tags": context.inbound_tag,
        "users": context.user,
        "networks": str(destination.network),
        "ports": str(destination.port),
        "source_ports": "" if port is None else str(port),
        "protocols": ", ".join(filter(None, (context.request_protocol, context.protocol))),
        "sources": "" if host is None else str(host),
        "domains": name_of(context),
        "attributes": " ".join(
            (context.attributes or {}).get(key, "") for key in (":method", ":path")
        ).strip(),
        "ips": ", ".join(map(str, addresses)),
    }
