"""Between share links and settings: what a link says of a transport, and how one is put into it.

Source:
    v2rayN, ServiceLib/Handler/Fmt/VmessFmt.cs; Services/CoreConfig for what becomes of the fields.
"""

from typing import Final, assert_never

import attrs

from trio_vmess.config import values
from trio_vmess.config.carriers import request_path, take_early_data, unsupported_carrier
from trio_vmess.config.endpoints import (
    OutboundSettings,
    OutboundUserSettings,
    VMessOutboundSettings,
    VMessServerSettings,
)
from trio_vmess.config.share_link import ShareLink
from trio_vmess.config.streams import unsupported_security
from trio_vmess.config.tls import carrier_alpn
from trio_vmess.config.transports import (
    EARLY_DATA_HEADER,
    CarrierSettings,
    GrpcSettings,
    Http2Settings,
    HttpHeaderSettings,
    HttpRequestSettings,
    HttpUpgradeSettings,
    StreamSettings,
    TcpSettings,
    TlsSettings,
    WebSocketSettings,
)
from trio_vmess.config.tree import Value, quote
from trio_vmess.core.vmess import parse_user_id
from trio_vmess.errors import ConfigError, ConfigProblem

__all__ = ["share_link_outbound", "with_stream"]

_EAGER: Final = 2048
"""What is written as `ed=` for HTTPUpgrade, where Xray asks only whether it is above 0."""

_CAMOUFLAGE_HEADERS: Final = {
    "User-Agent": ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",),
    "Accept-Encoding": ("gzip, deflate",),
    "Connection": ("keep-alive",),
    "Pragma": ("no-cache",),
}
"""What goes with the Host header of a link: headers that are set replace all default ones."""


def share_link_outbound(link: ShareLink, *, tag: str = "") -> OutboundSettings:
    """Return the outbound that a link describes. A fingerprint in it has no effect.

    Raises:
        ConfigError: the link needs a transport that is not supported.
    """
    stream = _LinkReader(link).read()
    user = OutboundUserSettings(
        id=parse_user_id(link.uuid), alter_id=link.alter_id, security=link.security
    )
    server = VMessServerSettings(
        address=values.host(Value(link.address)), port=link.port, users=(user,)
    )
    protocol = VMessOutboundSettings(servers=(server,), packet_encoding=link.packet_encoding)
    return OutboundSettings(protocol=protocol, tag=tag, stream=stream)


