"""Tunnels that begin as HTTP requests: WebSocket and HTTPUpgrade, as layers over any transport."""

from trio_vmess.transport.upgrade.client import UpgradeConnect
from trio_vmess.transport.upgrade.server import Fallback, SourceOf, UpgradeFront
from trio_vmess.transport.upgrade.websocket import FrameBuffer, WebSocketTransport

__all__ = [
    "Fallback",
    "FrameBuffer",
    "SourceOf",
    "UpgradeConnect",
    "UpgradeFront",
    "WebSocketTransport",
]
