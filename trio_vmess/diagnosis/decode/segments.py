"""What of a captured packet matters: a TCP segment, with as much of its data as was captured."""

import ipaddress
from typing import TypeAlias

import attrs

from trio_vmess.core import format_endpoint

Endpoint: TypeAlias = tuple[bytes, int]
"""An IP address in 4 or 16 bytes, and a port."""


def show_endpoint(endpoint: Endpoint) -> str:
    """Write an endpoint as `address:port`."""
    address, port = endpoint
    return format_endpoint(ipaddress.ip_address(address), port)


@attrs.frozen(kw_only=True)
class Segment:
    """A TCP segment.

    Attributes:
        time: UTC seconds.
        source: who has sent it.
        target: whom to.
        sequence: the sequence number, 32 bits; with `syn`, that of the SYN.
        syn: it opens the connection.
        ack: it acknowledges something; with `syn`, it is the server's.
        fin: its end is the end of the direction.
        rst: the connection was reset.
        data: the payload, as far as it was captured.
        missing: how many bytes of payload behind `data` were sent, but not captured.
    """

    time: float
    source: Endpoint
    target: Endpoint
    sequence: int
    syn: bool = False
    ack: bool = False
    fin: bool = False
    rst: bool = False
    data: bytes = attrs.field(default=b"", repr=lambda data: f"<{len(data)} bytes>")
    missing: int = 0


@attrs.frozen(kw_only=True)
class SkippedPacket:
    """A packet that holds no segment: a phrase says what it is."""

    reason: str
