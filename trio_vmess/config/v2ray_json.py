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
from trio_vmess.config.location import Location
from trio_vmess.config.model import ApiSettings, Config
from trio_vmess.config.outbounds import read_outbound
from trio_vmess.config.reader import Section
from trio_vmess.config.sections import read_api_tag, read_common
from trio_vmess.config.streams import (
    CarrierDefaults,
    read_carrier_defaults,
    read_v2ray_stream,
)

__all__ = ["read_v2ray"]

_IGNORED: Final = {
    "observatory": "observatories are not supported; set a balancer's probeInterval",
    "burst_observatory": "observatories are not supported; set a balancer's probeInterval",
    "fakedns": "fake DNS is not supported",
    "metrics": "a metrics endpoint is not supported",
    "browser_forwarder": "forwarding to a browser is not supported",
    "version": "the version is not checked",
    "remarks": "remarks are not used",
}
_WITHOUT_SERVER: Final = ("freedom", "blackhole")
_API: Final = "api"
_API_DOOR: Final = "dokodemo-door"
_FROM_INBOUND: Final = frozenset({"inbound_tags"})
_NO_API: Final = "V2Ray's control API is not supported"


def read_v2ray(root: Section) -> Config:
    """Read the whole file."""
    for name, why in _IGNORED.items():
        root.ignore(name, why)
    _refuse_reverse(root)
    defaults = read_carrier_defaults(root)
    config = read_common(root, Config(outbounds=_read_outbounds(root, defaults)))
    root.ignore("api", _NO_API)
    api = root.section("api")
    api_tag = _API if api is None else read_api_tag(api)
    inbounds, doors = _read_inbounds(root, defaults, _find_doors(config, api_tag))
    return attrs.evolve(
        config,
        inbounds=inbounds,
        routing=attrs.evolve(config.routing, is_lenient=True),
        stats=_read_stats(root),
        api=None if api is None and not doors else ApiSettings(tag=api_tag, inbound_tags=doors),
    )


def _refuse_reverse(root: Section) -> None:
    """Refuse V2Ray's reverse proxies: without them, a node is of no use to whoever set them up."""
    reverse = root.section("reverse")
    if reverse is not None:
        for name in ("bridges", "portals"):
            reverse.refuse_if_set(name, "reverse proxies are not supported; remove 'reverse'")


def _find_doors(config: Config, api_tag: str) -> frozenset[str]:
    """Return the tags of inbounds from which rules lead to V2Ray's control API, and only there.

    Args:
        config: with its outbounds and rules.
        api_tag: what rules call the API, unless that is one of the outbounds.
    """
    if api_tag in {each.tag for each in config.outbounds}:
        return frozenset()
    return frozenset(
        name
        for rule in config.routing.rules
        if rule.outbound_tag == api_tag and rule.conditions == _FROM_INBOUND
        for name in rule.inbound_tags
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


def _read_inbounds(
    root: Section, defaults: CarrierDefaults, doors: frozenset[str]
) -> tuple[tuple[InboundSettings, ...], tuple[str, ...]]:
    """Read the inbounds; those of V2Ray's control API are left out.

    Args:
        root: the whole file.
        defaults: of the carriers.
        doors: the tags from which rules lead to the API.

    Returns:
        The inbounds, and the tags of those that were left out.
    """
    sections = _endpoints(root, "inbound", "inbound_detour", "inbounds")
    port = root.find("port")
    if port is not None and sections:
        sections[0].inherit("port", port)
    inbounds: list[InboundSettings] = []
    left_out: list[str] = []
    for section in sections:
        tag = section.get("tag", values.text, "")
        if tag in doors and section.get("protocol", values.text, "").lower() == _API_DOOR:
            section.leave_unread()
            root.report.warn(section.location, f"ignored, and not listened on: {_NO_API}")
            left_out.append(tag)
        else:
            inbounds.append(_read_inbound(section, defaults))
    return tuple(inbounds), tuple(left_out)


def _read_outbounds(root: Section, defaults: CarrierDefaults) -> tuple[OutboundSettings, ...]:
    sections = _endpoints(root, "outbound", "outbound_detour", "outbounds")
    return tuple(_read_outbound(each, defaults) for each in sections)


def _read_inbound(section: Section, defaults: CarrierDefaults) -> InboundSettings:
    stream = read_v2ray_stream(section, "inbound", defaults)
    return read_inbound(section, section.section_or_empty("settings"), stream)


def _read_outbound(section: Section, defaults: CarrierDefaults) -> OutboundSettings:
    proxy = section.section("proxy_settings")
    through, locations = "", dict[str, Location]()
    if proxy is not None:
        # What carries the protocol is inside of the other outbound in any case.
        proxy.get("transport_layer", values.flag, False)
        through = proxy.get("tag", values.text, "")
        locations = {"through": proxy.locations().get("tag", proxy.location)}
    # What V2Ray does with them there, sending camouflage to any destination, nobody wants.
    protocol = section.get("protocol", values.text, "").lower()
    own_alone = protocol in _WITHOUT_SERVER
    stream = read_v2ray_stream(section, "outbound", {} if own_alone else defaults)
    outbound = read_outbound(section, section.section_or_empty("settings"), stream)
    return attrs.evolve(outbound, through=through, locations={**outbound.locations, **locations})
