"""Inbounds: each understands the requests of one protocol and passes them to dispatch."""

from typing import TYPE_CHECKING

from trio_vmess.lazy import lazy_names

if TYPE_CHECKING:
    from trio_vmess.inbound.assigned_accounts import DefaultUser
    from trio_vmess.inbound.dokodemo import DokodemoInbound
    from trio_vmess.inbound.http import HttpInbound
    from trio_vmess.inbound.mixed import MixedInbound
    from trio_vmess.inbound.mux import GlobalIds
    from trio_vmess.inbound.refused import RefusedConnections
    from trio_vmess.inbound.socks import SocksInbound
    from trio_vmess.inbound.transparent import TransparentInbound
    from trio_vmess.inbound.vmess import VMessInbound
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "assigned_accounts": ("DefaultUser",),
            "dokodemo": ("DokodemoInbound",),
            "http": ("HttpInbound",),
            "mixed": ("MixedInbound",),
            "mux": ("GlobalIds",),
            "refused": ("RefusedConnections",),
            "socks": ("SocksInbound",),
            "transparent": ("TransparentInbound",),
            "vmess": ("VMessInbound",),
        },
    )

__all__ = [
    "DefaultUser",
    "DokodemoInbound",
    "GlobalIds",
    "HttpInbound",
    "MixedInbound",
    "RefusedConnections",
    "SocksInbound",
    "TransparentInbound",
    "VMessInbound",
]
