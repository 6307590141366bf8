"""Reading inbounds, of both file formats.

An inbound has common keys and keys of its protocol. In V2Ray's JSON the latter are one level down,
in `settings`; in TOML they are beside the former, so both sections are then the same one.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeVar

import attrs

from trio_vmess.config import values
from trio_vmess.config.endpoints import (
    ANY_IPV4,
    ANY_PORT,
    AllocateSettings,
    DefaultUserSettings,
    DokodemoInboundSettings,
    HttpInboundSettings,
    InboundProtocolSettings,
    InboundSettings,
    InboundUserSettings,
    MixedInboundSettings,
    ProxyAccountSettings,
    SocksInboundSettings,
    VMessInboundSettings,
)
from trio_vmess.config.enums import AllocateStrategy, SocksAuth
from trio_vmess.config.location import Location
from trio_vmess.config.reader import Section
from trio_vmess.config.transports import StreamSettings, UnixSocket
from trio_vmess.config.tree import Value, quote
from trio_vmess.core import Network
from trio_vmess.core.sniff import SniffingSettings
from trio_vmess.core.vmess import DIALECTS, V2RAY

__all__ = [
    "LEVEL_MAX",
    "read_alter_id",
    "read_inbound",
    "read_level",
    "read_password",
    "read_protocol",
    "read_user_id",
    "read_user_level",
]

LEVEL_MAX: Final = 0xFFFF
_LEVEL_ON_WIRE_MAX: Final = 0xFF
_ALTER_ID_MAX: Final = 0xFFFF
_SNIFFED: Final = {"http": "http", "tls": "tls", "https": "tls", "ssl": "tls", "quic": "quic"}
_SNIFFED_ELSEWHERE: Final = ("fakedns", "fakedns+others")
_FOREIGN_PROTOCOLS: Final = (
    "shadowsocks",
    "trojan",
    "vless",
    "mtproto",
    "wireguard",
    "loopback",
    "dns",
    "hysteria2",
    "tun",
)

_P = TypeVar("_P")


def read_level(section: Section) -> int:
    """Read a user's `level`."""
    return section.get("level", values.whole(0, LEVEL_MAX), 0)


def read_user_level(section: Section) -> int:
    """Read an endpoint's `userLevel`."""
    return section.get("user_level", values.whole(0, LEVEL_MAX), 0)


def read_alter_id(section: Section) -> int:
    """Read `alterId`."""
    return section.get("alter_id", values.whole(0, _ALTER_ID_MAX), 0)


def read_user_id(section: Section, purpose: str) -> bytes:
    """Read `id`; warn of one that is not a UUID, which may be a mistake.

    Args:
        section: the user.
        purpose: what the id is, for a message if it is missing.
    """
    environ = section.report.environ
    user_id = section.get(
        "id", lambda raw: values.user_id(values.resolve(raw, environ)), b"", required=purpose
    )
    entry = section.find("id")
    if user_id and entry and not values.is_uuid(values.resolve(entry.value, environ)):
        section.report.warn_once(
            "id",
            entry.location,
            "not a UUID, but a name that stands for one, as in Xray and sing-box; V2Ray refuses it",
        )
    return user_id


def read_password(section: Section, purpose: str) -> str:
    """Read `password`, V2Ray's `pass`; arguments as for `read_user_id`."""
    environ = section.report.environ
    return section.get(
        "password",
        lambda raw: values.secret(values.resolve(raw, environ)),
        "",
        json=("pass",),
        required=purpose,
    )


def read_inbound(outer: Section, inner: Section, stream: StreamSettings) -> InboundSettings:
    """Read one inbound.

    Args:
        outer: the common keys.
        inner: the protocol's keys; the same section in TOML.
        stream: what carries it; a Unix socket in it is the one to listen on.
    """
    protocol = read_protocol(outer, inner, _PROTOCOLS) or VMessInboundSettings()
    listen = outer.get("listen", values.listen, ANY_IPV4)
    address = stream.unix or listen
    on_unix = isinstance(address, UnixSocket)
    port = outer.get(
        "port",
        lambda raw: values.port_range(raw, outer.report.environ),
        ANY_PORT,
        required="" if on_unix else "the port to listen on, such as 10086 or '20000-20100'",
    )
    inbound = InboundSettings(
        protocol=protocol,
        tag=outer.get("tag", values.text, ""),
        listen=address,
        port=ANY_PORT if on_unix else port,
        stream=attrs.evolve(stream, unix=None),
        sniffing=_read_sniffing(outer),
        allocate=_read_allocate(outer),
    )
    return attrs.evolve(inbound, locations=outer.locations())


