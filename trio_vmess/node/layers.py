"""Builds what lies between sockets and protocols: TLS, and carriers such as WebSocket.

    listening socket -> layers -> inbound -> dispatch -> outbound -> layers -> connected socket

A layer in front of an inbound is an `Inbound` itself, and one around what dials is a `Connect`, so
neither inbounds nor outbounds know of any. What a layer needs is imported when one is configured.
"""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, assert_never

import attrs

from trio_vmess.config import (
    CarrierSettings,
    GrpcSettings,
    Http2Settings,
    HttpHeaderSettings,
    HttpUpgradeSettings,
    InboundSettings,
    OutboundSettings,
    StreamSettings,
    TcpSettings,
    WebSocketSettings,
)
from trio_vmess.contracts import Connect, Inbound

if TYPE_CHECKING:
    from trio_vmess.node.certificates import InboundCertificates
    from trio_vmess.transport.carriage import FrameBuffer
    from trio_vmess.transport.tls import TlsBuffers

HTTP_1: Final = ("http/1.1",)
HTTP_2: Final = ("h2",)

Front = Callable[[Inbound], Inbound]
"""Puts layers in front of an inbound."""

Around = Callable[[Connect], Connect]
"""Puts layers around what dials."""


@attrs.define(eq=False, slots=False, kw_only=True)
class LayerBuilder:
    """Builds the layers of one node.

    Attributes:
        file: the name of the configuration file, for errors.
        certificates: of the inbounds that were built so far; each is a `Service`.
    """

    file: str = ""
    certificates: "list[InboundCertificates]" = attrs.field(
        factory=lambda: list["InboundCertificates"](), init=False
    )

    @functools.cached_property
    def _tls_buffers(self) -> "TlsBuffers":
        from trio_vmess.transport.tls import TlsBuffers

        return TlsBuffers()

    @functools.cached_property
    def _frame_buffer(self) -> "FrameBuffer":
        from trio_vmess.transport.carriage import FrameBuffer

        return FrameBuffer()

    def for_inbound(self, settings: InboundSettings) -> Front:
        """Build the layers of an inbound; the result puts them in front of its ports' handlers.

        Raises:
            ConfigError: a certificate cannot be used.
        """
        stream = settings.stream
        fronts = [
            *self._carrier_fronts(stream),
            *self._tls_fronts(stream, tag=settings.tag),
            *_proxy_fronts(stream),
        ]
        return lambda inbound: functools.reduce(lambda inner, front: front(inner), fronts, inbound)

    def for_outbound(self, settings: OutboundSettings) -> Around:
        """Build the layers of an outbound; the result puts them around what dials its servers.

        Raises:
            ConfigError: a certificate cannot be used.
        """
        stream = settings.stream
        arounds = [*self._tls_arounds(stream), *self._carrier_arounds(stream)]
        return lambda connect: functools.reduce(
            lambda inner, around: around(inner), arounds, connect
        )

    # TLS ----------------------------------------------------------------------------------------

    def _tls_fronts(self, stream: StreamSettings, *, tag: str) -> Sequence[Front]:
        if stream.tls is None:
            return ()
        from trio_vmess.node.tls import load_certificates, tls_server

        certificates = load_certificates(
            stream.tls, _server_alpn(stream.carrier), tag=tag, file=self.file
        )
        self.certificates.append(certificates)
        return (lambda inbound: tls_server(inbound, certificates, self._tls_buffers),)

    def _tls_arounds(self, stream: StreamSettings) -> Sequence[Around]:
        if stream.tls is None:
            return ()
        from trio_vmess.node.tls import tls_client

        alpn = _client_alpn(stream.carrier)
        return (tls_client(stream.tls, alpn, self._tls_buffers, file=self.file),)

    # Carriers -----------------------------------------------------------------------------------

    def _carrier_fronts(self, stream: StreamSettings) -> Sequence[Front]:
        match stream.carrier:
            case TcpSettings(header=None):
                return ()
            case TcpSettings(header=HttpHeaderSettings() as header):
                from trio_vmess.node.carriers import camouflage_server

                return (camouflage_server(header),)
            case WebSocketSettings() | HttpUpgradeSettings() as carrier:
                from trio_vmess.node.carriers import upgrade_server
                from trio_vmess.transport.carriage import TrustedProxies

                proxies = TrustedProxies(stream.trusted_proxies)
                return (upgrade_server(carrier, self._frame_buffer, proxies=proxies),)
            case _:
                raise TypeError(f"no carrier of this kind: {stream.carrier}")

    def _carrier_arounds(self, stream: StreamSettings) -> Sequence[Around]:
        match stream.carrier:
            case TcpSettings(header=None):
                return ()
            case TcpSettings(header=HttpHeaderSettings() as header):
                from trio_vmess.node.carriers import camouflage_client

                return (camouflage_client(header),)
            case WebSocketSettings() | HttpUpgradeSettings() as carrier:
                from trio_vmess.node.carriers import upgrade_client

                name = None if stream.tls is None else stream.tls.server_name
                return (upgrade_client(carrier, self._frame_buffer, server_name=name),)
            case _:
                raise TypeError(f"no carrier of this kind: {stream.carrier}")


def _proxy_fronts(stream: StreamSettings) -> Sequence[Front]:
    if not stream.accept_proxy_protocol:
        return ()
    from trio_vmess.transport.carriage import ProxyHeaderFront, TrustedProxies

    proxies = TrustedProxies(stream.trusted_proxies)
    return (lambda inbound: ProxyHeaderFront(inbound=inbound, proxies=proxies),)


def _server_alpn(carrier: CarrierSettings) -> Sequence[str]:
    """Return what a server offers: never what it could not speak if a browser took it."""
    return HTTP_2 if isinstance(carrier, Http2Settings | GrpcSettings) else HTTP_1


def _client_alpn(carrier: CarrierSettings) -> Sequence[str]:
    """Return what a client offers: what V2Ray's does."""
    match carrier:
        case TcpSettings():
            return (*HTTP_2, *HTTP_1)
        case WebSocketSettings() | HttpUpgradeSettings():
            return HTTP_1
        case Http2Settings() | GrpcSettings():
            return HTTP_2
        case _ as never:
            assert_never(never)
