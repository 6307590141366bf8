"""Reading what carries an inbound or outbound, of both file formats.

V2Ray's JSON has it in `streamSettings`, and defaults for each carrier in `transport`, at the top.
TOML has `transport`, `tls`, `socket` and so on beside the keys of the protocol.
"""

import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal

import attrs

from trio_vmess.config import values
from trio_vmess.config.carriers import CARRIERS, Carried, read_carrier_word, unsupported_carrier
from trio_vmess.config.location import Location
from trio_vmess.config.reader import Report, Section
from trio_vmess.config.sockets import Sockopt, read_socket, read_sockopt
from trio_vmess.config.tls import read_tls
from trio_vmess.config.transports import (
    CarrierSettings,
    FallbackSettings,
    IPNetwork,
    SocketSettings,
    StreamSettings,
    TcpSettings,
    TlsSettings,
    UnixSocket,
)
from trio_vmess.config.tree import Members, Value, quote
from trio_vmess.core import Host, parse_endpoint

__all__ = [
    "CarrierDefaults",
    "Side",
    "read_carrier_defaults",
    "read_native_stream",
    "read_v2ray_stream",
    "unsupported_security",
]

Side = Literal["inbound", "outbound"]

CarrierDefaults = Mapping[str, "Carried | UnixSocket"]
"""What V2Ray's top-level `transport` says, by carrier."""

_FallbackTarget = Path | tuple[Host, int] | UnixSocket

_PLAIN: Final = Carried(carrier=TcpSettings())
_DS: Final = "ds"
_DS_WORDS: Final = (_DS, "domainsocket")
_SETTINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "tcp": ("tcpSettings", "rawSettings"),
    "ws": ("wsSettings",),
    "httpupgrade": ("httpupgradeSettings",),
    "h2": ("httpSettings",),
    "grpc": ("grpcSettings", "gunSettings"),
    _DS: ("dsSettings",),
}
"""The keys that V2Ray's files have for the settings of each carrier."""

_FOREIGN: Final = ("kcp", "quic", "xhttp", "splithttp", "hysteria", "hy2")
_FOREIGN_SECURITY: Final = {
    "reality": "REALITY is not supported; use 'tls' with a certificate",
    "xtls": "XTLS is not supported; use 'tls'",
    "utls": "Python's TLS library cannot imitate a browser; use 'tls'",
}


def unsupported_security(word: str) -> str:
    """Say what to use in place of a security that is neither `tls` nor none."""
    why = _FOREIGN_SECURITY.get(word)
    return why or values.unknown("security", word, ("none", "tls"))


# TOML ---------------------------------------------------------------------------------------------


def read_native_stream(section: Section, side: Side) -> StreamSettings:
    """Read the keys of an inbound or outbound that say what carries it."""
    transport, tls, socket = (section.section(name) for name in ("transport", "tls", "socket"))
    carrier = TcpSettings() if transport is None else _read_native_carrier(transport)
    is_inbound = side == "inbound"
    stream = StreamSettings(
        carrier=carrier,
        tls=None if tls is None else read_tls(tls, carrier),
        socket=SocketSettings() if socket is None else read_socket(socket),
        accept_proxy_protocol=is_inbound
        and section.get("accept_proxy_protocol", values.flag, False),
        trusted_proxies=_read_trusted_proxies(section) if is_inbound else (),
        fallback=_read_fallback(section) if is_inbound else None,
        unix=None if is_inbound else section.get("unix", _unix, None),
    )
    return _located(stream, section, carrier="transport", tls="tls")


def _read_native_carrier(section: Section) -> CarrierSettings:
    word = section.get(
        "type", read_carrier_word, "", required=f"expected one of {', '.join(CARRIERS)}"
    )
    if word:
        return CARRIERS[word](section).carrier
    section.leave_unread()
    return TcpSettings()


def _unix(raw: Value) -> UnixSocket:
    value = values.text(raw)
    if value.startswith(("/", "@")) and len(value) > 1:
        return UnixSocket(value)
    raise ValueError(
        f"expected the path of a Unix socket, which begins with / or @, found {quote(value)}"
    )


# V2Ray's JSON -------------------------------------------------------------------------------------


def read_carrier_defaults(root: Section) -> CarrierDefaults:
    """Read `transport`: settings of carriers for each inbound and outbound without its own."""
    section = root.section("transport")
    if section is None:
        return {}
    for word in _FOREIGN:
        section.ignore_if_set(f"{word}_settings", unsupported_carrier(word))
    return {
        word: settings
        for word in _SETTINGS
        if (settings := _read_carrier_settings(section, word)) is not None
    }


def read_v2ray_stream(outer: Section, side: Side, defaults: CarrierDefaults) -> StreamSettings:
    """Read `streamSettings`. The Unix socket of an inbound's `ds` is in `unix`, too."""
    section = outer.section_or_empty("stream_settings")
    if section.is_empty and not defaults:
        # As most inbounds of a long file are: nothing has to be looked for.
        return _located(StreamSettings(), section, carrier="network", tls="security")
    word = _read_network(section)
    settings = _read_network_settings(section, word, defaults)
    section.refuse_if_set("finalmask", "disguising transports (finalmask) is not supported")
    carried = settings if isinstance(settings, Carried) else _PLAIN
    sockopt_section = section.section("sockopt")
    sockopt = Sockopt() if sockopt_section is None else read_sockopt(sockopt_section)
    is_inbound = side == "inbound"
    accepts = carried.accept_proxy_protocol or sockopt.accept_proxy_protocol
    if accepts and not is_inbound:
        message = "ignored: 'acceptProxyProtocol' applies to inbounds only"
        section.report.warn(section.location, message)
    stream = StreamSettings(
        carrier=carried.carrier,
        tls=_read_security(section, carried.carrier),
        socket=sockopt.socket,
        accept_proxy_protocol=accepts and is_inbound,
        trusted_proxies=_read_trusted_proxies(section) if is_inbound else (),
        fallback=_read_fallback(section) if is_inbound else None,
        unix=settings if isinstance(settings, UnixSocket) else None,
    )
    return _located(stream, section, carrier="network", tls="security")


