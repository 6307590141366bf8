"""Builds the carriers: what is between TLS, or a socket, and a protocol."""

import functools
import secrets
from collections.abc import Callable

from trio_vmess.config import HttpHeaderSettings, HttpUpgradeSettings, WebSocketSettings
from trio_vmess.contracts import Connect, Fallback, Inbound
from trio_vmess.core.carriage import CamouflageRequest, CamouflageResponse
from trio_vmess.core.carriage.upgrade import RequestHead, UpgradeRules
from trio_vmess.node.clock import utc_seconds
from trio_vmess.opening import upgrade_kind, upgrade_request
from trio_vmess.transport.carriage import (
    CamouflageConnect,
    CamouflageFront,
    FrameBuffer,
    TrustedProxies,
    UpgradeConnect,
    UpgradeFront,
)

UpgradeSettings = WebSocketSettings | HttpUpgradeSettings


def upgrade_server(
    settings: UpgradeSettings,
    buffer: FrameBuffer,
    *,
    proxies: TrustedProxies,
    fallback: Fallback | None,
) -> Callable[[Inbound], Inbound]:
    """Build the layer of an inbound that opens tunnels; the result puts it in front."""
    rules = UpgradeRules(
        kind=upgrade_kind(settings),
        path=settings.path,
        host=settings.host,
        early_data_header=settings.early_data_header,
    )

    def source_of(head: RequestHead, source: str) -> str:
        return proxies.forwarded(head.values("x-forwarded-for"), source)

    return lambda inbound: UpgradeFront(
        inbound=inbound,
        rules=rules,
        clock=utc_seconds,
        buffer=buffer,
        next_heartbeat=_heartbeat_of(settings),
        fallback=fallback,
        source_of=source_of,
    )


def upgrade_client(
    settings: UpgradeSettings, buffer: FrameBuffer, *, server_name: str | None
) -> Callable[[Connect], Connect]:
    """Build the layer of an outbound that opens tunnels; the result puts it around what dials.

    Args:
        settings: of the carrier.
        buffer: shared by all WebSockets of the node.
        server_name: that of TLS, which may be empty; None without TLS.
    """
    request_for = functools.partial(upgrade_request, settings, server_name=server_name)
    return lambda connect: UpgradeConnect(
        connect=connect,
        request_for=request_for,
        entropy=secrets,
        buffer=buffer,
        early_size=settings.max_early_data,
        is_eager=isinstance(settings, HttpUpgradeSettings) and settings.is_eager,
        next_heartbeat=_heartbeat_of(settings),
    )


def camouflage_server(
    settings: HttpHeaderSettings, fallback: Fallback | None
) -> Callable[[Inbound], Inbound]:
    """Build the layer of an inbound with HTTP heads; the result puts it in front."""
    response = CamouflageResponse(
        version=settings.response.version,
        status=settings.response.status,
        reason=settings.response.reason,
        headers=settings.response.headers,
    )
    return lambda inbound: CamouflageFront(
        inbound=inbound,
        paths=settings.request.paths,
        make_head=lambda: response.encode(secrets, utc_seconds()),
        clock=utc_seconds,
        fallback=fallback,
    )


def camouflage_client(settings: HttpHeaderSettings) -> Callable[[Connect], Connect]:
    """Build the layer of an outbound with HTTP heads; the result puts it around what dials."""
    request = CamouflageRequest(
        version=settings.request.version,
        method=settings.request.method,
        paths=settings.request.paths,
        headers=settings.request.headers,
    )
    make_head = functools.partial(request.encode, secrets)
    return lambda connect: CamouflageConnect(connect=connect, make_head=make_head)


def _heartbeat_of(settings: UpgradeSettings) -> Callable[[], float] | None:
    """Return what draws the times between heartbeats: up to a quarter less than the setting.

    A beat that is always the same would tell an observer what it is.
    """
    if isinstance(settings, HttpUpgradeSettings) or not settings.heartbeat:
        return None
    period = settings.heartbeat
    return lambda: period * (1 - secrets.randbelow(1000) / 4000)
