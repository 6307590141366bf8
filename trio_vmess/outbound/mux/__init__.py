"""Many connections through one to a VMess server: Mux.Cool as a client."""

from trio_vmess.outbound.mux.outbound import MuxOutbound
from trio_vmess.outbound.mux.pool import CarrierPool

__all__ = ["CarrierPool", "MuxOutbound"]
