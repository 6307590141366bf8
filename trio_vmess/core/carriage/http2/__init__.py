"""HTTP/2 as a carrier of byte streams: one end of a connection, and its streams.

Importing this needs the extra `http2`.
"""

from trio_vmess.core.carriage.http2.connection import Http2Connection
from trio_vmess.core.carriage.http2.events import (
    DataReceived,
    Event,
    GoAwayReceived,
    PingAcknowledged,
    RequestReceived,
    ResponseReceived,
    SettingsReceived,
    StreamEnded,
    StreamReset,
    WindowOpened,
)
from trio_vmess.core.carriage.http2.frames import ErrorCode, name_of_error
from trio_vmess.core.carriage.http2.headers import Fields, Request, Response
from trio_vmess.core.carriage.http2.limits import DEFAULT_LIMITS, Limits
from trio_vmess.core.carriage.http2.stream import Stream
from trio_vmess.core.carriage.http2.tunnel import GrpcTunnel, HttpTunnel, Tunnel

__all__ = [
    "DEFAULT_LIMITS",
    "DataReceived",
    "ErrorCode",
    "Event",
    "Fields",
    "GoAwayReceived",
    "GrpcTunnel",
    "Http2Connection",
    "HttpTunnel",
    "Limits",
    "PingAcknowledged",
    "Request",
    "RequestReceived",
    "Response",
    "ResponseReceived",
    "SettingsReceived",
    "Stream",
    "StreamEnded",
    "StreamReset",
    "Tunnel",
    "WindowOpened",
    "name_of_error",
]
