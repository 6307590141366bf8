"""From routing settings to a router, and to the choice of an outbound for each flow."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from trio_vmess.config import Config, Location
from trio_vmess.contracts import Outbound, Resolve
from trio_vmess.core import Destination, Entropy, Host, parse_host
from trio_vmess.dispatch import Choose, FirstOutbound, Probe, Selection
from trio_vmess.errors import ConfigProblem
from trio_vmess.routing import (
    Balancer,
    Health,
    Load,
    Router,
)

_NOBODY: Final[tuple[Host, int]] = (parse_host("192.0.2.1"), 443)
"""An address of RFC 5737: a VMess outbound never names it, for it dials its server and no more."""


def make_router(config: Config, load: Load) -> Router:
    """Build the rules of a configuration.

    Args:
        config: its `routing` is read; its file is for messages.
        load: where `geoip.dat` and its kind come from.

    Raises:
        ConfigError: with all rules that cannot be used, and where they are.
    """
    settings = config.routing

    def locate(index: int, field: str, message: str) -> ConfigProblem:
        path = Location(f"{rule_name(index)}.{field}")
        location = settings.rules[index].locations.get(field, path)
        return location.problem(message, file=config.file)

    return Router(
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
    load: Load,
    resolve: Resolve,
    running: Callable[[], Iterable[str]],
    entropy: Entropy,
) -> Choose:
    """Build what names the outbound of each flow.

    Args:
        config: its `routing` is read.
        outbounds: in the order of the configuration.
        load: where `geoip.dat` and its kind come from.
        resolve: finds addresses for rules on them.
        running: the outbound tags of the connections that run now.
        entropy: what random balancers draw from.

    Raises:
        ConfigError: as `make_router`.
    """
    if not config.routing.rules:
        return FirstOutbound(outbounds)
    health = Health()
    tags = [outbound.tag for outbound in outbounds]
    balancers = {
        each.tag: Balancer(
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
    return Selection(
        outbounds=outbounds,
        router=make_router(config, load),
        balancers=balancers,
        health=health,
        resolve=resolve,
        running=running,
    )


def probes_of(config: Config) -> Sequence[Probe]:
    """Return which balancers want their outbounds tried."""
    probes: list[Probe] = []
    for each in config.routing.balancers:
        if each.probe_interval:
            host, port = each.probe_destination or _NOBODY
            probes.append(
                Probe(
                    balancer_tag=each.tag,
                    interval=each.probe_interval,
                    destination=Destination(host=host, port=port),
                )
            )
    return probes


def rule_name(index: int) -> str:
    """Return what messages call a rule."""
    return f"routing.rules[{index}]"
