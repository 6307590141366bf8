"""Builds what lies between sockets and protocols: TLS, and carriers such as WebSocket.

    listening socket -> layers -> inbound -> dispatch -> outbound -> layers -> connected socket

A layer in front of an inbound is an `Inbound` itself, and one around what dials is a `Connect`, so
neither inbounds nor outbounds know of any. What a layer needs is imported when one is configured.
"""

import enum
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, assert_never

import attrs

from trio_vmess.config import (
    CarrierSettings,
    FallbackSettings,
    GrpcSettings,
    Http2Settings,
    HttpUpgradeSettings,
    InboundSettings,
    OutboundSettings,
    StreamSettings,
    TcpSettings,
    WebSocketSettings,
    carrier_alpn,
)
from trio_vmess.contracts import Connect, Fallback, Inbound
from trio_vmess.node.lifecycle import Service

if TYPE_CHECKING:
    from trio_vmess.node.certificates import InboundCertificates
    from trio_vmess.transport.carriage import FrameBuffer
    from trio_vmess.transport.tls import TlsBuffers

HTTP_1: Final = ("http/1.1",)
HTTP_2: Final = ("h2",)

HTTP_2_READ_SIZE: Final = 512 * 1024

Front = Callable[[Inbound], Inbound]
"""Puts layers in front of an inbound."""

Around = Callable[[Connect], Connect]
"""Puts layers around what dials."""


class OutboundLayer(enum.Enum):
    """What an outbound's connections are made of, from the socket up."""

    SOCKET = "socket"
    TLS = "tls"
    CARRIER = "carrier"


Observe = Callable[[OutboundLayer, Connect], Connect]
"""Returns what is to dial in place of a layer, to see what it does."""


def _unobserved(_layer: OutboundLayer, connect: Connect) -> Connect:
    return connect


MakeFallback = Callable[[FallbackSettings], Fallback]
"""Builds what answers strangers."""