def _read_network(section: Section) -> str:
    """Return a key of `_SETTINGS`; empty for a word that is not known, which is reported."""

    def read(raw: Value) -> str:
        word = values.text(raw).lower()
        if word in _DS_WORDS:
            return _DS
        return read_carrier_word(raw) if word else "tcp"

    return "tcp" if section.find("network") is None else section.get("network", read, "")


def _read_network_settings(
    section: Section, word: str, defaults: CarrierDefaults
) -> "Carried | UnixSocket":
    """Read the settings of the network that is used, and warn about those of others."""
    for other in (*_SETTINGS, *_FOREIGN):
        if other != word:
            _ignore_carrier_settings(section, other, word)
    if not word:
        return _PLAIN
    found = _read_carrier_settings(section, word) or defaults.get(word)
    if found is not None:
        return found
    # Without keys: the defaults, or what is missing.
    empty = section.section_or_empty(f"{word}_settings", json=_SETTINGS[word])
    return _read_domain_socket(empty) if word == _DS else CARRIERS[word](empty)


def _read_carrier_settings(section: Section, word: str) -> "Carried | UnixSocket | None":
    found = section.section(f"{word}_settings", json=_SETTINGS[word])
    if found is None:
        return None
    return _read_domain_socket(found) if word == _DS else CARRIERS[word](found)


def _ignore_carrier_settings(section: Section, word: str, network: str) -> None:
    name, json = f"{word}_settings", _SETTINGS.get(word, ())
    if network:
        section.ignore_if_set(name, f"the network is {quote(network)}", json)
    else:
        section.find(name, json)


def _read_domain_socket(section: Section) -> UnixSocket:
    path = section.get("path", values.filled_text, "", required="the path of the Unix socket")
    is_abstract = section.get("abstract", values.flag, False)
    is_padded = section.get("padding", values.flag, False)
    if is_abstract:
        return UnixSocket(("@@" if is_padded else "@") + path)
    if path and not path.startswith("/"):
        message = f"expected a path that begins with /, found {quote(path)}"
        section.report.problem(section.locations()["path"], message)
    return UnixSocket(path)


def _read_security(section: Section, carrier: CarrierSettings) -> TlsSettings | None:
    def read(raw: Value) -> str:
        word = values.text(raw).lower()
        if word in ("", "none", "tls"):
            return word or "none"
        raise ValueError(unsupported_security(word))

    is_given = section.find("security") is not None
    security = section.get("security", read, "") if is_given else "none"
    if security == "tls":
        _ignore_security_settings(section, ("xtls", "reality"), security)
        return read_tls(section.section_or_empty("tls_settings"), carrier)
    _ignore_security_settings(section, ("tls", "xtls", "reality"), security)
    return None


def _ignore_security_settings(section: Section, words: tuple[str, ...], security: str) -> None:
    for word in words:
        if security:
            section.ignore_if_set(f"{word}_settings", f"the security is {quote(security)}")
        else:
            section.find(f"{word}_settings")


# Both ---------------------------------------------------------------------------------------------


def _located(stream: StreamSettings, section: Section, *, carrier: str, tls: str) -> StreamSettings:
    """Add the locations of the keys; `carrier` and `tls` are what the file has for these."""
    found = section.locations()
    renamed: dict[str, Location] = {
        name: found[key] for name, key in (("carrier", carrier), ("tls", tls)) if key in found
    }
    return attrs.evolve(stream, locations={**found, **renamed})


def _read_trusted_proxies(section: Section) -> tuple[IPNetwork, ...]:
    return section.many("trusted_proxies", _network)


def _network(raw: Value) -> IPNetwork:
    value = values.text(raw)
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError(
            f"expected an IP address or a network such as 10.0.0.0/8, found {quote(value)}"
        ) from None


def _read_fallback(section: Section) -> FallbackSettings | None:
    entry = section.find("fallback")
    if entry is None:
        return None
    read = _target_reader(section.report)
    if not isinstance(entry.value.content, Members):
        target = section.convert(entry, read, None)
        return None if target is None else FallbackSettings(target=target)
    inner = section.report.open(entry.value, entry.where)
    target = inner.get(
        "target", read, None, required="a folder, host:port, or the unix:/path of a socket"
    )
    version = inner.get("proxy_protocol", values.whole(0, 2), 0)
    if version and isinstance(target, Path):
        inner.report.problem(
            inner.locations()["proxy_protocol"], "a folder does not read PROXY headers; remove it"
        )
    return None if target is None else FallbackSettings(target=target, proxy_protocol=version)


def _target_reader(report: Report) -> Callable[[Value], _FallbackTarget]:
    def read(raw: Value) -> _FallbackTarget:
        value = values.text(raw)
        if value.startswith("unix:"):
            return _unix(attrs.evolve(raw, content=value.removeprefix("unix:")))
        if value.startswith("@"):
            return _unix(raw)
        if "/" in value:
            return Path(report.path(value))
        try:
            return parse_endpoint(value)
        except ValueError:
            raise ValueError(
                "expected a folder, with a / in its path, host:port, or the unix:/path of a "
                f"socket, found {quote(value)}"
            ) from None

    return read
