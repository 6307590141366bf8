"""V2Ray 4's JSON, with the older forms that it still accepts.

V2Ray ignores unknown keys; here they are errors, because most are misspelt. Keys of V2Ray that are
not supported are ignored with a warning if the node works the same without them, and are errors
otherwise: a node must not silently do something else than its file says.

Source:
    v2ray-core, infra/conf/v2ray.go and transport.go.
"""

from typing import Final

import attrs

from trio_vmess.config import values
from trio_vmess.config.endpoints import InboundSettings, OutboundSettings
from trio_vmess.config.inbounds import read_inbound
from trio_vmess.config.model import Config
from trio_vmess.config.outbounds import read_outbound
from trio_vmess.config.reader import Section
from trio_vmess.config.sections import read_api, read_common
from trio_vmess.config.tree import quote

__all__ = ["read_v2ray"]

_IGNORED: Final = {
    "reverse": "reverse proxies are not supported",
    "observatory": "observatories are not supported; set a balancer's probeInterval",
    "burst_observatory": "observatories are not supported; set a balancer's probeInterval",
    "fakedns": "fake DNS is not supported",
    "metrics": "a metrics endpoint is not supported",
    "browser_forwarder": "forwarding to a browser is not supported",
    "version": "the version is not checked",
    "remarks": "remarks are not used",
}
_TRANSPORT_SETTINGS: Final = (
    "tls_settings",
    "xtls_settings",
    "reality_settings",
    "ws_settings",
    "kcp_settings",
    "http_settings",
    "ds_settings",
    "quic_settings",
    "grpc_settings",
    "gun_settings",
    "httpupgrade_settings",
    "xhttp_settings",
)
_PLAIN_TCP: Final = ("tcp", "raw", "")


def read_v2ray(root: Section) -> Config:
    """Read the whole file."""
    for name, why in _IGNORED.items():
        root.ignore(name, why)
    root.ignore("api", "V2Ray's control API is not supported")
    root.ignore("transport", "only plain TCP is supported")
    transport = root.section("transport")
    if transport is not None:
        _check_transport_settings(transport)
    api = root.section("api")
    config = Config(inbounds=_read_inbounds(root), outbounds=_read_outbounds(root))
    return attrs.evolve(
        read_common(root, config),
        stats=_read_stats(root),
        api=None if api is None else read_api(api),
    )


def _read_stats(root: Section) -> bool:
    section = root.section("stats")
    if section is None:
        return False
    section.leave_unread()
    return True


def _endpoints(root: Section, main: str, detour: str, listed: str) -> list[Section]:
    """Return all endpoints in V2Ray's order: the old main one, its old detours, the new list."""
    first = root.section(main)
    return [
        *([] if first is None else [first]),
        *root.sections(detour),
        *root.sections(listed),
    ]


def _read_inbounds(root: Section) -> tuple[InboundSettings, ...]:
    sections = _endpoints(root, "inbound", "inbound_detour", "inbounds")
    port = root.find("port")
    if port is not None and sections:
        sections[0].inherit("port", port)
    return tuple(_read_inbound(each) for each in sections)


def _read_outbounds(root: Section) -> tuple[OutboundSettings, ...]:
    sections = _endpoints(root, "outbound", "outbound_detour", "outbounds")
    return tuple(_read_outbound(each) for each in sections)


def _read_inbound(section: Section) -> InboundSettings:
    _check_stream(section)
    return read_inbound(section, section.section_or_empty("settings"))


def _read_outbound(section: Section) -> OutboundSettings:
    _check_stream(section)
    _check_mux(section)
    proxy = section.section("proxy_settings")
    if proxy is not None:
        proxy.find("transport_layer")
        if proxy.get("tag", values.text, ""):
            section.refuse(
                "proxy_settings", "outbounds that go through other outbounds are not supported"
            )
    return read_outbound(section, section.section_or_empty("settings"))


def _check_mux(section: Section) -> None:
    mux = section.section("mux")
    if mux is None:
        return
    concurrency = mux.get("concurrency", values.whole(-0x8000, 1024), 0)
    for name in ("xudp_concurrency", "xudp_proxy_udp443"):
        mux.find(name, json=("xudpConcurrency",) if "concurrency" in name else ("xudpProxyUDP443",))
    if mux.get("enabled", values.flag, False) and concurrency >= 0:
        mux.refuse(
            "enabled",
            "mux is not supported in outbounds; set it to false, which every server accepts",
        )


def _check_stream(section: Section) -> None:
    stream = section.section("stream_settings")
    if stream is None:
        return
    network = stream.get("network", values.text, "tcp")
    if network.lower() not in _PLAIN_TCP:
        stream.refuse("network", f"the transport {quote(network)} is not supported; only 'tcp' is")
    security = stream.get("security", values.text, "none")
    if security.lower() not in ("none", ""):
        stream.refuse(
            "security", f"the security {quote(security)} is not supported; only 'none' is"
        )
    _check_transport_settings(stream)
    sockopt = stream.section("sockopt")
    if sockopt is not None:
        _check_sockopt(sockopt)


def _check_transport_settings(section: Section) -> None:
    """Check the settings of TCP; those of other transports have no effect on it."""
    for name in _TRANSPORT_SETTINGS:
        section.find(name)
    tcp = section.section("tcp_settings", json=("tcpSettings", "rawSettings"))
    if tcp is None:
        return
    _refuse_if_on(tcp, "accept_proxy_protocol", "the PROXY protocol is not supported")
    header = tcp.section("header")
    if header is None:
        return
    kind = header.get("type", values.text, "none")
    header.find("request")
    header.find("response")
    if kind.lower() not in ("none", ""):
        header.refuse("type", f"the header type {quote(kind)} is not supported; only 'none' is")


def _check_sockopt(section: Section) -> None:
    if section.get("mark", values.whole(-(1 << 31), (1 << 32) - 1), 0):
        section.refuse("mark", "socket marks are not supported; remove it or set it to 0")
    tproxy = section.get("tproxy", values.text, "off")
    if tproxy.lower() not in ("off", ""):
        section.refuse("tproxy", "transparent proxying (tproxy) is not supported")
    _refuse_if_on(section, "accept_proxy_protocol", "the PROXY protocol is not supported")
    for name in ("tcp_fast_open", "tcp_keep_alive_interval", "tcp_keep_alive_idle"):
        section.ignore(name, "the system's default is used")


def _refuse_if_on(section: Section, name: str, why: str) -> None:
    if section.get(name, values.flag, False):
        section.refuse(name, why)
