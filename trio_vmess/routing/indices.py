"""One index for each kind of condition, over all rules; `trio_vmess.routing.router` tells how.

A rule is a bit. Each index takes the bits of the rules that can still match, and returns those that
still can after its conditions have been checked.
"""

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from trio_vmess.core import Host, Network, parse_endpoint
from trio_vmess.errors import ConfigProblem
from trio_vmess.routing.address import AddressIndex, parse_address_entry
from trio_vmess.routing.domain import DomainIndex, parse_domain_entry
from trio_vmess.routing.geo import GeoFiles
from trio_vmess.routing.ranges import Range, RangeIndex
from trio_vmess.routing.rule import Field, RoutingContext, Rule

if TYPE_CHECKING:
    from trio_vmess.routing.attributes import Condition

_T = TypeVar("_T")
_K = TypeVar("_K", bound=Hashable)

Locate = Callable[[int, str, str], ConfigProblem]
"""Makes a problem from a rule's index, the name of one of its attributes, and a message."""

Probe = Callable[[RoutingContext, int], int]
"""Takes the bits of the rules that can still match, and returns those that still can."""

_ENTRIES: Final[Mapping[Field, Callable[[Rule], Sequence[object]]]] = {
    "inbound_tags": lambda rule: rule.inbound_tags,
    "users": lambda rule: rule.users,
    "networks": lambda rule: rule.networks,
    "ports": lambda rule: rule.ports,
    "source_ports": lambda rule: rule.source_ports,
    "protocols": lambda rule: rule.protocols,
    "sources": lambda rule: rule.sources,
    "domains": lambda rule: rule.domains,
    "attributes": lambda rule: rule.attributes,
    "ips": lambda rule: rule.ips,
}


def has_condition(rule: Rule, field: Field) -> bool:
    """Return whether a rule has a condition of a kind."""
    return bool(_ENTRIES[field](rule))


def name_of(context: RoutingContext) -> str:
    """Return the name that rules compare; empty if the destination is only an address."""
    if context.domain:
        return context.domain
    host = context.destination.host
    return host if isinstance(host, str) else ""


def source_of(context: RoutingContext) -> tuple[Host | None, int | None]:
    """Return the client's host and port; None if it has none, as on a Unix socket."""
    if not context.source:
        return None, None
    try:
        return parse_endpoint(context.source)
    except ValueError:
        return None, None


class Builder:
    """Builds the indices, and collects the problems of the rules.

    Args:
        rules: in order.
        geo: provides the lists.
        locate: adds the location of a rule in the configuration to a message.
    """

    def __init__(self, rules: Sequence[Rule], geo: GeoFiles, locate: Locate) -> None:
        self._rules = rules
        self._geo = geo
        self._locate = locate
        self._problems: list[tuple[int, ConfigProblem]] = []

    @property
    def problems(self) -> list[ConfigProblem]:
        """The problems found so far, in the order of the rules."""
        return [problem for _, problem in sorted(self._problems, key=lambda pair: pair[0])]

    def check_targets(self, balancers: Collection[str]) -> None:
        """Find rules without a valid target."""
        for index, rule in enumerate(self._rules):
            if bool(rule.balancer_tag) == bool(rule.outbound_tag):
                self._report(index, "outbound_tag", "a rule has either an outbound or a balancer")
            elif rule.balancer_tag and rule.balancer_tag not in balancers:
                self._report(
                    index, "balancer_tag", f"no balancer has the tag '{rule.balancer_tag}'"
                )

    def without(self, field: Field) -> int:
        """Return the bits of the rules that have no condition of a kind."""
        return sum(
            1 << index for index, rule in enumerate(self._rules) if not has_condition(rule, field)
        )

    def make_probes(self) -> Iterator[tuple[Field, Probe]]:
        """Yield the conditions that any rule has, the cheapest first.

        Conditions on the destination's address are not among them: they may need a resolver.
        """
        if tags := self._marks(lambda rule: rule.inbound_tags):
            yield "inbound_tags", _probe_inbound_tag(tags, self.without("inbound_tags"))
        if users := self._marks(lambda rule: rule.users):
            yield "users", _probe_user(users, self.without("users"))
        if networks := self._marks(lambda rule: rule.networks):
            yield "networks", _probe_network(networks, self.without("networks"))
        if ports := self._ranges(lambda rule: rule.ports):
            yield "ports", _probe_port(RangeIndex(ports), self.without("ports"))
        if protocols := self._marks(lambda rule: rule.protocols):
            yield "protocols", _probe_protocol(protocols, self.without("protocols"))
        if ports := self._ranges(lambda rule: rule.source_ports):
            yield (
                "source_ports",
                _probe_source_port(RangeIndex(ports), self.without("source_ports")),
            )
        if sources := self._parse("sources", lambda rule: rule.sources, parse_address_entry):
            yield "sources", _probe_source(AddressIndex(sources), self.without("sources"))
        if domains := self._parse("domains", lambda rule: rule.domains, parse_domain_entry):
            marked = {
                mark: [site for part in parts for site in part] for mark, parts in domains.items()
            }
            yield "domains", _probe_domain(DomainIndex(marked), self.without("domains"))
        if attributes := self._read_attributes():
            yield "attributes", _probe_attributes(attributes, self.without("attributes"))

    def make_addresses(self) -> AddressIndex | None:
        """Return the index of conditions on the destination's address; None if no rule has one."""
        parsed = self._parse("ips", lambda rule: rule.ips, parse_address_entry)
        return AddressIndex(parsed) if parsed else None

    def _marks(self, entries: Callable[[Rule], Sequence[_K]]) -> dict[_K, int]:
        marks: dict[_K, int] = {}
        for index, rule in enumerate(self._rules):
            for entry in entries(rule):
                marks[entry] = marks.get(entry, 0) | 1 << index
        return marks

    def _ranges(self, entries: Callable[[Rule], Sequence[Range]]) -> dict[int, Sequence[Range]]:
        return {
            1 << index: entries(rule) for index, rule in enumerate(self._rules) if entries(rule)
        }

    def _parse(
        self,
        field: Literal["domains", "ips", "sources"],
        entries: Callable[[Rule], Sequence[str]],
        parse: Callable[[str, GeoFiles], _T],
    ) -> dict[int, list[_T]]:
        parsed: dict[int, list[_T]] = {}
        for index, rule in enumerate(self._rules):
            for entry in entries(rule):
                results = parsed.setdefault(1 << index, [])
                try:
                    results.append(parse(entry, self._geo))
                except ValueError as exc:
                    self._report(index, field, str(exc))
        return parsed

    def _read_attributes(self) -> list[tuple[int, "Condition"]]:
        found: list[tuple[int, Condition]] = []
        for index, rule in enumerate(self._rules):
            if rule.attributes:
                # Imported here: few configurations have such a condition.
                from trio_vmess.routing.attributes import parse_attributes

                try:
                    found.append((1 << index, parse_attributes(rule.attributes)))
                except ValueError as exc:
                    self._report(index, "attributes", str(exc))
        return found

    def _report(self, rule: int, field: str, message: str) -> None:
        self._problems.append((rule, self._locate(rule, field, message)))


