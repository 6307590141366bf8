"""One connection from its request to its end: sniff, choose an outbound, connect, relay, log."""

from trio_vmess.dispatch.dispatcher import Choose, Connection, Dispatcher
from trio_vmess.dispatch.selection import FirstOutbound, Probe, Selection

__all__ = [
    "Choose",
    "Connection",
    "Dispatcher",
    "FirstOutbound",
    "Probe",
    "Selection",
]
