"""Carriers as settings of our own nodes: the counterpart of `tests.kit.peer_carriers`."""

from collections.abc import Callable, Mapping
from typing import Final

from tests.kit.carriers import SERVER_NAME, CarrierSpec, Network, Role
from tests.kit.peer_carriers import certificate_lines, root_lines
from trio_vmess import config


def node_stream(spec: CarrierSpec, role: Role) -> config.StreamSettings:
    """Return the settings of a VMess inbound (`server`) or outbound (`client`)."""
    is_client = role == "client"
    return config.StreamSettings(
        carrier=_CARRIERS[spec.network](spec, role),
        tls=_tls(role) if spec.tls else None,
        accept_proxy_protocol=spec.proxy_protocol,
        unix=config.UnixSocket(spec.unix) if spec.unix and is_client else None,
    )


def _tls(role: Role) -> config.TlsSettings:
    if role == "client":
        root = config.CertificateSettings(certificate="\n".join(root_lines()))
        return config.TlsSettings(server_name=SERVER_NAME, roots=(root,), disable_system_root=True)
    chain, key = certificate_lines()
    own = config.CertificateSettings(certificate="\n".join(chain), key="\n".join(key))
    return config.TlsSettings(certificates=(own,))


def _tcp(spec: CarrierSpec, role: Role) -> config.CarrierSettings:
    return config.TcpSettings()


def _tcp_http(spec: CarrierSpec, role: Role) -> config.CarrierSettings:
    request = config.HttpRequestSettings(paths=(spec.path,))
    return config.TcpSettings(header=config.HttpHeaderSettings(request=request))


def _ws(spec: CarrierSpec, role: Role) -> config.CarrierSettings:
    return config.WebSocketSettings(
        path=spec.path,
        host=spec.host,
        max_early_data=spec.early_data if role == "client" else 0,
        early_data_header=spec.early_data_header,
        heartbeat=float(spec.heartbeat),
    )


def _httpupgrade(spec: CarrierSpec, role: Role) -> config.CarrierSettings:
    is_eager = spec.is_eager and role == "client"
    return config.HttpUpgradeSettings(path=spec.path, host=spec.host, is_eager=is_eager)


def _h2(spec: CarrierSpec, role: Role) -> config.CarrierSettings:
    return config.Http2Settings(path=spec.path, hosts=(spec.host,))


def _grpc(spec: CarrierSpec, role: Role) -> config.CarrierSettings:
    return config.GrpcSettings(
        service_name=spec.service_name, is_multi=spec.is_multi, authority=spec.host
    )


_CARRIERS: Final[Mapping[Network, Callable[[CarrierSpec, Role], config.CarrierSettings]]] = {
    "tcp": _tcp,
    "tcp-http": _tcp_http,
    "ws": _ws,
    "httpupgrade": _httpupgrade,
    "h2": _h2,
    "grpc": _grpc,
}
