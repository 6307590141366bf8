"""Carriers written down in the peers' own configuration languages. Pure functions.

Certificates are written into the configurations themselves: there are no files to keep.
"""

from collections.abc import Callable, Mapping
from typing import Final

from tests.kit.carriers import SERVER_NAME, CarrierSpec, Network, Role
from tests.kit.certificates import authority, issue

Json = dict[str, object]


def root_lines() -> list[str]:
    """Return the authority's certificate, as lines of PEM."""
    return authority().cert_pem.bytes().decode().splitlines()


def certificate_lines() -> tuple[list[str], list[str]]:
    """Return the server's chain and key, as lines of PEM."""
    leaf = issue(SERVER_NAME)
    chain = b"".join(each.bytes() for each in leaf.cert_chain_pems)
    return chain.decode().splitlines(), leaf.private_key_pem.bytes().decode().splitlines()


# V2Ray and Xray -----------------------------------------------------------------------------------


def v2ray_stream(spec: CarrierSpec, role: Role) -> Json:
    """Return V2Ray's `streamSettings`."""
    if spec.unix and role == "client":
        stream: Json = {"network": "ds", "dsSettings": _v2ray_socket(spec.unix)}
    else:
        word, key, settings = _V2RAY_NETWORKS[spec.network](spec, role)
        if spec.proxy_protocol:
            settings["acceptProxyProtocol"] = True
        stream = {"network": word, key: settings}
    return stream | _v2ray_tls(spec, role)


def _v2ray_socket(path: str) -> Json:
    name = path.lstrip("@")
    return {"path": name, "abstract": name != path, "padding": path.startswith("@@")}


def xray_stream(spec: CarrierSpec, role: Role) -> Json:
    """Return Xray's `streamSettings`."""
    word, key, settings = _XRAY_NETWORKS[spec.network](spec, role)
    if spec.proxy_protocol:
        settings["acceptProxyProtocol"] = True
    return {"network": word, key: settings} | _v2ray_tls(spec, role)


def _v2ray_tls(spec: CarrierSpec, role: Role) -> Json:
    if not spec.tls:
        return {}
    if role == "client":
        settings: Json = {
            "serverName": SERVER_NAME,
            "disableSystemRoot": True,
            "certificates": [{"usage": "verify", "certificate": root_lines()}],
        }
    else:
        chain, key = certificate_lines()
        settings = {"certificates": [{"certificate": chain, "key": key}]}
    return {"security": "tls", "tlsSettings": settings}


Named = tuple[str, str, Json]
"""The word for a network, the key of its settings, and the settings."""


def _v2ray_tcp(spec: CarrierSpec, role: Role) -> Named:
    return "tcp", "tcpSettings", {}


def _v2ray_tcp_http(spec: CarrierSpec, role: Role) -> Named:
    header = {"type": "http", "request": {"path": [spec.path]}, "response": {}}
    return "tcp", "tcpSettings", {"header": header}


def _v2ray_ws(spec: CarrierSpec, role: Role) -> Named:
    return "ws", "wsSettings", {"path": spec.path, "headers": {"Host": spec.host}}


def _v2ray_h2(spec: CarrierSpec, role: Role) -> Named:
    return "http", "httpSettings", {"path": spec.path, "host": [spec.host]}


def _xray_ws(spec: CarrierSpec, role: Role) -> Named:
    settings: Json = {
        "path": _xray_path(spec, role, spec.early_data),
        "host": spec.host,
        "heartbeatPeriod": spec.heartbeat,
    }
    return "ws", "wsSettings", settings


def _xray_httpupgrade(spec: CarrierSpec, role: Role) -> Named:
    settings: Json = {"path": _xray_path(spec, role, int(spec.is_eager)), "host": spec.host}
    return "httpupgrade", "httpupgradeSettings", settings


def _xray_path(spec: CarrierSpec, role: Role, early_data: int) -> str:
    return f"{spec.path}?ed={early_data}" if early_data and role == "client" else spec.path


def _xray_grpc(spec: CarrierSpec, role: Role) -> Named:
    settings: Json = {
        "serviceName": spec.service_name,
        "multiMode": spec.is_multi,
        "authority": spec.host,
    }
    return "grpc", "grpcSettings", settings


_V2RAY_NETWORKS: Final[Mapping[Network, Callable[[CarrierSpec, Role], Named]]] = {
    "tcp": _v2ray_tcp,
    "tcp-http": _v2ray_tcp_http,
    "ws": _v2ray_ws,
    "h2": _v2ray_h2,
}

_XRAY_NETWORKS: Final[Mapping[Network, Callable[[CarrierSpec, Role], Named]]] = {
    "tcp": _v2ray_tcp,
    "tcp-http": _v2ray_tcp_http,
    "ws": _xray_ws,
    "httpupgrade": _xray_httpupgrade,
    "grpc": _xray_grpc,
}


# sing-box -----------------------------------------------------------------------------------------


def sing_box_carrier(spec: CarrierSpec, role: Role) -> Json:
    """Return what a carrier adds to sing-box's inbound or outbound."""
    added: Json = {}
    if spec.network != "tcp":
        added["transport"] = _SING_BOX_TRANSPORTS[spec.network](spec)
    if spec.tls:
        added["tls"] = _sing_box_tls(role)
    return added


def _sing_box_tls(role: Role) -> Json:
    if role == "client":
        return {"enabled": True, "server_name": SERVER_NAME, "certificate": root_lines()}
    chain, key = certificate_lines()
    return {"enabled": True, "certificate": chain, "key": key}


def _sing_box_ws(spec: CarrierSpec) -> Json:
    transport: Json = {"type": "ws", "path": spec.path, "headers": {"Host": spec.host}}
    if spec.early_data:
        transport["max_early_data"] = spec.early_data
        transport["early_data_header_name"] = spec.early_data_header
    return transport


def _sing_box_httpupgrade(spec: CarrierSpec) -> Json:
    return {"type": "httpupgrade", "path": spec.path, "host": spec.host}


def _sing_box_h2(spec: CarrierSpec) -> Json:
    return {"type": "http", "path": spec.path, "host": [spec.host], "method": "PUT"}


def _sing_box_grpc(spec: CarrierSpec) -> Json:
    return {"type": "grpc", "service_name": spec.service_name}


_SING_BOX_TRANSPORTS: Final[Mapping[Network, Callable[[CarrierSpec], Json]]] = {
    "ws": _sing_box_ws,
    "httpupgrade": _sing_box_httpupgrade,
    "h2": _sing_box_h2,
    "grpc": _sing_box_grpc,
}
