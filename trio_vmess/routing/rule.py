"""What a rule says, what it is asked, and what comes out."""

import enum
from typing import Final, Literal

import attrs

from trio_vmess.core import Destination, Flow, Network
from trio_vmess.routing.ranges import Range


class DomainStrategy(enum.Enum):
    """When a name is resolved, so that rules on addresses can see where it leads."""

    AS_IS = "AsIs"
    IP_IF_NON_MATCH = "IPIfNonMatch"
    IP_ON_DEMAND = "IPOnDemand"


@attrs.frozen(kw_only=True)
class Rule:
    """Where some connections go: all conditions that are given must hold, of each any entry.

    Attributes:
        outbound_tag: where they go; empty if `balancer_tag` says it.
        balancer_tag: which balancer chooses; empty if `outbound_tag` says it.
        domains: entries as in `trio_vmess.routing.domain`.
        ips: entries as in `trio_vmess.routing.address`.
        ports: first and last, both included.
        networks: TCP, UDP or both.
        sources: like `ips`, for the client's address.
        source_ports: like `ports`, for the client's.
        users: emails, compared exactly.
        inbound_tags: compared exactly.
        protocols: beginnings of the names that sniffing finds: http1, tls, quic, bittorrent.
        attributes: V2Ray's expression on the headers of an HTTP request. There is no interpreter
            for it here: a router is not built from a rule that has one.
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


@attrs.frozen(kw_only=True)
class RoutingContext:
    """What rules are asked about one connection.

    Attributes:
        destination: where it is to go; its network is the connection's.
        source: where the client is, as `host:port`; empty where it has no address.
        inbound_tag: the inbound's name; may be empty.
        user: the user's email; may be empty.
        protocol: what sniffing found; empty for nothing.
        domain: the name that sniffing found, compared instead of the destination's; may be empty.
    """

    destination: Destination
    source: str = ""
    inbound_tag: str = ""
    user: str = ""
    protocol: str = ""
    domain: str = ""

    @classmethod
    def of(cls, flow: Flow) -> "RoutingContext":
        """Take from a flow what rules ask about."""
        return cls(
            destination=flow.destination,
            source=flow.source,
            inbound_tag=flow.inbound_tag,
            user=flow.user.email,
            protocol=flow.sniffed_protocol,
            domain=flow.sniffed_domain,
        )


@attrs.frozen(kw_only=True)
class Decision:
    """Where a connection goes.

    Attributes:
        rule: the index of the rule that says so; None if no rule wants it. Then both tags are
            empty, and it takes the default outbound.
        outbound_tag: where it goes; empty if a balancer chooses.
        balancer_tag: which balancer chooses.
    """

    rule: int | None = None
    outbound_tag: str = ""
    balancer_tag: str = ""


class NeedAddresses(enum.Enum):
    """The type of `NEED_ADDRESSES`, for annotations."""

    NEED_ADDRESSES = enum.auto()


NEED_ADDRESSES: Final = NeedAddresses.NEED_ADDRESSES
"""Resolve the destination's name, then ask again: a rule wants to see where it leads."""

Field = Literal[
    "inbound_tags",
    "users",
    "networks",
    "ports",
    "source_ports",
    "protocols",
    "sources",
    "domains",
    "ips",
]
"""A condition, by the name of its attribute in `Rule`."""


@attrs.frozen(kw_only=True)
class Check:
    """One condition of a rule, held against a connection.

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
    """What one rule says about a connection.

    Attributes:
        rule: its index.
        checks: its conditions, all of them.
    """

    rule: int
    checks: tuple[Check, ...]

    @property
    def matches(self) -> bool:
        """Whether all conditions hold."""
        return all(check.holds for check in self.checks)


@attrs.frozen(kw_only=True)
class Explanation:
    """A decision, and what each rule had to say.

    Attributes:
        decision: as `Router.decide` returns it.
        verdicts: of all rules, in their order, also of those that come too late.
    """

    decision: Decision | Literal[NeedAddresses.NEED_ADDRESSES]
    verdicts: tuple[Verdict, ...]
