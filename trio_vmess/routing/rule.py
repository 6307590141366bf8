"""Rules, what they are compared with, and decisions."""

import enum
from collections.abc import Mapping
from typing import Final, Literal, get_args

import attrs

from trio_vmess.core import Destination, Flow, Network
from trio_vmess.routing.ranges import Range

Field = Literal[
    "inbound_tags",
    "users",
    "networks",
    "ports",
    "source_ports",
    "protocols",
    "sources",
    "domains",
    "attributes",
    "ips",
]
"""A condition, by the name of its attribute in `Rule`."""


class DomainStrategy(enum.Enum):
    """When names are resolved for conditions on addresses."""

    AS_IS = "AsIs"
    IP_IF_NON_MATCH = "IPIfNonMatch"
    IP_ON_DEMAND = "IPOnDemand"


@attrs.frozen(kw_only=True)
class Rule:
    """Which outbound takes some connections: all its conditions must hold, of each any entry.

    Attributes:
        outbound_tag: the outbound; empty if `balancer_tag` is set.
        balancer_tag: the balancer that chooses the outbound; empty if `outbound_tag` is set.
        domains: entries as in `trio_vmess.routing.domain`.
        ips: entries as in `trio_vmess.routing.address`.
        ports: first and last, both included.
        networks: TCP, UDP or both.
        sources: like `ips`, for the client's address.
        source_ports: like `ports`, for the client's.
        users: emails, compared exactly.
        inbound_tags: compared exactly.
        protocols: prefixes of the protocols that sniffing finds: http1, tls, quic, bittorrent; or
            of that which the inbound has read: http/1.1.
        attributes: an expression on the request of an HTTP inbound, as in
            `trio_vmess.routing.attributes`; empty for none.
    """

    outbound_tag: str = ""
    balancer_tag: str = ""
    domains: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    ports: tuple[Range, ...] = ()
    networks: tuple[Network, ...] = ()
    sources: tuple[str, ...] = ()
    source_ports: tuple[Range, ...] = ()
    users: tuple[str, ...] = ()
    inbound_tags: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    attributes: str = ""

    @property
    def conditions(self) -> frozenset[str]:
        """The names of the attributes that are conditions, and have an entry."""
        return frozenset(name for name in _CONDITIONS if getattr(self, name))


_CONDITIONS: Final[tuple[str, ...]] = get_args(Field)


@attrs.frozen(kw_only=True)
class RoutingContext:
    """What rules are compared with: the properties of one connection.

    Attributes:
        destination: the requested destination; its network is that of the connection.
        source: the client's address, as `host:port`; empty if it has none.
        inbound_tag: the tag of the inbound; may be empty.
        user: the user's email; may be empty.
        protocol: the protocol that sniffing found; empty for none.
        request_protocol: the protocol that the inbound has read; empty for none.
        attributes: of the request of an HTTP inbound; None for what is no such request.
        domain: the name that sniffing found, compared instead of the destination's; may be empty.
    """

    destination: Destination
    source: str = ""
    inbound_tag: str = ""
    user: str = ""
    protocol: str = ""
    request_protocol: str = ""
    attributes: Mapping[str, str] | None = None
    domain: str = ""

    @classmethod
    def of(cls, flow: Flow) -> "RoutingContext":
        """Return the properties of a flow."""
        return cls(
            destination=flow.destination,
            source=flow.source,
            inbound_tag=flow.inbound_tag,
            user=flow.user.email,
            protocol=flow.sniffed_protocol,
            request_protocol=flow.request_protocol,
            attributes=flow.attributes,
            domain=flow.sniffed_domain,
        )


@attrs.frozen(kw_only=True)
class Decision:
    """Which outbound takes a connection.

    Attributes:
        rule: the index of the rule that matches; None if no rule does. Then both tags are empty,
            and the default outbound takes the connection.
        outbound_tag: the outbound; empty if a balancer chooses it.
        balancer_tag: the balancer; empty if there is none.
    """

    rule: int | None = None
    outbound_tag: str = ""
    balancer_tag: str = ""


class NeedAddresses(enum.Enum):
    """The type of `NEED_ADDRESSES`, for annotations."""

    NEED_ADDRESSES = enum.auto()


NEED_ADDRESSES: Final = NeedAddresses.NEED_ADDRESSES
"""A rule depends on the addresses of the destination's name: resolve it, then decide again."""


@attrs.frozen(kw_only=True)
class Check:
    """The result of one condition of a rule for a connection.

    Attributes:
        field: which condition.
        holds: whether any of its entries holds.
        compared: what the entries were compared with; empty where there was nothing to compare.
    """

    field: Field
    holds: bool
    compared: str


@attrs.frozen(kw_only=True)
class Verdict:
    """The result of one rule for a connection.

    Attributes:
        rule: its index.
        checks: the results of all its conditions.
    """

    rule: int
    checks: tuple[Check, ...]

    @property
    def matches(self) -> bool:
        """Whether all conditions hold."""
        return all(check.holds for check in self.checks)


@attrs.frozen(kw_only=True)
class Explanation:
    """A decision, and the results of all rules.

    Attributes:
        decision: as `Router.decide` returns it.
        verdicts: of all rules, in order, also of those after the first that matches.
    """

    decision: Decision | Literal[NeedAddresses.NEED_ADDRESSES]
    verdicts: tuple[Verdict, ...]
