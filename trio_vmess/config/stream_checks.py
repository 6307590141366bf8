"""Checks of what carries inbounds and outbounds, across settings: the part of `validate`."""

from collections.abc import Iterator

from trio_vmess.config.endpoints import (
    BlackholeOutboundSettings,
    FreedomOutboundSettings,
    InboundSettings,
    OutboundSettings,
    VMessInboundSettings,
    VMessOutboundSettings,
)
from trio_vmess.config.enums import Experiment, SecurityName
from trio_vmess.config.location import Finding, Location, locate
from trio_vmess.config.model import Config
from trio_vmess.config.transparent_checks import (
    find_transparent_problems,
    find_transparent_warnings,
)
from trio_vmess.config.transports import (
    PLAIN_STREAM,
    GrpcSettings,
    Http2Settings,
    SocketSettings,
    StreamSettings,
    TcpSettings,
    UnixSocket,
    WebSocketSettings,
)
from trio_vmess.core import Network

__all__ = ["find_stream_problems", "find_stream_warnings"]


def find_stream_problems(config: Config) -> Iterator[Finding]:
    """Find what nothing can be built from."""
    for index, inbound in enumerate(config.inbounds):
        yield from _inbound_problems(inbound, f"inbounds[{index}]")
    for index, outbound in enumerate(config.outbounds):
        if isinstance(outbound.protocol, FreedomOutboundSettings):
            yield from _freedom_problems(outbound.stream, f"outbounds[{index}]")
    yield from find_transparent_problems(config)


def find_stream_warnings(config: Config) -> Iterator[Finding]:
    """Find what is valid, but does not do what it may be meant to."""
    for index, inbound in enumerate(config.inbounds):
        yield from _inbound_warnings(inbound, f"inbounds[{index}]")
    for index, outbound in enumerate(config.outbounds):
        yield from _outbound_warnings(outbound, f"outbounds[{index}]")
    yield from find_transparent_warnings(config)


def _place(stream: StreamSettings, key: str, where: str) -> Location:
    return locate(stream.locations, key, f"{where}.stream")


def _options_of_unix(stream: StreamSettings, where: str) -> Iterator[Finding]:
    if stream.socket != SocketSettings():
        yield _place(stream, "socket", where), "ignored: a Unix socket has no such options"


# Inbounds -----------------------------------------------------------------------------------------


def _inbound_problems(inbound: InboundSettings, where: str) -> Iterator[Finding]:
    stream, tls = inbound.stream, inbound.stream.tls
    if tls is not None and not tls.certificates:
        yield (
            locate(tls.locations, "certificates", f"{where}.stream.tls"),
            "a server needs a certificate and its key; set the paths of both",
        )
    if tls is not None and tls.verify_client_certificate and not tls.client_roots:
        yield (
            locate(tls.locations, "verify_client_certificate", f"{where}.stream.tls"),
            "the authority that has signed the clients' certificates is missing",
        )
    if stream.unix is not None:
        yield _place(stream, "unix", where), "an inbound has its Unix socket in 'listen'"
    if stream.fallback is not None and isinstance(stream.carrier, Http2Settings | GrpcSettings):
        yield (
            _place(stream, "fallback", where),
            "a fallback answers HTTP/1.1, and this transport is HTTP/2; use 'ws' or 'httpupgrade'",
        )
    if stream.fallback is not None and stream.carrier == TcpSettings():
        place = _place(stream, "fallback", where)
        if tls is None:
            yield place, "a fallback answers HTTP, which needs TLS or a transport such as 'ws'"
        elif not isinstance(inbound.protocol, VMessInboundSettings):
            yield place, "without a transport such as 'ws', only a vmess inbound has a fallback"


def _inbound_warnings(inbound: InboundSettings, where: str) -> Iterator[Finding]:
    stream, listen = inbound.stream, inbound.listen
    if stream.tls is not None and stream.tls.allow_insecure:
        yield (
            locate(stream.tls.locations, "allow_insecure", f"{where}.stream.tls"),
            "ignored: it is the client that verifies, or does not",
        )
    is_local = isinstance(listen, UnixSocket) or listen.is_loopback
    if stream.accept_proxy_protocol and not is_local and not stream.trusted_proxies:
        yield (
            _place(stream, "accept_proxy_protocol", where),
            (
                "PROXY headers are believed from this machine only; list the addresses of the "
                "proxies in front as trusted"
            ),
        )
    if isinstance(listen, UnixSocket):
        yield from _options_of_unix(stream, where)
    has_layers = stream.tls is not None or stream.carrier != TcpSettings()
    if has_layers and Network.UDP in inbound.networks:
        key = "carrier" if stream.tls is None else "tls"
        yield _place(stream, key, where), "datagrams (UDP) are carried without it"


# Outbounds ----------------------------------------------------------------------------------------


def _freedom_problems(stream: StreamSettings, where: str) -> Iterator[Finding]:
    message = (
        "a freedom outbound connects to whatever is asked for, so it has only socket options; "
        "remove this"
    )
    if stream.carrier != TcpSettings():
        yield _place(stream, "carrier", where), message
    if stream.tls is not None:
        yield _place(stream, "tls", where), message
    if stream.unix is not None:
        yield _place(stream, "unix", where), message


def _outbound_warnings(outbound: OutboundSettings, where: str) -> Iterator[Finding]:
    stream, protocol = outbound.stream, outbound.protocol
    if isinstance(protocol, BlackholeOutboundSettings):
        if stream != PLAIN_STREAM:
            yield (
                _place(stream, "", where),
                "ignored: a blackhole opens no connection that could be carried",
            )
        return
    if stream.unix is not None:
        yield from _options_of_unix(stream, where)
    if stream.socket.tcp_fast_open and isinstance(protocol, FreedomOutboundSettings):
        yield (
            _place(stream, "socket", where),
            (
                "tcp_fast_open connects with the first bytes of a program: those that wait for the "
                "server to speak first (SSH, mail) may hang"
            ),
        )
    if isinstance(stream.carrier, Http2Settings | GrpcSettings) and stream.tls is None:
        yield (
            _place(stream, "carrier", where),
            "HTTP/2 without TLS: servers take it only behind a proxy that ends TLS for them",
        )
    if isinstance(protocol, VMessOutboundSettings) and isinstance(
        stream.carrier, WebSocketSettings
    ):
        yield from _endless_bodies(protocol, _place(stream, "carrier", where))


def _endless_bodies(protocol: VMessOutboundSettings, location: Location) -> Iterator[Finding]:
    for server in protocol.servers:
        for user in server.users:
            if user.security is SecurityName.ZERO:
                cause = "the security 'zero'"
            elif Experiment.NO_TERMINATION_SIGNAL in user.experiments:
                cause = f"{Experiment.NO_TERMINATION_SIGNAL.value!r}"
            else:
                continue
            yield (
                location,
                (
                    f"with {cause}, the end of an upload to {server.address} gets lost: "
                    "a WebSocket cannot end one direction alone"
                ),
            )
