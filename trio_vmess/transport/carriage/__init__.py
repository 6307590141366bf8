"""The layers over `core.carriage`: what carries a protocol, and what proxies in front say.

Imported by nodes whose settings ask for one of them.
"""

from trio_vmess.transport.carriage.camouflage import CamouflageConnect, CamouflageFront
from trio_vmess.transport.carriage.proxies import ProxyHeaderFront, TrustedProxies
from trio_vmess.transport.carriage.upgrade_client import UpgradeConnect
from trio_vmess.transport.carriage.upgrade_server import SourceOf, UpgradeFront
from trio_vmess.transport.carriage.websocket import FrameBuffer, WebSocketTransport

__all__ = [
    "CamouflageConnect",
    "CamouflageFront",
    "FrameBuffer",
    "ProxyHeaderFront",
    "SourceOf",
    "TrustedProxies",
    "UpgradeConnect",
    "UpgradeFront",
    "WebSocketTransport",
]
