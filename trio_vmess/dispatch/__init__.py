"""One connection from its request to its end: sniff, choose an outbound, connect, relay, log."""

from typing import TYPE_CHECKING

from trio_vmess.lazy import lazy_names

if TYPE_CHECKING:
    from trio_vmess.dispatch.access_log import AccessLog
    from trio_vmess.dispatch.connection import Connection, Observer
    from trio_vmess.dispatch.dispatcher import Choose, Dispatcher
    from trio_vmess.dispatch.first_outbound import FirstOutbound
    from trio_vmess.dispatch.reset_watch import ResetWatch
    from trio_vmess.dispatch.selection import Probe, Prober, Selection
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "access_log": ("AccessLog",),
            "connection": ("Connection", "Observer"),
            "dispatcher": ("Choose", "Dispatcher"),
            "first_outbound": ("FirstOutbound",),
            "reset_watch": ("ResetWatch",),
            "selection": ("Probe", "Prober", "Selection"),
        },
    )

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
