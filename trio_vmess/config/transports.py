"""What carries a protocol: part of the model, see `trio_vmess.config.model`.

A connection is a TCP connection or a Unix socket, a PROXY header if one is expected, TLS, a carrier
such as WebSocket, and then the protocol of the inbound or outbound. `StreamSettings` has all of it.

Durations are seconds and sizes are bytes. Paths are ready to be opened: the readers have put the
folder of the configuration file in front of relative ones.
"""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from trio_vmess.config.enums import TlsVersion, TransparentProxy
from trio_vmess.config.location import Location, Locations
from trio_vmess.core import Host

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

EARLY_DATA_HEADER: Final = "Sec-WebSocket-Protocol"
"""The header that Xray's clients send early data in."""


@attrs.frozen
class UnixSocket:
    """A Unix socket: a path, or `@name` in Linux's abstract namespace.

    Attributes:
        path: `@@name` is an abstract name that NUL bytes fill to the full length, as for haproxy.
        mode: the permissions of a path to listen on, such as 0o660; None leaves it to the umask.
        owner: the user who is to own that path, by name or number; empty for the node's own.
        group: likewise.
    """

    path: str
    mode: int | None = None
    owner: str = ""
    group: str = ""

    def __str__(self) -> str:
        return self.path


# TLS ----------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class CertificateSettings:
    """A certificate, with its key where it is our own: two files, or two PEM texts.

    Attributes:
        certificate_file: PEM; our own certificate comes first, those that vouch for it follow.
        key_file: PEM; empty if the certificate is only for verification.
        certificate: what `certificate_file` would hold; empty if there is a file.
        key: what `key_file` would hold; a secret.
    """

    certificate_file: str = ""
    key_file: str = ""
    certificate: str = ""
    key: str = attrs.field(default="", repr=False)
    locations: Locations = attrs.field(factory=dict[str, Location], eq=False, repr=False)


@attrs.frozen(kw_only=True)
class TlsSettings:
    """TLS, on either side of a connection.

    Attributes:
        server_name: the name that a client asks for and checks; empty for the dialled one.
        alpn: the application protocols that are offered; empty for those of the carrier.
        certificates: our own. A server selects one by the client's server name, or else the first.
        roots: authorities that a client trusts as it trusts the system's.
        disable_system_root: trust only `roots`.
        allow_insecure: accept any certificate.
        session_resumption: issue and use session tickets.
        min_version: None for the library's choice, which is 1.2 or later.
        max_version: None for the latest.
        reject_unknown_sni: a server fails handshakes for names that no certificate has.
        pinned_certificates: SHA-256 of certificates in DER, 32 bytes each. A client accepts a
            server's own certificate that is among them without further checks; an authority that is
            among them becomes the only one. Empty pins nothing.
        pinned_chains: SHA-256 over whole chains, 32 bytes each: h = SHA256(first), then
            h = SHA256(h + SHA256(next)) for each. Empty pins nothing.
        verify_names: names of which a server's certificate must have one, in place of the
            server name; empty for the server name.
        verify_client_certificate: a server demands certificates of its clients.
        client_roots: the authorities for them.
    """

    server_name: str = ""
    alpn: tuple[str, ...] = ()
    certificates: tuple[CertificateSettings, ...] = ()
    roots: tuple[CertificateSettings, ...] = ()
    disable_system_root: bool = False
    allow_insecure: bool = False
    session_resumption: bool = False
    min_version: TlsVersion | None = None
    max_version: TlsVersion | None = None
    reject_unknown_sni: bool = False
    pinned_certificates: tuple[bytes, ...] = ()
    pinned_chains: tuple[bytes, ...] = ()
    verify_names: tuple[str, ...] = ()
    verify_client_certificate: bool = False
    client_roots: tuple[CertificateSettings, ...] = ()
    locations: Locations = attrs.field(factory=dict[str, Location], eq=False, repr=False)


# Carriers -----------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class HttpRequestSettings:
    """The head that a client sends as camouflage.

    Attributes:
        paths: a client sends one of them at random, a server accepts any of them.
        headers: names with the values to choose from; None for what V2Ray sends.
    """

    version: str = "1.1"
    method: str = "GET"
    paths: tuple[str, ...] = ("/",)
    headers: Mapping[str, tuple[str, ...]] | None = None


@attrs.frozen(kw_only=True)
class HttpResponseSettings:
    """The head that a server sends as camouflage.

    Attributes:
        headers: names with the values to choose from; None for what V2Ray sends.
    """

    version: str = "1.1"
    status: str = "200"
    reason: str = "OK"
    headers: Mapping[str, tuple[str, ...]] | None = None


@attrs.frozen(kw_only=True)
class HttpHeaderSettings:
    """Camouflage: one HTTP head in each direction, raw bytes after it."""

    request: HttpRequestSettings = HttpRequestSettings()
    response: HttpResponseSettings = HttpResponseSettings()


@attrs.frozen(kw_only=True)
class TcpSettings:
    """The bytes as they are.

    Attributes:
        header: HTTP heads that go first; None for none.
    """

    header: HttpHeaderSettings | None = None


