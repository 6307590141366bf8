"""The sans-IO core: bytes in, events and bytes out.

Nothing in here waits, reads a clock, draws randomness, opens a socket or writes a log.
Time is an argument (`now`, int UTC seconds) and randomness a dependency (`Entropy`).
"""

from trio_vmess.core.buffer import NEED_DATA, NeedData, ReceiveBuffer
from trio_vmess.core.codec import Codec, IdentityCodec, PrefixedCodec
from trio_vmess.core.destination import Destination, Host, Network, parse_endpoint, parse_host
from trio_vmess.core.entropy import Entropy

__all__ = [
    "NEED_DATA",
    "Codec",
    "Destination",
    "Entropy",
    "Host",
    "IdentityCodec",
    "NeedData",
    "Network",
    "PrefixedCodec",
    "ReceiveBuffer",
    "parse_endpoint",
    "parse_host",
]
