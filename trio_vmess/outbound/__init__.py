"""Outbounds: each connects flows with their destinations by one protocol."""

from trio_vmess.outbound.blackhole import BlackholeOutbound
from trio_vmess.outbound.freedom import FreedomOutbound
from trio_vmess.outbound.http import HttpOutbound
from trio_vmess.outbound.mux import CarrierPool, MuxOutbound
from trio_vmess.outbound.offered_accounts import Identity
from trio_vmess.outbound.parent_proxy import ParentProxy
from trio_vmess.outbound.socks import SocksOutbound
from trio_vmess.outbound.vmess import Server, VMessOutbound

__all__ = [
    "BlackholeOutbound",
    "CarrierPool",
    "FreedomOutbound",
    "HttpOutbound",
    "Identity",
    "MuxOutbound",
    "ParentProxy",
    "Server",
    "SocksOutbound",
    "VMessOutbound",
]
