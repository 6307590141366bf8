"""The ways in: sockets that listen, ports that come and go, and the timers of what is behind them.

open_listener, Listener        one address
PermanentListener              all ports of a range, for ever
DynamicListener                random ports of a range, in generations
bind_datagram_socket           one UDP address
run_housekeeping               keeps user registries and replay caches ready

What is behind a port is handed over as a `PortInbound`; nothing here knows a protocol's bytes.
"""

from trio_vmess.listen.dynamic import DynamicListener
from trio_vmess.listen.housekeeping import run_housekeeping
from trio_vmess.listen.permanent import PermanentListener
from trio_vmess.listen.static import (
    Handler,
    ListenAddress,
    Listener,
    bind_datagram_socket,
    format_listen_address,
    open_listener,
)
from trio_vmess.listen.worker import BoundPort, MakeInbound, PortInbound, Worker

__all__ = [
    "BoundPort",
    "DynamicListener",
    "Handler",
    "ListenAddress",
    "Listener",
    "MakeInbound",
    "PermanentListener",
    "PortInbound",
    "Worker",
    "bind_datagram_socket",
    "format_listen_address",
    "open_listener",
    "run_housekeeping",
]
