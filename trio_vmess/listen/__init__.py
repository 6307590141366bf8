"""Sockets that listen: ports that stay, ports that come and go, UDP ports.

open_listener, Listener        one address
PermanentListener              all ports of a range, for as long as the node runs
DynamicListener                random ports of a range, in generations
DatagramListener               UDP ports

What serves a port is handed over as a `PortHandler`; nothing here knows a protocol's bytes.
"""

from trio_vmess.listen.datagrams import DatagramListener
from trio_vmess.listen.dynamic import DynamicListener
from trio_vmess.listen.open_port import BoundPort, MakeHandler, PortHandler, SwitchOffer
from trio_vmess.listen.permanent import PermanentListener
from trio_vmess.listen.static import (
    Handler,
    ListenAddress,
    Listener,
    bind_datagram_socket,
    format_listen_address,
    open_listener,
)

__all__ = [
    "BoundPort",
    "DatagramListener",
    "DynamicListener",
    "Handler",
    "ListenAddress",
    "Listener",
    "MakeHandler",
    "PermanentListener",
    "PortHandler",
    "SwitchOffer",
    "bind_datagram_socket",
    "format_listen_address",
    "open_listener",
]
