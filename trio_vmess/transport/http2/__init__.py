"""The transports `http` and `grpc`: streams of shared HTTP/2 connections, as server and client.

Importing this needs the extra `http2`: nothing does that but a configuration with such a transport.
"""

from trio_vmess.core.carriage.http2 import GrpcTunnel, HttpTunnel, Request, Response, Tunnel
from trio_vmess.transport.http2.client import Http2Client
from trio_vmess.transport.http2.keep_alive import KeepAlive
from trio_vmess.transport.http2.messages import MessageTransport
from trio_vmess.transport.http2.server import Http2Server, Respond, respond_not_found
from trio_vmess.transport.http2.stream import Http2Stream

__all__ = [
    "GrpcTunnel",
    "Http2Client",
    "Http2Server",
    "Http2Stream",
    "HttpTunnel",
    "KeepAlive",
    "MessageTransport",
    "Request",
    "Respond",
    "Response",
    "Tunnel",
    "respond_not_found",
]