@attrs.frozen(kw_only=True)
class WebSocketSettings:
    """WebSocket messages.

    Attributes:
        path: begins with `/`; may have a query.
        host: the Host header that a client sends, and the only one that a server accepts; empty for
            the dialled name, and for any.
        headers: more headers of the client's request; they replace its own of the same name.
        max_early_data: how many bytes of the stream a client sends with its request; 0 for none.
            Servers that do not know of it lose them.
        early_data_header: the header for them; empty to put them behind the path.
        heartbeat: seconds between two pings; 0 for none.
    """

    path: str = "/"
    host: str = ""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    max_early_data: int = 0
    early_data_header: str = EARLY_DATA_HEADER
    heartbeat: float = 0.0


@attrs.frozen(kw_only=True)
class HttpUpgradeSettings:
    """A WebSocket's handshake, with raw bytes after it.

    Attributes:
        path: begins with `/`; may have a query.
        host: as for WebSocket.
        headers: likewise.
        is_eager: a client sends at once, before the server has answered.
        max_early_data: how many bytes of the stream a client sends with its request; 0 for none.
        early_data_header: the header for them.
    """

    path: str = "/"
    host: str = ""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    is_eager: bool = False
    max_early_data: int = 0
    early_data_header: str = EARLY_DATA_HEADER


@attrs.frozen(kw_only=True)
class Http2Settings:
    """A stream of an HTTP/2 connection.

    Attributes:
        hosts: a client sends one of them at random, a server accepts any of them; empty for
            V2Ray's `www.example.com`.
        path: a server accepts all that begin with it.
        headers: more headers of the client's request, with all their values.
        read_idle_timeout: seconds without a byte after which a client pings; 0 for never.
        health_check_timeout: seconds to wait for the answer; 0 for the default.
    """

    hosts: tuple[str, ...] = ()
    path: str = "/"
    method: str = "PUT"
    headers: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict[str, tuple[str, ...]])
    read_idle_timeout: float = 0.0
    health_check_timeout: float = 0.0


@attrs.frozen(kw_only=True)
class GrpcSettings:
    """A gRPC call.

    Attributes:
        service_name: a name; or a full path if it begins with `/`, as in `/a/b/tun|multi`.
        is_multi: a client calls Xray's `TunMulti`, which takes several buffers in a message.
        authority: the `:authority` that a client sends; empty for the TLS server name.
        user_agent: empty for the default.
        idle_timeout: seconds without a byte after which a client pings; 0 for never.
        health_check_timeout: seconds to wait for the answer; 0 for the default.
        permit_without_stream: ping also while there is no call.
        initial_window_size: bytes that may be under way to us per call; 0 for the default.
    """

    service_name: str = ""
    is_multi: bool = False
    authority: str = ""
    user_agent: str = ""
    idle_timeout: float = 0.0
    health_check_timeout: float = 0.0
    permit_without_stream: bool = False
    initial_window_size: int = 0


CarrierSettings = (
    TcpSettings | WebSocketSettings | HttpUpgradeSettings | Http2Settings | GrpcSettings
)


# All of it ----------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class SocketSettings:
    """Options of sockets; None leaves one to the system.

    Attributes:
        mark: Linux's SO_MARK.
        keepalive_idle: seconds without traffic before the first keep-alive.
        keepalive_interval: seconds from one keep-alive to the next.
        interface: the network interface to use; empty for any.
        user_timeout: seconds after which unacknowledged data ends a connection.
        tproxy: how connections are redirected to a dokodemo-door inbound; for no other endpoint.
    """

    mark: int | None = None
    tcp_fast_open: bool | None = None
    keepalive_idle: int | None = None
    keepalive_interval: int | None = None
    interface: str = ""
    user_timeout: float | None = None
    tproxy: TransparentProxy = TransparentProxy.OFF
    locations: Locations = attrs.field(factory=dict[str, Location], eq=False, repr=False)


@attrs.frozen(kw_only=True)
class FallbackSettings:
    """Who answers requests for other paths, and other protocols than ours.

    Attributes:
        target: a folder of files to serve, or a host and port or a Unix socket to connect to.
        proxy_protocol: the version of the PROXY header that is sent there; 0 for none.
    """

    target: Path | tuple[Host, int] | UnixSocket
    proxy_protocol: int = 0


@attrs.frozen(kw_only=True)
class StreamSettings:
    """What carries the protocol of an inbound or outbound.

    Attributes:
        carrier: its class says which one it is.
        tls: None for none.
        accept_proxy_protocol: an inbound demands a PROXY header.
        trusted_proxies: networks whose PROXY and X-Forwarded-For headers an inbound believes.
            Loopback and Unix sockets are always trusted.
        fallback: for an inbound; None for a bare refusal.
        unix: the socket that an outbound connects to, in place of its server's address and port.
    """

    carrier: CarrierSettings = TcpSettings()
    tls: TlsSettings | None = None
    socket: SocketSettings = SocketSettings()
    accept_proxy_protocol: bool = False
    trusted_proxies: tuple[IPNetwork, ...] = ()
    fallback: FallbackSettings | None = None
    unix: UnixSocket | None = None
    locations: Locations = attrs.field(factory=dict[str, Location], eq=False, repr=False)


PLAIN_STREAM: Final = StreamSettings()
"""Bare TCP, or a bare Unix socket to listen on."""
