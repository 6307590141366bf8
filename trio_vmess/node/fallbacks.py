"""Builds who answers strangers on the ports of inbounds with TLS or a carrier of HTTP."""

import functools
from pathlib import Path
from typing import Final

from trio_vmess.config import FallbackSettings, UnixSocket
from trio_vmess.contracts import Fallback, Resolve
from trio_vmess.core import format_endpoint
from trio_vmess.core.carriage import encode_proxy_v1, encode_proxy_v2
from trio_vmess.fallback import (
    EncodeProxyHeader,
    Folder,
    PlainHttpFallback,
    SiteFallback,
    UpstreamFallback,
)
from trio_vmess.node.clock import utc_seconds
from trio_vmess.relay import SharedBuffers
from trio_vmess.transport import dial, dial_unix

_PROXY_HEADERS: Final[dict[int, EncodeProxyHeader]] = {1: encode_proxy_v1, 2: encode_proxy_v2}


def make_fallback(
    settings: FallbackSettings, *, buffers: SharedBuffers, idle: float, resolve: Resolve
) -> Fallback:
    """Build what answers strangers of an inbound.

    Args:
        settings: who that is.
        buffers: shared by all connections of this Trio run.
        idle: seconds without a byte after which a connection to another server is closed.
        resolve: resolves the names of servers.
    """
    target = settings.target
    if isinstance(target, Path):
        return SiteFallback(folder=Folder(target), clock=utc_seconds)
    if isinstance(target, UnixSocket):
        connect, name = functools.partial(dial_unix, target.path), target.path
    else:
        host, port = target
        connect = functools.partial(dial, host, port, resolve=resolve)
        name = format_endpoint(host, port)
    return UpstreamFallback(
        connect=connect,
        name=name,
        encode_header=_PROXY_HEADERS.get(settings.proxy_protocol),
        buffers=buffers,
        idle=idle,
        clock=utc_seconds,
    )


def plain_http() -> Fallback:
    """Build what answers HTTP without TLS on a port with TLS."""
    return PlainHttpFallback(clock=utc_seconds)
