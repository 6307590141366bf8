"""The relay: carries bytes or datagrams between the client and the remote of a flow."""

from trio_vmess.relay.buffers import SharedBuffers
from trio_vmess.relay.close_reason import CloseReason
from trio_vmess.relay.meter import Meter
from trio_vmess.relay.packets import relay_packets
from trio_vmess.relay.streams import OnStart, relay_streams

__all__ = [
    "CloseReason",
    "Meter",
    "OnStart",
    "SharedBuffers",
    "relay_packets",
    "relay_streams",
]
