"""The relay: two tasks that carry bytes, or datagrams, between the two sides of a flow."""

from trio_vmess.relay.ending import Ending, Meter
from trio_vmess.relay.packets import relay_packets
from trio_vmess.relay.scratch import Scratch
from trio_vmess.relay.streams import relay_streams

__all__ = ["Ending", "Meter", "Scratch", "relay_packets", "relay_streams"]
