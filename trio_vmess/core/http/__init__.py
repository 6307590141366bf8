"""HTTP/1.1 as the proxy speaks it: CONNECT tunnels and forwarded requests."""

from trio_vmess.core.http.client import HttpConnectClient, TunnelRefused
from trio_vmess.core.http.events import (
    PAUSED,
    Challenged,
    Connect,
    ConnectionClosed,
    Data,
    EndOfMessage,
    Established,
    Failure,
    Forward,
    Paused,
    ResponseData,
    ResponseEnd,
    ResponseHead,
)
from trio_vmess.core.http.server import HttpProxyServer

__all__ = [
    "PAUSED",
    "Challenged",
    "Connect",
    "ConnectionClosed",
    "Data",
    "EndOfMessage",
    "Established",
    "Failure",
    "Forward",
    "HttpConnectClient",
    "HttpProxyServer",
    "Paused",
    "ResponseData",
    "ResponseEnd",
    "ResponseHead",
    "TunnelRefused",
]
