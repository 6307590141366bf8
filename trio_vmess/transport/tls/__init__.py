"""TLS as a layer over any transport. It is imported by nodes that use it: OpenSSL takes memory."""

from trio_vmess.transport.tls.connection import PIECE, TlsBuffers, TlsTransport, reason_of
from trio_vmess.transport.tls.contexts import KeyPair, TlsOptions, client_context, server_context
from trio_vmess.transport.tls.layers import TlsConnect, TlsIdentity, TlsServer

__all__ = [
    "PIECE",
    "KeyPair",
    "TlsBuffers",
    "TlsConnect",
    "TlsIdentity",
    "TlsOptions",
    "TlsServer",
    "TlsTransport",
    "client_context",
    "reason_of",
    "server_context",
]
