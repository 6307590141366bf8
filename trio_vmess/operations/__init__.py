"""Observing a running node: traffic counters and the control socket."""

from trio_vmess.operations.control import ControlServer, find_socket, open_control, send_request
from trio_vmess.operations.counters import Directions, Statistics, parse_counter_name
from trio_vmess.operations.monitor import Monitor

__all__ = [
    "ControlServer",
    "Directions",
    "Monitor",
    "Statistics",
    "find_socket",
    "open_control",
    "parse_counter_name",
    "send_request",
]