def read_protocol(
    outer: Section, inner: Section, known: Mapping[str, Callable[[Section], _P]]
) -> _P | None:
    """Read `protocol`, and then the protocol's keys by the reader that it has in `known`.

    Returns:
        What the reader returned; None if the name is missing or unknown, which is reported.
    """
    name = outer.get("protocol", values.text, "", required=f"expected one of {', '.join(known)}")
    read = known.get(name.lower())
    if read is not None:
        return read(inner)
    inner.leave_unread()
    if name:
        outer.report.problem(outer.locations()["protocol"], _unknown_protocol(name, known))
    return None


def _unknown_protocol(name: str, known: Collection[str]) -> str:
    if name.lower() in _FOREIGN_PROTOCOLS:
        return f"the protocol {quote(name)} is not supported; supported are {', '.join(known)}"
    return values.unknown("protocol", name, known)


def _read_sniffing(outer: Section) -> SniffingSettings | None:
    section = outer.section("sniffing")
    if not outer.native:
        # The form before V2Ray 4.0; `sniffing` wins if both are there.
        old = outer.many("dest_override", _sniffed(outer), json=("domainOverride",))
        if section is None:
            return SniffingSettings(dest_override=_unique(old)) if old else None
    if section is None:
        return None
    section.ignore("domains_excluded", "excluding names from sniffing is not supported")
    if section.get("metadata_only", values.flag, False):
        section.refuse("metadata_only", "sniffing metadata only is not supported")
    is_enabled = section.get("enabled", values.flag, False)
    settings = SniffingSettings(
        dest_override=_unique(section.many("dest_override", _sniffed(section))),
        route_only=section.get("route_only", values.flag, False),
    )
    return settings if is_enabled else None


def _sniffed(section: Section) -> Callable[[Value], str]:
    def read(raw: Value) -> str:
        name = values.text(raw).lower()
        if name in _SNIFFED_ELSEWHERE:
            section.report.warn(
                section.missing_location("dest_override"),
                f"ignored: sniffing {quote(name)} is not supported; http, tls and quic are",
            )
            return ""
        if name not in _SNIFFED:
            raise ValueError(values.unknown("value", name, ("http", "tls", "quic")))
        return _SNIFFED[name]

    return read


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))


def _read_allocate(outer: Section) -> AllocateSettings:
    section = outer.section("allocate")
    if section is None:
        return AllocateSettings()

    def strategy(raw: Value) -> AllocateStrategy:
        if values.text(raw).lower() == "external":
            raise ValueError("the strategy 'external' is not supported; use 'always' or 'random'")
        return values.word(AllocateStrategy)(raw)

    return AllocateSettings(
        strategy=section.get(
            "strategy", strategy, AllocateStrategy.ALWAYS, required="expected 'always' or 'random'"
        ),
        concurrency=section.get("concurrency", values.whole(1, 0xFFFF), 3),
        refresh=section.get("refresh", values.whole(1, 0xFFFF), 5),
    )


def _read_vmess(section: Section) -> VMessInboundSettings:
    default = section.section("default")
    detour, detour_locations = _read_detour(section)
    inbound = VMessInboundSettings(
        users=tuple(map(_read_user, section.sections("users", json=("clients", "users")))),
        default=DefaultUserSettings() if default is None else _read_default(default),
        detour=detour,
        disable_insecure_encryption=section.get("disable_insecure_encryption", values.flag, False),
        dialect=section.get("dialect", values.choice(DIALECTS), V2RAY),
        max_clock_skew=section.get("max_clock_skew", values.seconds, 90.0),
    )
    return attrs.evolve(inbound, locations=section.locations() | detour_locations)


def _read_user(section: Section) -> InboundUserSettings:
    if not section.native:
        section.ignore("security", "the client chooses the cipher")
    user = InboundUserSettings(
        id=read_user_id(section, "the user's UUID"),
        email=section.get("email", values.text, ""),
        level=read_level(section),
        alter_id=read_alter_id(section),
    )
    return attrs.evolve(user, locations=section.locations())


