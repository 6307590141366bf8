"""Reading outbounds, of both file formats: the counterpart of `inbounds`."""

from collections.abc import Callable
from typing import Final, assert_never

import attrs

from trio_vmess.config import values
from trio_vmess.config.endpoints import (
    SPARE_KEEP,
    BlackholeOutboundSettings,
    FreedomOutboundSettings,
    HttpOutboundSettings,
    OutboundProtocolSettings,
    OutboundSettings,
    OutboundUserSettings,
    ParentProxySettings,
    ParentProxyUserSettings,
    RedirectSettings,
    SocksOutboundSettings,
    VMessOutboundSettings,
    VMessServerSettings,
)
from trio_vmess.config.enums import (
    BlackholeResponse,
    Experiment,
    FreedomDomainStrategy,
    PacketEncoding,
    QuicOverMux,
    SecurityName,
)
from trio_vmess.config.inbounds import (
    read_alter_id,
    read_level,
    read_password,
    read_protocol,
    read_user_id,
    read_user_level,
)
from trio_vmess.config.mux import MUX_CONCURRENCY, MuxSettings
from trio_vmess.config.reader import Section
from trio_vmess.config.transports import GrpcSettings, Http2Settings, StreamSettings
from trio_vmess.config.tree import Value, quote
from trio_vmess.core import Host
from trio_vmess.core.vmess import DIALECTS, PACKET_SIZE, TIMESTAMP_JITTER, V2RAY, Command

__all__ = ["read_outbound"]

SPARE_CONNECTIONS_MAX: Final = 16

SPARE_KEEP_MAX: Final = 60.0
"""Seconds; what a node of this project waits for a request by default."""


def read_outbound(outer: Section, inner: Section, stream: StreamSettings) -> OutboundSettings:
    """Read one outbound.

    Args:
        outer: the common keys.
        inner: the protocol's keys; the same section in TOML.
        stream: what carries it.
    """
    protocol = read_protocol(outer, inner, _PROTOCOLS) or BlackholeOutboundSettings()
    mux = _read_mux(outer, protocol)
    if isinstance(protocol, VMessOutboundSettings):
        protocol = _with_packet_encoding(inner, protocol, mux)
        _check_spares(inner, protocol, stream)
    outbound = OutboundSettings(
        protocol=protocol,
        tag=outer.get("tag", values.text, ""),
        stream=stream,
        mux=mux,
        send_through=outer.get("send_through", values.ip_address, None),
        through=outer.get("through", values.text, "") if outer.native else "",
    )
    return attrs.evolve(outbound, locations=outer.locations())


def _read_mux(outer: Section, protocol: OutboundProtocolSettings) -> MuxSettings:
    section = outer.section("mux")
    if section is None:
        return MuxSettings()
    mux = MuxSettings(
        enabled=section.get("enabled", values.flag, False),
        concurrency=section.get("concurrency", values.whole(-0x8000, 1024), 0) or MUX_CONCURRENCY,
        xudp_concurrency=section.get("xudp_concurrency", values.whole(-0x8000, 1024), 0),
        xudp_proxy_udp443=section.get(
            "xudp_proxy_udp443",
            values.word(QuicOverMux),
            QuicOverMux.REJECT,
            json=("xudpProxyUDP443",),
        ),
    )
    if mux.enabled:
        if not isinstance(protocol, VMessOutboundSettings):
            section.refuse(
                "enabled", "only a vmess outbound can share connections; set it to false"
            )
        elif Command.MUX not in protocol.dialect.commands:
            section.refuse(
                "enabled",
                f"the dialect {protocol.dialect.name!r} has no command for it; set it to false",
            )
    return attrs.evolve(mux, locations=section.locations())


