"""Outbounds: each connects flows with their destinations by one protocol."""

from typing import TYPE_CHECKING

from trio_vmess.lazy import lazy_names

if TYPE_CHECKING:
    from trio_vmess.outbound.blackhole import BlackholeOutbound
    from trio_vmess.outbound.freedom import FreedomOutbound
    from trio_vmess.outbound.http import HttpOutbound
    from trio_vmess.outbound.mux import CarrierPool, MuxOutbound
    from trio_vmess.outbound.offered_accounts import Identity
    from trio_vmess.outbound.packetaddr import PacketAddrOutbound
    from trio_vmess.outbound.parent_proxy import ParentProxy
    from trio_vmess.outbound.socks import SocksOutbound
    from trio_vmess.outbound.vmess import Server, VMessOutbound
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "blackhole": ("BlackholeOutbound",),
            "freedom": ("FreedomOutbound",),
            "http": ("HttpOutbound",),
            "mux": ("CarrierPool", "MuxOutbound"),
            "offered_accounts": ("Identity",),
            "packetaddr": ("PacketAddrOutbound",),
            "parent_proxy": ("ParentProxy",),
            "socks": ("SocksOutbound",),
            "vmess": ("Server", "VMessOutbound"),
        },
    )

__all__ = [
    "BlackholeOutbound",
    "CarrierPool",
    "FreedomOutbound",
    "HttpOutbound",
    "Identity",
    "MuxOutbound",
    "PacketAddrOutbound",
    "ParentProxy",
    "Server",
    "SocksOutbound",
    "VMessOutbound",
]