def _read_default(section: Section) -> DefaultUserSettings:
    return DefaultUserSettings(
        level=section.get("level", values.whole(0, _LEVEL_ON_WIRE_MAX), 0),
        alter_id=read_alter_id(section),
    )


def _read_detour(section: Section) -> tuple[str, dict[str, Location]]:
    """Return the tag, and its location if that is not the location of the key."""
    if section.native:
        return section.get("detour", values.filled_text, ""), {}
    features = section.section("features")
    old = None if features is None else features.section("detour")
    detour = section.section("detour") or old
    if detour is None:
        return "", {}
    tag = detour.get(
        "to",
        values.filled_text,
        "",
        required="the tag of the inbound that clients are redirected to",
    )
    return tag, {"detour": detour.locations().get("to", detour.location)}


def _read_accounts(section: Section) -> tuple[ProxyAccountSettings, ...]:
    return tuple(
        ProxyAccountSettings(
            user=each.get("user", values.filled_text, "", required="the account's user name"),
            password=read_password(each, "the account's password"),
        )
        for each in section.sections("accounts")
    )


def _read_socks(section: Section) -> SocksInboundSettings:
    _ignore_timeout(section)
    if not section.native:
        section.ignore("allow_transparent", "it applies to HTTP inbounds only")
        section.ignore("packet_encoding", "how datagrams travel is set at the vmess outbound")
    accounts = _read_accounts(section)
    default = SocksAuth.PASSWORD if section.native and accounts else SocksAuth.NOAUTH
    auth = section.get("auth", values.word(SocksAuth), default)
    location = section.locations().get("auth", section.location)
    if auth is SocksAuth.PASSWORD and not accounts:
        section.report.problem(location, "'auth' is 'password', but there are no accounts; add one")
    if auth is SocksAuth.NOAUTH and accounts:
        message = "the accounts have no effect unless 'auth' is 'password': anyone can connect"
        if section.native:
            section.report.problem(location, message)
        else:
            section.report.warn(location, message)
    return SocksInboundSettings(
        auth=auth,
        accounts=accounts,
        udp=section.get("udp", values.flag, False),
        ip=section.get("ip", values.ip_address, None),
        user_level=read_user_level(section),
    )


def _read_http(section: Section) -> HttpInboundSettings:
    _ignore_timeout(section)
    if not section.native:
        section.ignore("auth", "an HTTP inbound asks for a password if it has accounts")
        section.ignore("udp", "an HTTP inbound has no datagrams")
    return HttpInboundSettings(
        accounts=_read_accounts(section),
        allow_transparent=section.get("allow_transparent", values.flag, False),
        user_level=read_user_level(section),
    )


def _read_mixed(section: Section) -> MixedInboundSettings:
    accounts = _read_accounts(section)
    implied = SocksAuth.PASSWORD if accounts else SocksAuth.NOAUTH
    entry = section.find("auth")
    if entry is not None and section.get("auth", values.word(SocksAuth), implied) is not implied:
        message = (
            "a mixed inbound requires a password if it has accounts, and only then; "
            "remove 'auth', or change the accounts"
        )
        section.report.problem(entry.location, message)
    return MixedInboundSettings(
        accounts=accounts,
        udp=section.get("udp", values.flag, False),
        ip=section.get("ip", values.ip_address, None),
        user_level=read_user_level(section),
    )


def _read_dokodemo(section: Section) -> DokodemoInboundSettings:
    _ignore_timeout(section)
    follows = section.get("follow_redirect", values.flag, False)
    required = "" if follows else "the destination of all connections"
    inbound = DokodemoInboundSettings(
        follow_redirect=follows,
        target_address=section.get(
            "target_address", values.host, "", json=("address",), required=required
        ),
        target_port=section.get(
            "target_port",
            values.whole(0, 0xFFFF) if follows else values.port,
            0,
            json=("port",),
            required=required,
        ),
        networks=section.many("networks", values.network, json=("network",)) or (Network.TCP,),
        user_level=read_user_level(section),
    )
    return attrs.evolve(inbound, locations=section.locations())


def _ignore_timeout(section: Section) -> None:
    if not section.native:
        section.ignore("timeout", "timeouts are set in policy.levels")


_PROTOCOLS: Final[dict[str, Callable[[Section], InboundProtocolSettings]]] = {
    "vmess": _read_vmess,
    "socks": _read_socks,
    "http": _read_http,
    "mixed": _read_mixed,
    "dokodemo-door": _read_dokodemo,
}
