"""Builds a router, balancers and probes from routing settings."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from trio_vmess import dispatch, routing
from trio_vmess.config import Config, Location
from trio_vmess.contracts import Outbound, ResolveFor
from trio_vmess.core import Destination, Entropy, Host, parse_host
from trio_vmess.dispatch import Choose
from trio_vmess.errors import ConfigProblem

if TYPE_CHECKING:
    from trio_vmess.dispatch import Probe
    from trio_vmess.routing import Load, Router

_PROBE_TARGET: Final[tuple[Host, int]] = (parse_host("192.0.2.1"), 443)
"""An RFC 5737 address. A VMess outbound is only dialled by a probe, so it never sends this."""


def make_router(config: Config, load: "Load") -> "Router":
    """Build the rules of a configuration.

    Args:
        config: only its `routing` is used, and its file name in messages.
        load: loads `geoip.dat` and other data files.

    Raises:
        ConfigError: with all rules that cannot be used, and their lines.
    """
    settings = config.routing

    def locate(index: int, field: str, message: str) -> ConfigProblem:
        path = Location(f"{rule_name(index)}.{field}")
        location = settings.rules[index].locations.get(field, path)
        return location.problem(message, file=config.file)

    return routing.Router(
        settings.rules,
        load=load,
        strategy=settings.domain_strategy,
        balancers=[each.tag for each in settings.balancers],
        locate=locate,
    )


def make_choice(
    config: Config,
    outbounds: Sequence[Outbound],
    *,
    load: "Load",
    resolve_for: ResolveFor,
    running: Callable[[], Iterable[str]],
    entropy: Entropy,
) -> Choose:
    """Build the function that chooses the outbound of each flow.

    Args:
        config: only its `routing` is used.
        outbounds: in the order of the configuration.
        load: loads `geoip.dat` and other data files.
        resolve_for: returns what resolves names for rules on addresses, for a flow.
        running: returns the outbound tags of all open connections.
        entropy: used by random balancers.

    Raises:
        ConfigError: as `make_router`.
    """
    if not config.routing.rules:
        return dispatch.FirstOutbound(outbounds)
    health = routing.Health()
    tags = [outbound.tag for outbound in outbounds]
    balancers = {
        each.tag: routing.Balancer(
            tag=each.tag,
            selector=each.selector,
            outbound_tags=tags,
            health=health,
            entropy=entropy,
            strategy=each.strategy,
            fallback=each.fallback,
        )
        for each in config.routing.balancers
    }
    return dispatch.Selection(
        outbounds=outbounds,
        router=make_router(config, load),
        balancers=balancers,
        health=health,
        resolve_for=resolve_for,
        running=running,
        default_tags=default_tags_of(config),
    )


def default_tags_of(config: Config) -> Collection[str]:
    """Return the outbound tags of rules that mean the first outbound, because no other has them.

    That of V2Ray's control API is not among them: what is meant for it reaches nothing else.
    """
    if not config.routing.is_lenient:
        return ()
    known = {outbound.tag for outbound in config.outbounds}
    if config.api is not None:
        known.add(config.api.tag)
    return {rule.outbound_tag for rule in config.routing.rules} - known - {""}


def probes_of(config: Config) -> Sequence["Probe"]:
    """Return a probe for each balancer that has a probe interval."""
    probes: list[Probe] = []
    for each in config.routing.balancers:
        if each.probe_interval:
            host, port = each.probe_destination or _PROBE_TARGET
            probes.append(
                dispatch.Probe(
                    balancer_tag=each.tag,
                    interval=each.probe_interval,
                    destination=Destination(host=host, port=port),
                )
            )
    return probes


def rule_name(index: int) -> str:
    """Return the name of a rule in messages."""
    return f"routing.rules[{index}]"