# Probes ------------------------------------------------------------------------------------------
#
# `without` has the bits of the rules that have no condition of a kind: these can always match.


def _probe_inbound_tag(marks: Mapping[str, int], without: int) -> Probe:
    answers = {tag: mark | without for tag, mark in marks.items() if tag}
    return lambda context, alive: alive & answers.get(context.inbound_tag, without)


def _probe_user(marks: Mapping[str, int], without: int) -> Probe:
    answers = {user: mark | without for user, mark in marks.items() if user}
    return lambda context, alive: alive & answers.get(context.user, without)


def _probe_network(marks: Mapping[Network, int], without: int) -> Probe:
    tcp = marks.get(Network.TCP, 0) | without
    udp = marks.get(Network.UDP, 0) | without
    return lambda context, alive: (
        alive & (tcp if context.destination.network is Network.TCP else udp)
    )


def _probe_port(index: RangeIndex, without: int) -> Probe:
    return lambda context, alive: alive & (without | index.find(context.destination.port))


def _probe_protocol(marks: Mapping[str, int], without: int) -> Probe:
    prefixes = [(prefix, mark) for prefix, mark in marks.items() if prefix]

    def probe(context: RoutingContext, alive: int) -> int:
        answer = without
        for protocol in (context.protocol, context.request_protocol):
            if protocol:
                for prefix, mark in prefixes:
                    if protocol.startswith(prefix):
                        answer |= mark
        return alive & answer

    return probe


def _probe_source_port(index: RangeIndex, without: int) -> Probe:
    def probe(context: RoutingContext, alive: int) -> int:
        if not alive & ~without:
            return alive
        _, port = source_of(context)
        return alive & (without if port is None else without | index.find(port))

    return probe


def _probe_source(index: AddressIndex, without: int) -> Probe:
    def probe(context: RoutingContext, alive: int) -> int:
        if not alive & ~without:
            return alive
        host, _ = source_of(context)
        if host is None or isinstance(host, str):
            return alive & without
        return alive & (without | index.find(host))

    return probe


def _probe_attributes(marked: Sequence[tuple[int, "Condition"]], without: int) -> Probe:
    def probe(context: RoutingContext, alive: int) -> int:
        attributes, answer = context.attributes, without
        if attributes is not None:
            for mark, holds in marked:
                if alive & mark and holds(attributes):
                    answer |= mark
        return alive & answer

    return probe


def _probe_domain(index: DomainIndex, without: int) -> Probe:
    def probe(context: RoutingContext, alive: int) -> int:
        wanted = alive & ~without
        if not wanted:
            return alive
        name = name_of(context)
        return alive & (without | index.find(name, wanted)) if name else alive & without

    return probe
