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
from trio_vmess.config.streams import (
    CarrierDefaults,
    read_carrier_defaults,
    read_v2ray_stream,
)

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
_WITHOUT_SERVER: Final = ("freedom", "blackhole")


def read_v2ray(root: Section) -> Config:
    """Read the whole file."""
    for name, why in _IGNORED.items():
        root.ignore(name, why)
    root.ignore("api", "V2Ray's control API is not supported")
    api = root.section("api")
    defaults = read_carrier_defaults(root)
    config = Config(
        inbounds=_read_inbounds(root, defaults), outbounds=_read_outbounds(root, defaults)
    )
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


def _read_inbounds(root: Section, defaults: CarrierDefaults) -> tuple[InboundSettings, ...]:
    sections = _endpoints(root, "inbound", "inbound_detour", "inbounds")
    port = root.find("port")
    if port is not None and sections:
        sections[0].inherit("port", port)
    return tuple(_read_inbound(each, defaults) for each in sections)


def _read_outbounds(root: Section, defaults: CarrierDefaults) -> tuple[OutboundSettings, ...]:
    sections = _endpoints(root, "outbound", "outbound_detour", "outbounds")
    return tuple(_read_outbound(each, defaults) for each in sections)


def _read_inbound(section: Section, defaults: CarrierDefaults) -> InboundSettings:
    stream = read_v2ray_stream(section, "inbound", defaults)
    return read_inbound(section, section.section_or_empty("settings"), stream)


def _read_outbound(section: Section, defaults: CarrierDefaults) -> OutboundSettings:
    proxy = section.section("proxy_settings")
    if proxy is not None:
        proxy.find("transport_layer")
        if proxy.get("tag", values.text, ""):
            section.refuse(
                "proxy_settings", "outbounds that go through other outbounds are not supported"
            )
    # What V2Ray does with them there, sending camouflage to any destination, nobody wants.
    protocol = section.get("protocol", values.text, "").lower()
    own_alone = protocol in _WITHOUT_SERVER
    stream = read_v2ray_stream(section, "outbound", {} if own_alone else defaults)
    return read_outbound(section, section.section_or_empty("settings"), stream)
