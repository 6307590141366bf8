"""Checks of transparent proxying, across settings: the part of `validate`."""

from collections.abc import Iterator

from trio_vmess.config.endpoints import DokodemoInboundSettings, InboundSettings
from trio_vmess.config.enums import TransparentProxy
from trio_vmess.config.location import Finding, Location, locate
from trio_vmess.config.model import Config
from trio_vmess.config.transports import StreamSettings, UnixSocket
from trio_vmess.core import Network, format_endpoint

__all__ = ["find_transparent_problems", "find_transparent_warnings"]


def find_transparent_problems(config: Config) -> Iterator[Finding]:
    """Find what cannot be redirected, or cannot be followed."""
    for index, inbound in enumerate(config.inbounds):
        where = f"inbounds[{index}]"
        if isinstance(inbound.protocol, DokodemoInboundSettings):
            yield from _door_problems(inbound, inbound.protocol, where)
        elif inbound.transparent_proxy is not TransparentProxy.OFF:
            yield (
                _tproxy(inbound.stream, where),
                (
                    "only an inbound with protocol 'dokodemo-door' takes redirected connections; "
                    "remove it"
                ),
            )
    for index, outbound in enumerate(config.outbounds):
        if outbound.stream.socket.tproxy is not TransparentProxy.OFF:
            yield (
                _tproxy(outbound.stream, f"outbounds[{index}]"),
                (
                    "an outbound takes no redirected connections; "
                    "set it on the inbound with protocol 'dokodemo-door'"
                ),
            )


def find_transparent_warnings(config: Config) -> Iterator[Finding]:
    """Find redirections that do not lead where they seem to."""
    for index, inbound in enumerate(config.inbounds):
        if isinstance(inbound.protocol, DokodemoInboundSettings):
            yield from _door_warnings(inbound, inbound.protocol, f"inbounds[{index}]")


def _tproxy(stream: StreamSettings, where: str) -> Location:
    return locate(stream.socket.locations, "tproxy", f"{where}.stream.socket")


def _door_problems(
    inbound: InboundSettings, door: DokodemoInboundSettings, where: str
) -> Iterator[Finding]:
    mode = inbound.transparent_proxy
    follow = locate(door.locations, "follow_redirect", where)
    if mode is not TransparentProxy.OFF and isinstance(inbound.listen, UnixSocket):
        location = follow if door.follow_redirect else _tproxy(inbound.stream, where)
        yield location, "connections cannot be redirected to a Unix socket; listen on an address"
    if door.has_target:
        return
    if not door.follow_redirect:
        yield (
            locate(door.locations, "target_address", where),
            "the destination of all connections is missing; set its address and port",
        )
    elif mode is TransparentProxy.REDIRECT and Network.UDP in inbound.networks:
        yield (
            follow,
            (
                "datagrams that are redirected do not tell where they were going; use 'tproxy' for "
                "UDP, or set an address and a port for all of them"
            ),
        )


def _door_warnings(
    inbound: InboundSettings, door: DokodemoInboundSettings, where: str
) -> Iterator[Finding]:
    mode, given = inbound.transparent_proxy, inbound.stream.socket
    if not door.follow_redirect:
        if mode is not TransparentProxy.OFF:
            yield (
                _tproxy(inbound.stream, where),
                "all connections go to the one destination unless 'follow_redirect' is set",
            )
        return
    if given.tproxy is TransparentProxy.OFF and "tproxy" in given.locations:
        yield (
            _tproxy(inbound.stream, where),
            (
                "connections are followed all the same, as in V2Ray; say 'redirect', or do not set "
                "'follow_redirect'"
            ),
        )
    if bool(door.target_address) != bool(door.target_port):
        key = "target_address" if door.target_address else "target_port"
        yield (
            locate(door.locations, key, where),
            "ignored: a destination for what is not redirected needs an address and a port",
        )
    if mode is TransparentProxy.REDIRECT and Network.UDP in inbound.networks and door.has_target:
        yield (
            locate(door.locations, "follow_redirect", where),
            (
                "datagrams that are redirected do not tell where they were going: all of them go "
                f"to {format_endpoint(door.target_address, door.target_port)}"
            ),
        )
