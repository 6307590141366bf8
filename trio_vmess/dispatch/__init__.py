"""One connection from its request to its end: sniff, choose an outbound, connect, relay, log."""

from trio_vmess.dispatch.access_log import AccessLog
from trio_vmess.dispatch.connection import Connection, Observer
from trio_vmess.dispatch.dispatcher import Choose, Dispatcher
from trio_vmess.dispatch.reset_watch import ResetWatch
from trio_vmess.dispatch.selection import FirstOutbound, Probe, Prober, Selection

__all__ = [
    "AccessLog",
    "Choose",
    "Connection",
    "Dispatcher",
    "FirstOutbound",
    "Observer",
    "Probe",
    "Prober",
    "ResetWatch",
    "Selection",
]
