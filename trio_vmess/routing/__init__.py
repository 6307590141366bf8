"""Routing: which outbound takes a connection.

`Router` decides by the first rule that matches; `Balancer` chooses if a rule names several
outbounds. Nothing here waits, resolves, reads a clock or opens a file: addresses and `now` are
arguments, and a function provides data files.
"""

from typing import TYPE_CHECKING

from trio_vmess.lazy import lazy_names

if TYPE_CHECKING:
    from trio_vmess.routing.address import PRIVATE_NETWORKS, AddressMatcher
    from trio_vmess.routing.attributes import parse_attributes
    from trio_vmess.routing.balancer import Balancer, BalancerStrategy
    from trio_vmess.routing.domain import DomainIndex, DomainMatcher, parse_domain_entry
    from trio_vmess.routing.expressions import check_expression
    from trio_vmess.routing.geo import GEOIP_FILE, GEOSITE_FILE, GeoFiles, Load
    from trio_vmess.routing.health import Health, HealthPolicy
    from trio_vmess.routing.indices import Locate
    from trio_vmess.routing.ranges import Range
    from trio_vmess.routing.router import Router, locate_by_index
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
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "address": ("PRIVATE_NETWORKS", "AddressMatcher"),
            "attributes": ("parse_attributes",),
            "balancer": ("Balancer", "BalancerStrategy"),
            "domain": ("DomainIndex", "DomainMatcher", "parse_domain_entry"),
            "expressions": ("check_expression",),
            "geo": ("GEOIP_FILE", "GEOSITE_FILE", "GeoFiles", "Load"),
            "health": ("Health", "HealthPolicy"),
            "indices": ("Locate",),
            "ranges": ("Range",),
            "router": ("Router", "locate_by_index"),
            "rule": (
                "NEED_ADDRESSES",
                "Check",
                "Decision",
                "DomainStrategy",
                "Explanation",
                "Field",
                "NeedAddresses",
                "RoutingContext",
                "Rule",
                "Verdict",
            ),
        },
    )

__all__ = [
    "GEOIP_FILE",
    "GEOSITE_FILE",
    "NEED_ADDRESSES",
    "PRIVATE_NETWORKS",
    "AddressMatcher",
    "Balancer",
    "BalancerStrategy",
    "Check",
    "Decision",
    "DomainIndex",
    "DomainMatcher",
    "DomainStrategy",
    "Explanation",
    "Field",
    "GeoFiles",
    "Health",
    "HealthPolicy",
    "Load",
    "Locate",
    "NeedAddresses",
    "Range",
    "Router",
    "RoutingContext",
    "Rule",
    "Verdict",
    "check_expression",
    "locate_by_index",
    "parse_attributes",
    "parse_domain_entry",
]