def _with_packet_encoding(
    inner: Section, protocol: VMessOutboundSettings, mux: MuxSettings
) -> VMessOutboundSettings:
    """Check how datagrams travel; a number of connections for XUDP in an Xray file asks for it."""
    is_asked_for = "packet_encoding" in inner.locations()
    if mux.enabled and mux.xudp_concurrency > 0 and not is_asked_for:
        protocol = attrs.evolve(protocol, packet_encoding=PacketEncoding.XUDP)
    match protocol.packet_encoding:
        case PacketEncoding.NONE:
            pass
        case PacketEncoding.XUDP:
            if Command.MUX not in protocol.dialect.commands:
                inner.refuse(
                    "packet_encoding",
                    f"the dialect {protocol.dialect.name!r} has no command for it; "
                    "set it to 'none'",
                )
        case PacketEncoding.PACKETADDR:
            if mux.enabled and mux.xudp_concurrency > 0:
                inner.report.problem(
                    mux.locations["xudp_concurrency"],
                    "only XUDP can share connections, and the packet encoding is packetaddr; "
                    "leave this out, or use 'xudp' there",
                )
        case _ as never:
            assert_never(never)
    return protocol


def _check_spares(inner: Section, protocol: VMessOutboundSettings, stream: StreamSettings) -> None:
    if protocol.spare_connections and isinstance(stream.carrier, Http2Settings | GrpcSettings):
        inner.refuse(
            "spare_connections",
            "with h2 and grpc, all connections share one that is open already; set it to 0",
        )


def _read_vmess(section: Section) -> VMessOutboundSettings:
    listed = section.sections("servers", json=("vnext", "servers"))
    servers = [_read_vmess_server(each) for each in listed]
    if section.find("servers", json=("vnext", "servers")) is None:
        servers = [_read_flat_server(section)]
    else:
        if not servers:
            section.report.problem(
                section.locations()["servers"], "the list is empty; add a server"
            )
        for name in ("address", "port", "id"):
            section.refuse(
                name, "cannot be combined with a list of servers; set it in an entry of the list"
            )
    return VMessOutboundSettings(
        servers=tuple(servers),
        dialect=section.get("dialect", values.choice(DIALECTS), V2RAY),
        global_padding=section.get("global_padding", values.flag, True),
        authenticated_length=section.get("authenticated_length", values.flag, False),
        timestamp_jitter=section.get(
            "timestamp_jitter", values.whole(0, TIMESTAMP_JITTER), TIMESTAMP_JITTER
        ),
        packet_size=section.get("packet_size", values.whole(1, 0xFFFF), PACKET_SIZE),
        packet_encoding=section.get(
            "packet_encoding", values.word(PacketEncoding), PacketEncoding.NONE
        ),
        spare_connections=section.get(
            "spare_connections", values.whole(0, SPARE_CONNECTIONS_MAX), 0
        ),
        spare_keep=section.get("spare_keep", _spare_keep, SPARE_KEEP),
    )


def _spare_keep(raw: Value) -> float:
    seconds = values.seconds(raw)
    if not 0 < seconds <= SPARE_KEEP_MAX:
        raise ValueError(
            f"expected more than 0 and at most {SPARE_KEEP_MAX:g} seconds, found {seconds:g}; "
            "to switch spare connections off, set their number to 0"
        )
    return seconds


def _read_flat_server(section: Section) -> VMessServerSettings:
    if section.find("address") is None:
        key = section.missing_location("servers", ("vnext",)).where.rpartition(".")[2]
        section.report.problem(
            section.location, f"no server is configured: add '{key}', or 'address', 'port' and 'id'"
        )
        for name in ("port", "id", "alter_id", "security", "level", "email", "experiments"):
            section.find(name)
        return VMessServerSettings(address="", port=0, users=())
    address, port = _read_address(section)
    return VMessServerSettings(address=address, port=port, users=(_read_vmess_user(section),))


def _read_address(section: Section) -> tuple[Host, int]:
    return (
        section.get("address", values.host, "", required="the server's IP address or name"),
        section.get("port", values.port, 0, required="the server's port"),
    )


def _read_vmess_server(section: Section) -> VMessServerSettings:
    address, port = _read_address(section)
    users = tuple(map(_read_vmess_user, section.sections("users")))
    if not users and not section.locations().get("users"):
        section.report.problem(
            section.missing_location("users"), "'users' is missing: the user to authenticate as"
        )
    elif not users:
        section.report.problem(section.locations()["users"], "the list is empty; add a user")
    return VMessServerSettings(address=address, port=port, users=users)