@attrs.define(eq=False, slots=False, kw_only=True)
class LayerBuilder:
    """Builds the layers of one node.

    Attributes:
        file: the name of the configuration file, for errors.
        make_fallback: builds what answers strangers; None where there are no inbounds.
        observe: called with each layer of an outbound, as the others see it.
        services: layers built so far that have tasks of their own; the node runs them.
        certificates: of the inbounds that were built so far; each is a `Service`.
    """

    file: str = ""
    make_fallback: MakeFallback | None = None
    observe: Observe = _unobserved
    services: list[Service] = attrs.field(factory=lambda: list[Service](), init=False)
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

    @functools.cached_property
    def _http2_buffer(self) -> memoryview:
        return memoryview(bytearray(HTTP_2_READ_SIZE))

    def for_inbound(self, settings: InboundSettings, *, handshake: float) -> Front:
        """Build the layers of an inbound; the result puts them in front of its ports' handlers.

        Args:
            settings: the inbound's.
            handshake: seconds until a request must be complete, on each stream of a connection.

        Raises:
            ConfigError: a certificate cannot be used.
        """
        stream = settings.stream
        fronts = [
            *self._carrier_fronts(stream, self._fallback_of(stream), handshake=handshake),
            *self._tls_fronts(stream, tag=settings.tag),
            *_proxy_fronts(stream),
        ]
        return lambda inbound: functools.reduce(lambda inner, front: front(inner), fronts, inbound)

    def innermost_fallback(self, settings: InboundSettings) -> Fallback | None:
        """Build what answers strangers who get through all layers to the protocol itself.

        None where a carrier is in between: inside it, nobody can be shown a web site.
        """
        stream = settings.stream
        return self._fallback_of(stream) if stream.carrier == TcpSettings() else None

    def _fallback_of(self, stream: StreamSettings) -> Fallback | None:
        if stream.fallback is None:
            return None
        if self.make_fallback is None:
            raise TypeError("these layers are for outbounds, which have no fallback")
        return self.make_fallback(stream.fallback)

    def for_outbound(self, settings: OutboundSettings, *, ahead: Around | None = None) -> Around:
        """Build the layers of an outbound; the result puts them around what dials its servers.

        Args:
            settings: the outbound's.
            ahead: goes around what can be opened ahead of time: all layers, or those below a
                carrier whose request waits for the first payload.

        Raises:
            ConfigError: a certificate cannot be used.
        """
        stream = settings.stream
        arounds = [
            *(self._observed(OutboundLayer.TLS, each) for each in self._tls_arounds(stream)),
            *(
                self._observed(OutboundLayer.CARRIER, each)
                for each in self._carrier_arounds(stream)
            ),
        ]
        if ahead is not None:
            waits = _waits_for_payload(stream.carrier)
            arounds.insert(len(arounds) - waits, ahead)
        return lambda connect: functools.reduce(
            lambda inner, around: around(inner),
            arounds,
            self.observe(OutboundLayer.SOCKET, connect),
        )

    def _observed(self, layer: OutboundLayer, around: Around) -> Around:
        return lambda connect: self.observe(layer, around(connect))

    # TLS ----------------------------------------------------------------------------------------

    def _tls_fronts(self, stream: StreamSettings, *, tag: str) -> Sequence[Front]:
        if stream.tls is None:
            return ()
        from trio_vmess.node.tls import load_certificates, tls_server

        certificates = load_certificates(
            stream.tls, _alpn_of(stream, _server_alpn), tag=tag, file=self.file
        )
        self.certificates.append(certificates)
        plain: Fallback | None = None
        if stream.fallback is not None or stream.carrier != TcpSettings():
            # It is known for a web server by what is inside, so it may look like one outside.
            from trio_vmess.node.fallbacks import plain_http

            plain = plain_http()
        return (lambda inbound: tls_server(inbound, certificates, self._tls_buffers, plain),)

    def _tls_arounds(self, stream: StreamSettings) -> Sequence[Around]:
        if stream.tls is None:
            return ()
        from trio_vmess.node.tls import tls_client

        alpn = _alpn_of(stream, _client_alpn)
        return (
            tls_client(
                stream.tls,
                alpn,
                self._tls_buffers,
                sends_next=_sends_at_once(stream.carrier),
                file=self.file,
            ),
        )

    # Carriers -----------------------------------------------------------------------------------

    def _carrier_fronts(
        self, stream: StreamSettings, fallback: Fallback | None, *, handshake: float
    ) -> Sequence[Front]:
        match stream.carrier:
            case TcpSettings(header=header):
                if header is None:
                    return ()
                from trio_vmess.node.carriers import camouflage_server

                return (camouflage_server(header, fallback),)
            case WebSocketSettings() | HttpUpgradeSettings() as carrier:
                from trio_vmess.node.carriers import upgrade_server
                from trio_vmess.transport.carriage import TrustedProxies

                proxies = TrustedProxies(stream.trusted_proxies)
                buffer = self._frame_buffer
                return (upgrade_server(carrier, buffer, proxies=proxies, fallback=fallback),)
            case Http2Settings() | GrpcSettings() as carrier:
                from trio_vmess.node.http2 import http2_server
                from trio_vmess.transport.carriage import TrustedProxies

                proxies = TrustedProxies(stream.trusted_proxies)
                return (
                    http2_server(carrier, self._http2_buffer, proxies=proxies, handshake=handshake),
                )
            case _ as never:
                assert_never(never)

    def _carrier_arounds(self, stream: StreamSettings) -> Sequence[Around]:
        match stream.carrier:
            case TcpSettings(header=header):
                if header is None:
                    return ()
                from trio_vmess.node.carriers import camouflage_client

                return (camouflage_client(header),)
            case WebSocketSettings() | HttpUpgradeSettings() as carrier:
                from trio_vmess.node.carriers import upgrade_client

                name = None if stream.tls is None else stream.tls.server_name
                return (upgrade_client(carrier, self._frame_buffer, server_name=name),)
            case Http2Settings() | GrpcSettings() as carrier:
                from trio_vmess.node.http2 import http2_client

                return (
                    http2_client(
                        carrier,
                        self._http2_buffer,
                        server_name="" if stream.tls is None else stream.tls.server_name,
                        add_service=self.services.append,
                    ),
                )
            case _ as never:
                assert_never(never)


def _proxy_fronts(stream: StreamSettings) -> Sequence[Front]:
    if not stream.accept_proxy_protocol:
        return ()
    from trio_vmess.transport.carriage import ProxyHeaderFront, TrustedProxies

    proxies = TrustedProxies(stream.trusted_proxies)
    return (lambda inbound: ProxyHeaderFront(inbound=inbound, proxies=proxies),)


def _alpn_of(
    stream: StreamSettings, default: Callable[[CarrierSettings], Sequence[str]]
) -> Sequence[str]:
    """Return the application protocols of TLS: those of the settings, if the carrier speaks any."""
    wanted = () if stream.tls is None else carrier_alpn(stream.carrier, stream.tls.alpn)
    return wanted or default(stream.carrier)


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


def _sends_at_once(carrier: CarrierSettings) -> bool:
    """Return whether a client sends a request of its own before there is anything to carry."""
    match carrier:
        case WebSocketSettings() | HttpUpgradeSettings():
            return not _waits_for_payload(carrier)
        case TcpSettings() | Http2Settings() | GrpcSettings():
            return False
        case _ as never:
            assert_never(never)


def _waits_for_payload(carrier: CarrierSettings) -> bool:
    """Return whether the request of a client travels with the first bytes that it carries."""
    match carrier:
        case WebSocketSettings(max_early_data=early_size):
            return bool(early_size)
        case HttpUpgradeSettings(max_early_data=early_size, is_eager=is_eager):
            return bool(early_size) or is_eager
        case TcpSettings() | Http2Settings() | GrpcSettings():
            return False
        case _ as never:
            assert_never(never)
