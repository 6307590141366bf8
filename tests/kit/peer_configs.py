"""Specs written down in the peers' own configuration languages. Pure functions.

A configuration has one inbound (VMess or SOCKS) and one outbound (freedom or VMess), so a server,
a client and a chain are three choices of the same two halves.
"""

from collections.abc import Mapping

from tests.kit.peer_carriers import Json, sing_box_carrier
from tests.kit.peer_specs import ClientSpec, ServerSpec

_DYNAMIC_TAG = "dynamic"


def v2ray_vmess_inbounds(spec: ServerSpec, port: int, stream: Json | None = None) -> list[Json]:
    """Return the VMess inbound of V2Ray and Xray and, for dynamic ports, the one it points to.

    Args:
        spec: how it is called.
        port: where it listens, unless its carrier names a Unix socket.
        stream: what carries it, as `streamSettings`; None for bare TCP.
    """
    settings: Json = {
        "clients": [{"id": spec.user_id, "alterId": spec.alter_id, "email": "user@test.invalid"}]
    }
    main: Json = {
        "tag": "vmess",
        "protocol": "vmess",
        "settings": settings,
        "streamSettings": stream or {},
        **_v2ray_address(spec, port),
    }
    if spec.dynamic_ports is None:
        return [main]
    plan = spec.dynamic_ports
    settings["detour"] = {"to": _DYNAMIC_TAG}
    detour: Json = {
        "tag": _DYNAMIC_TAG,
        "protocol": "vmess",
        "listen": spec.host,
        "port": f"{plan.ports[0]}-{plan.ports[-1]}",
        "settings": {"clients": [], "default": {"alterId": plan.alter_id, "level": 0}},
        "allocate": {
            "strategy": "random",
            "concurrency": plan.concurrency,
            "refresh": plan.refresh,
        },
    }
    return [main, detour]


def _v2ray_address(spec: ServerSpec, port: int) -> Json:
    if spec.carrier.unix:
        return {"listen": spec.carrier.unix}
    return {"listen": spec.host, "port": port}


def v2ray_socks_inbound(spec: ClientSpec, host: str, port: int) -> Json:
    """Return the SOCKS inbound of V2Ray and Xray."""
    settings: Json = {"auth": "noauth", "udp": spec.udp, "ip": host}
    if spec.proxy_login is not None:
        user, password = spec.proxy_login
        settings |= {"auth": "password", "accounts": [{"user": user, "pass": password}]}
    return {
        "tag": "socks",
        "protocol": "socks",
        "listen": host,
        "port": port,
        "settings": settings,
    }


def v2ray_vmess_outbound(
    spec: ClientSpec, stream: Json | None = None, *, experiments: str = ""
) -> Json:
    """Return the VMess outbound of V2Ray and Xray.

    Args:
        spec: whom to call, as whom.
        stream: what carries it, as `streamSettings`; None for bare TCP.
        experiments: Xray's list of extras; V2Ray 4 ignores the key.
    """
    user: Json = {"id": spec.user_id, "alterId": spec.alter_id, "security": spec.security}
    if experiments:
        user["experiments"] = experiments
    outbound: Json = {
        "tag": "vmess",
        "protocol": "vmess",
        "settings": {
            "vnext": [{"address": spec.server_host, "port": spec.server_port, "users": [user]}]
        },
        "streamSettings": stream or {},
    }
    if spec.mux:
        outbound["mux"] = {"enabled": True, "concurrency": 8}
    return outbound


def v2ray_configuration(inbounds: list[Json], outbound: Mapping[str, object]) -> Json:
    """Return a whole configuration for V2Ray or Xray."""
    return {"log": {"loglevel": "debug"}, "inbounds": inbounds, "outbounds": [outbound]}


def sing_box_vmess_inbound(spec: ServerSpec, port: int) -> Json:
    """Return the VMess inbound of sing-box."""
    return {
        "tag": "vmess-in",
        "type": "vmess",
        "listen": spec.host,
        "listen_port": port,
        "users": [{"name": "user", "uuid": spec.user_id, "alterId": spec.alter_id}],
        **sing_box_carrier(spec.carrier, "server"),
    }


def sing_box_socks_inbound(spec: ClientSpec, host: str, port: int) -> Json:
    """Return the SOCKS inbound of sing-box; it always grants associations."""
    inbound: Json = {"tag": "socks-in", "type": "socks", "listen": host, "listen_port": port}
    if spec.proxy_login is not None:
        user, password = spec.proxy_login
        inbound["users"] = [{"username": user, "password": password}]
    return inbound


def sing_box_vmess_outbound(spec: ClientSpec) -> Json:
    """Return the VMess outbound of sing-box."""
    return {
        "tag": "vmess-out",
        "type": "vmess",
        "server": spec.server_host,
        "server_port": spec.server_port,
        "uuid": spec.user_id,
        "security": spec.security,
        "alter_id": spec.alter_id,
        "global_padding": bool(spec.global_padding),
        "authenticated_length": spec.authenticated_length,
        "packet_encoding": "" if spec.packet_encoding == "off" else spec.packet_encoding,
        **sing_box_carrier(spec.carrier, "client"),
    }


def sing_box_configuration(inbound: Mapping[str, object], outbound: Mapping[str, object]) -> Json:
    """Return a whole configuration for sing-box; names are resolved by the machine itself."""
    return {
        "log": {"level": "debug"},
        "dns": {"servers": [{"tag": "machine", "type": "local"}]},
        "route": {"default_domain_resolver": "machine"},
        "inbounds": [inbound],
        "outbounds": [outbound],
    }
