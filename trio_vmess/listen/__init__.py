"""Sockets that listen: permanent ports, dynamic ports, UDP ports.

open_listener, Listener        one address
PermanentListener              all ports of a range, until cancelled
DynamicListener                random ports of a range, replaced in generations
DatagramListener               UDP ports
SubConnectionFiles             what sub-connections of carriers may open
file_limit                     how many files the process may open

Whatever serves a port is passed in as a `PortHandler`; nothing here knows about protocols.
"""

from trio_vmess.listen.datagrams import DatagramListener
from trio_vmess.listen.descriptors import SubConnectionFiles, file_limit
from trio_vmess.listen.dynamic import DynamicListener
from trio_vmess.listen.listener import Handler, Listener, open_listener
from trio_vmess.listen.open_port import BoundPort, MakeHandler, PortHandler, SwitchOffer
from trio_vmess.listen.permanent import PermanentListener
from trio_vmess.listen.sockets import (
    BACKLOG,
    ListenAddress,
    bind_datagram_socket,
    format_listen_address,
)
from trio_vmess.listen.unix_sockets import Permissions

__all__ = [
    "BACKLOG",
    "BoundPort",
    "DatagramListener",
    "DynamicListener",
    "Handler",
    "ListenAddress",
    "Listener",
    "MakeHandler",
    "PermanentListener",
    "Permissions",
    "PortHandler",
    "SubConnectionFiles",
    "SwitchOffer",
    "bind_datagram_socket",
    "file_limit",
    "format_listen_address",
    "open_listener",
]