def _read_vmess_user(section: Section) -> OutboundUserSettings:
    return OutboundUserSettings(
        id=read_user_id(section, "the UUID that the server knows"),
        alter_id=read_alter_id(section),
        security=section.get("security", values.word(SecurityName), SecurityName.AUTO),
        level=read_level(section),
        email=section.get("email", values.text, ""),
        experiments=_read_experiments(section),
    )


def _read_experiments(section: Section) -> tuple[Experiment, ...]:
    entry = section.find("experiments")
    if entry is not None and isinstance(entry.value.content, str):
        return section.get("experiments", _experiments_text, ())
    return section.many("experiments", values.word(Experiment))


def _experiments_text(raw: Value) -> tuple[Experiment, ...]:
    """Read names with any separators: V2Ray only looks whether a name occurs."""
    names = values.text(raw).replace("|", " ").replace(",", " ").split()
    read = values.word(Experiment)
    return tuple(dict.fromkeys(read(attrs.evolve(raw, content=name)) for name in names))


def _read_freedom(section: Section) -> FreedomOutboundSettings:
    if not section.native:
        section.ignore("timeout", "timeouts are set in policy.levels")
    return FreedomOutboundSettings(
        domain_strategy=section.get(
            "domain_strategy", values.word(FreedomDomainStrategy), FreedomDomainStrategy.AS_IS
        ),
        redirect=section.get("redirect", _redirect, None),
        user_level=read_user_level(section),
        allow_private=section.get("allow_private", values.flag, False),
    )


def _redirect(raw: Value) -> RedirectSettings | None:
    value = values.text(raw)
    if not value:
        return None
    name, _, port = value.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= 0xFFFF):
        raise ValueError(
            f"{quote(value)} is not a valid redirect: expected host:port, with an empty host or "
            "port 0 to keep that part of the destination"
        )
    return RedirectSettings(
        host=values.host(attrs.evolve(raw, content=name)) if name else None,
        port=int(port) or None,
    )


def _read_blackhole(section: Section) -> BlackholeOutboundSettings:
    read = values.word(BlackholeResponse)
    if section.native:
        return BlackholeOutboundSettings(
            response=section.get("response", read, BlackholeResponse.NONE)
        )
    response = section.section("response")
    if response is None:
        return BlackholeOutboundSettings()
    return BlackholeOutboundSettings(response=response.get("type", read, BlackholeResponse.NONE))


def _read_parent_proxies(section: Section) -> tuple[ParentProxySettings, ...]:
    servers = tuple(_read_parent_proxy(each) for each in section.sections("servers"))
    if not servers and "servers" not in section.locations():
        section.report.problem(
            section.missing_location("servers"),
            "'servers' is missing: the proxies to connect through",
        )
    elif not servers:
        section.report.problem(section.locations()["servers"], "the list is empty; add a server")
    return servers


def _read_parent_proxy(section: Section) -> ParentProxySettings:
    address, port = _read_address(section)
    users = tuple(
        ParentProxyUserSettings(
            user=each.get("user", values.filled_text, "", required="the user name for the proxy"),
            password=read_password(each, "the password for the proxy"),
            level=read_level(each),
            email=each.get("email", values.text, ""),
        )
        for each in section.sections("users")
    )
    return ParentProxySettings(address=address, port=port, users=users)


def _read_socks(section: Section) -> SocksOutboundSettings:
    if not section.native:
        version = section.get("version", values.text, "5")
        if version != "5":
            section.refuse("version", "only SOCKS 5 is supported for outbounds")
    return SocksOutboundSettings(servers=_read_parent_proxies(section))


def _read_http(section: Section) -> HttpOutboundSettings:
    return HttpOutboundSettings(servers=_read_parent_proxies(section))


_PROTOCOLS: Final[dict[str, Callable[[Section], OutboundProtocolSettings]]] = {
    "vmess": _read_vmess,
    "freedom": _read_freedom,
    "blackhole": _read_blackhole,
    "socks": _read_socks,
    "http": _read_http,
}
