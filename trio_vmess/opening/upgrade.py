"""The HTTP request that opens the tunnel of a WebSocket or an HTTPUpgrade."""

from typing import TypeAlias

from trio_vmess.config import HttpUpgradeSettings, WebSocketSettings
from trio_vmess.core import Host, format_endpoint
from trio_vmess.core.carriage.upgrade import UpgradeKind, UpgradeRequest

UpgradeSettings: TypeAlias = WebSocketSettings | HttpUpgradeSettings


def upgrade_kind(settings: UpgradeSettings) -> UpgradeKind:
    """Return of which sort the tunnel is."""
    is_upgrade = isinstance(settings, HttpUpgradeSettings)
    return UpgradeKind.HTTP_UPGRADE if is_upgrade else UpgradeKind.WEBSOCKET


def upgrade_request(
    settings: UpgradeSettings, host: Host, port: int, *, server_name: str | None
) -> UpgradeRequest:
    """Return what to ask a server for.

    Args:
        settings: of the carrier.
        host: the server's, as it is dialled.
        port: likewise.
        server_name: that of TLS, which may be empty; None without TLS.
    """
    default_port = 80 if server_name is None else 443
    dialled = format_endpoint(host, port) if port != default_port else _bare(host)
    return UpgradeRequest(
        kind=upgrade_kind(settings),
        path=settings.path,
        host=settings.host or server_name or dialled,
        headers=settings.headers,
        early_data_header=settings.early_data_header if settings.max_early_data else None,
    )


def _bare(host: Host) -> str:
    return format_endpoint(host, 0).rpartition(":")[0]
