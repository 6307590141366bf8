"""Checks of outbounds that go through other outbounds: the part of `validation`."""

from collections.abc import Iterator, Mapping

from trio_vmess.config.endpoints import (
    BlackholeOutboundSettings,
    FreedomOutboundSettings,
    OutboundSettings,
    VMessOutboundSettings,
)
from trio_vmess.config.location import Finding, locate
from trio_vmess.config.model import Config
from trio_vmess.config.references import dangling
from trio_vmess.config.transports import SocketSettings
from trio_vmess.config.tree import quote

__all__ = ["find_chain_problems", "find_chain_warnings"]


def find_chain_problems(config: Config) -> Iterator[Finding]:
    """Find outbounds that go through nothing, or come back to themselves."""
    by_tag = {each.tag: each for each in reversed(config.outbounds) if each.tag}
    for index, outbound in enumerate(config.outbounds):
        if not outbound.through:
            continue
        location = locate(outbound.locations, "through", f"outbounds[{index}]")
        if isinstance(outbound.protocol, FreedomOutboundSettings):
            yield (
                location,
                "a freedom outbound connects directly; let rules lead to the other outbound",
            )
        elif outbound.through not in by_tag:
            yield location, dangling(outbound.through, by_tag.keys(), "outbound")
        elif (loop := _find_loop(outbound, by_tag)) is not None:
            yield location, f"the outbounds go round in a circle: {loop}"
        elif isinstance(by_tag[outbound.through].protocol, BlackholeOutboundSettings):
            yield location, f"{quote(outbound.through)} is a blackhole: no server can be reached"


def find_chain_warnings(config: Config) -> Iterator[Finding]:
    """Find settings of sockets that an outbound does not open."""
    for index, outbound in enumerate(config.outbounds):
        if not outbound.through:
            continue
        where = f"outbounds[{index}]"
        why = f"ignored: the outbound {quote(outbound.through)} opens the sockets"
        if outbound.send_through is not None:
            yield locate(outbound.locations, "send_through", where), why
        if outbound.stream.socket != SocketSettings():
            yield locate(outbound.stream.socket.locations, "", f"{where}.stream.socket"), why
        if isinstance(outbound.protocol, VMessOutboundSettings) and (
            outbound.protocol.spare_connections
        ):
            yield (
                locate(outbound.locations, "through", where),
                "no spare connections are kept through another outbound",
            )
        if outbound.stream.unix is not None:
            yield locate(outbound.stream.locations, "unix", f"{where}.stream"), why


def _find_loop(begin: OutboundSettings, by_tag: Mapping[str, OutboundSettings]) -> str | None:
    """Return the tags of a circle that an outbound leads into, or None."""
    way = [begin.tag]
    following = begin.through
    while following in by_tag:
        way.append(following)
        if following in way[:-1]:
            return " → ".join(tag or "(no tag)" for tag in way)
        following = by_tag[following].through
    return None