class _LinkReader:
    def __init__(self, link: ShareLink) -> None:
        self._link = link
        self._problems: list[ConfigProblem] = []

    def read(self) -> StreamSettings:
        carrier = self._carrier()
        tls = self._tls(carrier)
        if self._problems:
            raise ConfigError(*self._problems)
        return StreamSettings(carrier=carrier, tls=tls)

    def _problem(self, key: str, message: str) -> None:
        self._problems.append(ConfigProblem(where=key, message=message))

    def _carrier(self) -> CarrierSettings:
        link = self._link
        match link.network:
            case "tcp":
                return TcpSettings(header=self._camouflage())
            case "ws":
                path, early_data = self._path_and_early_data()
                return WebSocketSettings(path=path, host=link.host, max_early_data=early_data)
            case "httpupgrade":
                path, early_data = self._path_and_early_data()
                return HttpUpgradeSettings(path=path, host=link.host, is_eager=early_data > 0)
            case "h2":
                return Http2Settings(hosts=_listed(link.host), path=request_path(link.path))
            case "grpc":
                return self._grpc()
            case other:
                self._problem(
                    "net", unsupported_carrier(other) or f"unknown transport {quote(other)}"
                )
                return TcpSettings()

    def _path_and_early_data(self) -> tuple[str, int]:
        try:
            return take_early_data(request_path(self._link.path))
        except ValueError as exc:
            self._problem("path", str(exc))
            return "/", 0

    def _camouflage(self) -> HttpHeaderSettings | None:
        link = self._link
        if link.header_type != "http":
            if link.header_type != "none":
                self._problem("type", values.unknown("type", link.header_type, ("none", "http")))
            return None
        hosts = _listed(link.host)
        request = HttpRequestSettings(
            paths=tuple(map(request_path, _listed(link.path))) or ("/",),
            headers={"Host": hosts, **_CAMOUFLAGE_HEADERS} if hosts else None,
        )
        return HttpHeaderSettings(request=request)

    def _grpc(self) -> GrpcSettings:
        link = self._link
        if link.header_type not in ("gun", "multi", "none"):
            self._problem("type", values.unknown("type", link.header_type, ("gun", "multi")))
        return GrpcSettings(
            service_name=link.path, is_multi=link.header_type == "multi", authority=link.host
        )

    def _tls(self, carrier: CarrierSettings) -> TlsSettings | None:
        link = self._link
        if not link.tls:
            return None
        if link.tls != "tls":
            self._problem("tls", unsupported_security(link.tls))
            return None
        return TlsSettings(
            server_name=self._server_name(),
            alpn=carrier_alpn(carrier, link.alpn),
            allow_insecure=link.insecure,
        )

    def _server_name(self) -> str:
        link = self._link
        if not link.sni:
            return _name_in(next(iter(_listed(link.host)), ""))
        if not (name := _name_in(link.sni)):
            self._problem("sni", f"{quote(link.sni)} is neither an IP address nor a domain name")
        return name


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _name_in(host: str) -> str:
    """Return the name in a Host header, without its port; empty if there is none."""
    name, colon, port = host.rpartition(":")
    bare = name if colon and port.isdecimal() and ":" not in name else host
    try:
        return str(values.host(Value(bare)))
    except ValueError:
        return ""


def with_stream(link: ShareLink, stream: StreamSettings) -> ShareLink:
    """Return a link with the transport that leads to a server.

    What links have no field for is left out: headers, certificates to trust, options of sockets.

    Args:
        link: with the address, the user and so on.
        stream: of the server, or of an outbound to it.
    """
    link = _with_carrier(link, stream.carrier)
    if stream.tls is None:
        return attrs.evolve(link, tls="", sni="", alpn=(), insecure=False)
    return attrs.evolve(
        link,
        tls="tls",
        sni=stream.tls.server_name,
        alpn=carrier_alpn(stream.carrier, stream.tls.alpn),
        insecure=stream.tls.allow_insecure,
    )


def _with_carrier(link: ShareLink, carrier: CarrierSettings) -> ShareLink:
    network, header_type = "tcp", "none"
    host = path = ""
    match carrier:
        case TcpSettings():
            if carrier.header is not None:
                request, header_type = carrier.header.request, "http"
                host, path = ",".join(_hosts_of(request)), ",".join(request.paths)
        case WebSocketSettings():
            has_place = carrier.early_data_header == EARLY_DATA_HEADER
            early_data = carrier.max_early_data if has_place else 0
            network, host = "ws", carrier.host
            path = _with_early_data(carrier.path, early_data)
        case HttpUpgradeSettings():
            network, host = "httpupgrade", carrier.host
            path = _with_early_data(carrier.path, _EAGER if carrier.is_eager else 0)
        case Http2Settings():
            network, host, path = "h2", ",".join(carrier.hosts), carrier.path
        case GrpcSettings():
            network, header_type = "grpc", "multi" if carrier.is_multi else "gun"
            host, path = carrier.authority, carrier.service_name
        case _:
            assert_never(carrier)
    return attrs.evolve(link, network=network, header_type=header_type, host=host, path=path)


def _hosts_of(request: HttpRequestSettings) -> tuple[str, ...]:
    headers = request.headers or {}
    return next((headers[name] for name in headers if name.lower() == "host"), ())


def _with_early_data(path: str, size: int) -> str:
    if not size:
        return path
    return f"{path}{'&' if '?' in path else '?'}ed={size}"
