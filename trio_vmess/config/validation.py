"""Checks across settings: references, duplicates, port conflicts, and what a role needs.

They work on the model, so also on settings that were built in Python; the key paths in messages
then consist of the model's own names.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from trio_vmess.config.chain_checks import find_chain_problems, find_chain_warnings
from trio_vmess.config.endpoints import (
    DokodemoInboundSettings,
    HttpInboundSettings,
    InboundSettings,
    MixedInboundSettings,
    OutboundSettings,
    SocksInboundSettings,
    VMessInboundSettings,
    VMessOutboundSettings,
)
from trio_vmess.config.enums import AllocateStrategy
from trio_vmess.config.exposure import find_exposures
from trio_vmess.config.location import Finding, Location, locate
from trio_vmess.config.model import Config
from trio_vmess.config.port_conflicts import find_port_conflicts
from trio_vmess.config.references import dangling, duplicates, on_line
from trio_vmess.config.routing_checks import find_routing_problems, find_routing_warnings
from trio_vmess.config.stream_checks import find_stream_problems, find_stream_warnings
from trio_vmess.config.transports import UnixSocket
from trio_vmess.config.tree import quote
from trio_vmess.errors import ConfigError, ConfigProblem

__all__ = [
    "Finding",
    "Role",
    "check_role",
    "find_problems",
    "find_warnings",
    "validate",
]

Role = Literal["server", "client"]

_LOCAL_INBOUNDS: Final = (
    SocksInboundSettings,
    HttpInboundSettings,
    MixedInboundSettings,
    DokodemoInboundSettings,
)


def validate(config: Config) -> tuple[ConfigProblem, ...]:
    """Check a configuration that was built in Python.

    Returns:
        Warnings.

    Raises:
        ConfigError: with all problems.
    """
    problems = [_to_problem(config, finding) for finding in find_problems(config)]
    if problems:
        raise ConfigError(*problems)
    return tuple(_to_problem(config, finding) for finding in find_warnings(config))


def check_role(config: Config, role: Role) -> None:
    """Check that a configuration has what a server, or a client, needs.

    Raises:
        ConfigError: saying what to add.
    """
    protocols = [inbound.protocol for inbound in config.inbounds]
    findings: list[Finding] = []
    if role == "server":
        if not any(isinstance(protocol, VMessInboundSettings) for protocol in protocols):
            findings.append(
                (Location("inbounds"), "a server needs an inbound with protocol 'vmess'; add one")
            )
    else:
        if not any(
            isinstance(outbound.protocol, VMessOutboundSettings) for outbound in config.outbounds
        ):
            findings.append(
                (Location("outbounds"), "a client needs an outbound with protocol 'vmess'; add one")
            )
        if not any(isinstance(protocol, _LOCAL_INBOUNDS) for protocol in protocols):
            findings.append(
                (
                    Location("inbounds"),
                    (
                        "a client needs an inbound for local programs; add one with protocol "
                        "'socks', 'http', 'mixed' or 'dokodemo-door'"
                    ),
                )
            )
    if findings:
        raise ConfigError(*(_to_problem(config, finding) for finding in findings))


def _to_problem(config: Config, finding: Finding) -> ConfigProblem:
    location, message = finding
    return location.problem(message, file=config.file)


def find_problems(config: Config) -> Iterator[Finding]:
    """Find what makes a configuration unusable."""
    if not config.outbounds:
        yield (
            Location("outbounds"),
            "no outbound is configured; add one, such as protocol 'freedom'",
        )
    yield from _duplicate_tags("inbounds", config.inbounds)
    yield from _duplicate_tags("outbounds", config.outbounds)
    by_tag = {inbound.tag: inbound for inbound in reversed(config.inbounds)}
    for index, inbound in enumerate(config.inbounds):
        where = f"inbounds[{index}]"
        yield from _allocation(inbound, where)
        if isinstance(inbound.protocol, VMessInboundSettings):
            yield from _duplicate_users(inbound.protocol, where)
            yield from _detour(by_tag, inbound, inbound.protocol, where)
    yield from find_port_conflicts(config.inbounds)
    yield from find_stream_problems(config)
    yield from find_chain_problems(config)
    yield from find_routing_problems(config)


def find_warnings(config: Config) -> Iterator[Finding]:
    """Find what is valid, but probably a mistake."""
    detours = {
        inbound.protocol.detour
        for inbound in config.inbounds
        if isinstance(inbound.protocol, VMessInboundSettings)
    }
    for index, inbound in enumerate(config.inbounds):
        protocol = inbound.protocol
        location = locate(inbound.locations, "", f"inbounds[{index}]")
        detoured_to = inbound.tag and inbound.tag in detours
        if isinstance(protocol, VMessInboundSettings) and not protocol.users and not detoured_to:
            message = "no users, and not the target of a detour: nobody can connect"
            yield location, message
        allocate, count = inbound.allocate, len(inbound.port)
        is_random = allocate.strategy is AllocateStrategy.RANDOM
        if is_random and allocate.concurrency < count < 2 * allocate.concurrency:
            message = (
                f"the range {inbound.port} has {count} ports, but two generations of "
                f"{allocate.concurrency} ports are open at a time; "
                f"use at least {2 * allocate.concurrency} ports"
            )
            yield locate(inbound.locations, "port", f"inbounds[{index}]"), message
    yield from find_stream_warnings(config)
    yield from find_chain_warnings(config)
    yield from find_routing_warnings(config)
    yield from find_exposures(config)


def _duplicate_tags(
    name: str, endpoints: Sequence[InboundSettings | OutboundSettings]
) -> Iterator[Finding]:
    return duplicates(
        (
            (each.tag, locate(each.locations, "tag", f"{name}[{index}]"))
            for index, each in enumerate(endpoints)
        ),
        lambda first: f"duplicate tag: already used by {on_line(first)}; tags must be unique",
    )


def _duplicate_users(protocol: VMessInboundSettings, where: str) -> Iterator[Finding]:
    users = [(user, f"{where}.users[{index}]") for index, user in enumerate(protocol.users)]
    yield from duplicates(
        ((user.email.lower(), locate(user.locations, "email", path)) for user, path in users),
        lambda first: (
            f"duplicate email: already used by {on_line(first)}; "
            "emails must be unique, ignoring case"
        ),
    )
    yield from duplicates(
        ((user.id, locate(user.locations, "id", path)) for user, path in users),
        lambda first: f"duplicate id: already used by {on_line(first)}; ids must be unique",
    )


def _detour(
    by_tag: Mapping[str, InboundSettings],
    inbound: InboundSettings,
    protocol: VMessInboundSettings,
    where: str,
) -> Iterator[Finding]:
    tag = protocol.detour
    if not tag:
        return
    location = locate(protocol.locations, "detour", where)
    target = by_tag.get(tag)
    if target is None:
        yield location, dangling(tag, by_tag.keys(), "inbound")
    elif target is inbound:
        yield location, "the detour refers to its own inbound; use the tag of another one"
    elif not isinstance(target.protocol, VMessInboundSettings):
        yield (
            location,
            f"the inbound {quote(tag)} does not have protocol 'vmess', which a detour needs",
        )
    elif isinstance(target.listen, UnixSocket):
        yield (
            location,
            f"the inbound {quote(tag)} listens on a Unix socket, which clients cannot reach",
        )


def _allocation(inbound: InboundSettings, where: str) -> Iterator[Finding]:
    allocate = inbound.allocate
    if allocate.strategy is not AllocateStrategy.RANDOM:
        return
    if isinstance(inbound.listen, UnixSocket):
        location = locate(inbound.locations, "allocate", where)
        yield (
            location,
            "'allocate' cannot be combined with a Unix socket, which has no ports; remove it",
        )
    elif len(inbound.port) <= allocate.concurrency:
        yield (
            locate(inbound.locations, "port", where),
            (
                f"the range {inbound.port} has {len(inbound.port)} ports; with strategy 'random' "
                f"it needs more than 'concurrency', which is {allocate.concurrency}"
            ),
        )
