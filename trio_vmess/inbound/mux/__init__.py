"""Many connections of one VMess client in one: Mux.Cool, XUDP and packetaddr, as a server.

Every sub-connection goes to dispatch as a flow of its own: it is sniffed, routed, limited, counted
and logged as if its client had opened a connection for it.
"""

from trio_vmess.inbound.mux.carrier import Files
from trio_vmess.inbound.mux.global_ids import GlobalIds
from trio_vmess.inbound.mux.server import MuxInbound

__all__ = ["Files", "GlobalIds", "MuxInbound"]
