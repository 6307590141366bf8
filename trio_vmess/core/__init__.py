"""The sans-IO core: bytes in, events and bytes out.

Nothing in here waits, reads a clock, draws randomness, opens a socket or writes a log.
Time is an argument (`now`, int UTC seconds) and randomness a dependency (`Entropy`).
"""

from trio_vmess.core.buffer import NEED_DATA, NeedData, ReceiveBuffer
from trio_vmess.core.codec import Codec, IdentityCodec, PrefixedCodec
from trio_vmess.core.destination import (
    Destination,
    Host,
    Network,
    format_endpoint,
    parse_endpoint,
    parse_host,
    unmap,
)
from trio_vmess.core.entropy import Entropy
from trio_vmess.core.flow import Flow
from trio_vmess.core.mixed import ProxyProtocol, looks_like
from trio_vmess.core.policy import Policy
from trio_vmess.core.ports import PortPlan

__all__ = [
    "NEED_DATA",
    "Codec",
    "Destination",
    "Entropy",
    "Flow",
    "Host",
    "IdentityCodec",
    "NeedData",
    "Network",
    "Policy",
    "PortPlan",
    "PrefixedCodec",
    "ProxyProtocol",
    "ReceiveBuffer",
    "format_endpoint",
    "looks_like",
    "parse_endpoint",
    "parse_host",
    "unmap",
]
