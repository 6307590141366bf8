"""Builds the carriers that need HTTP/2, and with it the extra `http2`."""

import functools
import secrets
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Final

import attrs

from trio_vmess.config import GrpcSettings, Http2Settings
from trio_vmess.contracts import Connect, Inbound
from trio_vmess.core.carriage import NginxPage
from trio_vmess.transport.carriage import TrustedProxies
from trio_vmess.transport.http2 import (
    GrpcTunnel,
    Http2Client,
    Http2Server,
    HttpTunnel,
    KeepAlive,
    MessageTransport,
    Request,
    Response,
)

V2RAY_HOST: Final = "www.example.com"
"""What V2Ray's clients ask for, and its servers want to be asked for, without a setting."""

SharedSettings = Http2Settings | GrpcSettings


def http2_server(
    settings: SharedSettings, buffer: memoryview, *, proxies: TrustedProxies, handshake: float
) -> Callable[[Inbound], Inbound]:
    """Build the layer of an inbound whose connections are streams; the result puts it in front.

    Args:
        settings: of the carrier.
        buffer: shared by all HTTP/2 connections of the node.
        proxies: whose X-Forwarded-For is believed.
        handshake: seconds from the beginning of a stream until its request must be complete.
    """
    tunnel = _tunnel_of(settings)

    def source_of(request: Request, source: str) -> str:
        return proxies.forwarded([request.find(b"x-forwarded-for")], source)

    return lambda inbound: Http2Server(
        inbound.serve,
        tunnel,
        handshake=handshake,
        now=time.time,
        buffer=buffer,
        respond=respond_as_nginx,
        wrap=_wrap_of(settings),
        source_of=source_of,
    )


async def respond_as_nginx(request: Request) -> Response:
    """Answer a stranger as nginx does where there is nothing to serve."""
    page = NginxPage.where_nothing_is(request.method)
    body = page.body(request.find(b"user-agent"))
    return Response(
        status=page.status,
        fields=(
            (b"server", b"nginx"),
            (b"date", formatdate(time.time(), usegmt=True).encode()),
            (b"content-type", b"text/html"),
            (b"content-length", str(len(body)).encode()),
        ),
        body=body,
    )


def http2_client(
    settings: SharedSettings,
    buffer: memoryview,
    *,
    server_name: str,
    add_service: Callable[[Http2Client], None],
) -> Callable[[Connect], Connect]:
    """Build the layer of an outbound that opens streams; the result puts it around what dials.

    Args:
        settings: of the carrier.
        buffer: shared by all HTTP/2 connections of the node.
        server_name: that of TLS; may be empty.
        add_service: called with what the node must run.
    """
    tunnel = _tunnel_of(settings)
    if isinstance(tunnel, HttpTunnel):
        tunnel = attrs.evolve(tunnel, hosts=tunnel.hosts or (V2RAY_HOST,))
    elif not tunnel.authority:
        tunnel = attrs.evolve(tunnel, authority=server_name)
    make = functools.partial(
        Http2Client,
        tunnel=tunnel,
        entropy=secrets,
        buffer=buffer,
        wrap=_wrap_of(settings),
        keep_alive=_keep_alive_of(settings),
    )

    def around(connect: Connect) -> Connect:
        client = make(connect)
        add_service(client)
        return client.connect

    return around


def _tunnel_of(settings: SharedSettings) -> HttpTunnel | GrpcTunnel:
    if isinstance(settings, GrpcSettings):
        tunnel = GrpcTunnel(
            service=settings.service_name,
            is_multi=settings.is_multi,
            authority=settings.authority,
        )
        agent = settings.user_agent
        return attrs.evolve(tunnel, user_agent=agent) if agent else tunnel
    return HttpTunnel(
        hosts=settings.hosts,
        path=settings.path,
        method=settings.method,
        fields=tuple(
            (name.lower().encode(), value.encode())
            for name, values in settings.headers.items()
            for value in values
        ),
    )


def _wrap_of(settings: SharedSettings) -> type[MessageTransport] | None:
    return MessageTransport if isinstance(settings, GrpcSettings) else None


def _keep_alive_of(settings: SharedSettings) -> KeepAlive:
    """Return the times of a client's connections; 0 in the settings means the default."""
    asked = KeepAlive()
    period = settings.idle_timeout if isinstance(settings, GrpcSettings) else 0.0
    period = period or (settings.read_idle_timeout if isinstance(settings, Http2Settings) else 0.0)
    return attrs.evolve(
        asked,
        read_idle_timeout=period or asked.read_idle_timeout,
        health_check_timeout=settings.health_check_timeout or asked.health_check_timeout,
    )
