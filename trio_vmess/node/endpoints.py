"""Builds users, inbounds, outbounds and counters from their settings.

The classes of inbounds and outbounds are named with their package, which loads those that are used.
"""

import functools
import platform
import secrets
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Self, assert_never

import attrs

from trio_vmess import config, inbound, outbound
from trio_vmess.contracts import Dispatch, Fallback, Inbound, Outbound, Resolve, ResolveFor
from trio_vmess.core import Policy
from trio_vmess.core.sniff import SniffingSettings
from trio_vmess.core.vmess import (
    Account,
    ReplayCache,
    SwitchAccount,
    UserRegistry,
)
from trio_vmess.listen import SubConnectionFiles
from trio_vmess.node.clock import utc_seconds
from trio_vmess.node.dialling import Dialler
from trio_vmess.node.layers import LayerBuilder
from trio_vmess.node.lifecycle import Service
from trio_vmess.node.spares import spares_of
from trio_vmess.node.users import UserStore
from trio_vmess.operations import Directions, Statistics
from trio_vmess.relay import SharedBuffers

if TYPE_CHECKING:
    from trio_vmess.inbound import GlobalIds, RefusedConnections, VMessInbound
    from trio_vmess.outbound import CarrierPool, ParentProxy, Server, VMessOutbound

SwitchSource = Callable[[str], SwitchAccount | None]
"""Returns a port and account to redirect the user with this email to, or None."""

PACKETS_PATIENCE: Final = 10.0
"""Seconds after which a stream of datagrams to a server that is gone is given up: the next datagram
opens another. A stream of bytes has more patience, for its bytes would be lost with it."""


_FAMILIES: Final = {
    config.FreedomDomainStrategy.AS_IS: socket.AF_UNSPEC,
    config.FreedomDomainStrategy.USE_IP: socket.AF_UNSPEC,
    config.FreedomDomainStrategy.USE_IPV4: socket.AF_INET,
    config.FreedomDomainStrategy.USE_IPV6: socket.AF_INET6,
}


_QUIC: Final[Mapping[config.QuicOverMux, bool | None]] = {
    config.QuicOverMux.ALLOW: None,
    config.QuicOverMux.SKIP: True,
    config.QuicOverMux.REJECT: False,
}


def statistics_of(settings: config.PolicySettings) -> Statistics:
    """Return the counters that the policy selects."""

    def of_level(number: int) -> Directions:
        level = settings.level(number)
        return Directions(level.stats_user_uplink, level.stats_user_downlink)

    system = settings.system
    return Statistics(
        users=of_level,
        inbounds=Directions(system.stats_inbound_uplink, system.stats_inbound_downlink),
        outbounds=Directions(system.stats_outbound_uplink, system.stats_outbound_downlink),
    )


def sniffing_of(
    inbounds: Sequence[config.InboundSettings],
) -> Callable[[str], SniffingSettings | None]:
    """Return a function from an inbound's tag to its sniffing settings.

    Inbounds without a tag cannot be told apart, so they share the first settings among them.
    """
    wanted = {each.tag: each.sniffing for each in reversed(inbounds) if each.sniffing is not None}
    return wanted.get


def accounts_of(settings: config.VMessInboundSettings) -> Sequence[Account]:
    """Return the accounts of a VMess inbound's users."""
    return list(map(_account, settings.users))


@attrs.frozen(kw_only=True)
class Assembler:
    """Builds the objects of one node, with what they share.

    Attributes:
        layers: builds what carries the outbounds' protocols.
        buffers: shared by all connections of this Trio run.
        policy_of: returns the limits of a user level.
        replay: the requests that were seen on any port of any inbound: what was recorded at one
            must not open another one of the same user.
        resolve: resolves the names of other proxies, with the system's resolver.
        resolve_as_system: resolves names for a flow, with the system's resolver.
        resolve_for: used by outbounds whose domain strategy is to resolve names.
        has_attributes: rules ask for the attributes of requests at HTTP inbounds.
        clock: returns UTC seconds; requests are made and judged by it.
        files: of the sub-connections of all VMess inbounds.
        services: the objects built so far that have tasks of their own; the node runs them.
    """

    layers: LayerBuilder
    buffers: SharedBuffers
    policy_of: Callable[[int], Policy]
    replay: ReplayCache
    resolve: Resolve
    resolve_as_system: ResolveFor
    resolve_for: ResolveFor
    has_attributes: bool = False
    clock: Callable[[], int] = utc_seconds
    files: SubConnectionFiles = attrs.field(factory=SubConnectionFiles, init=False)
    services: list[Service] = attrs.field(factory=lambda: list[Service](), init=False)
    _outbounds: dict[str, Outbound] = attrs.field(factory=lambda: dict[str, Outbound](), init=False)

    @functools.cached_property
    def refused(self) -> "RefusedConnections":
        """Holds the connections that VMess inbounds refuse."""
        return inbound.RefusedConnections()

    @classmethod
    def without_node(
        cls, layers: LayerBuilder, *, resolve: Resolve, clock: Callable[[], int]
    ) -> Self:
        """Return what builds outbounds for somebody else than a node, who runs the services.

        Args:
            layers: builds what carries the outbounds' protocols.
            resolve: resolves all names.
            clock: returns UTC seconds.
        """
        return cls(
            layers=layers,
            buffers=SharedBuffers(),
            policy_of=config.PolicySettings().level,
            replay=ReplayCache(window=0),
            resolve=resolve,
            resolve_as_system=lambda _flow: resolve,
            resolve_for=lambda _flow: resolve,
            clock=clock,
        )

    def user_store(
        self, settings: config.InboundSettings, protocol: config.VMessInboundSettings
    ) -> UserStore:
        """Return the user store of a VMess inbound, with the users of its settings."""
        return UserStore(
            accounts_of(protocol),
            tag=settings.tag,
            max_clock_skew=protocol.max_clock_skew,
            legacy_without_alter_ids=protocol.dialect.main_id_authenticates,
        )

    def vmess_inbound(
        self,
        settings: config.InboundSettings,
        protocol: config.VMessInboundSettings,
        dispatch: Dispatch,
        *,
        users: UserRegistry,
        global_ids: "GlobalIds",
        switch_account: SwitchSource | None = None,
        fallback: Fallback | None = None,
    ) -> "VMessInbound":
        """Build a VMess inbound.

        Args:
            settings: of the inbound.
            protocol: the VMess part of these settings.
            dispatch: receives the requests.
            users: the registry of this port.
            global_ids: of the inbound, whose ports share them.
            switch_account: offers a port of the inbound's detour; None without one.
            fallback: serves those who are refused; None for silence.
        """
        return inbound.VMessInbound(
            dispatch,
            tag=settings.tag,
            users=users,
            replay=self.replay,
            default_user=inbound.DefaultUser(
                level=protocol.default.level, alter_id_count=protocol.default.alter_id
            ),
            dialect=protocol.dialect,
            allow_insecure=not protocol.disable_insecure_encryption,
            entropy=secrets,
            clock=self.clock,
            buffer=self.buffers.received,
            refused=self.refused,
            global_ids=global_ids,
            files=self.files,
            switch_account=switch_account,
            fallback=fallback,
        )

    def local_inbound(
        self,
        settings: config.InboundSettings,
        dispatch: Dispatch,
        find_ports: Callable[[], Collection[int]],
    ) -> Inbound:
        """Build an inbound of any protocol but VMess.

        Args:
            settings: the inbound's.
            dispatch: receives the requests.
            find_ports: returns the ports on which it accepts connections now.

        Raises:
            TypeError: it is a VMess inbound.
        """
        tag = settings.tag
        match settings.protocol:
            case config.SocksInboundSettings() as socks:
                has_login = socks.auth is config.SocksAuth.PASSWORD
                return inbound.SocksInbound(
                    dispatch,
                    tag=tag,
                    level=socks.user_level,
                    accounts=_passwords(socks.accounts) if has_login else None,
                    udp=socks.udp,
                    udp_address=socks.ip,
                )
            case config.HttpInboundSettings() as http:
                return inbound.HttpInbound(
                    dispatch,
                    tag=tag,
                    policy=self.policy_of(http.user_level),
                    level=http.user_level,
                    accounts=_passwords(http.accounts) if http.accounts else None,
                    allow_transparent=http.allow_transparent,
                    has_attributes=self.has_attributes,
                )
            case config.MixedInboundSettings() as mixed:
                policy, level = self.policy_of(mixed.user_level), mixed.user_level
                accounts = _passwords(mixed.accounts) if mixed.accounts else None
                return inbound.MixedInbound(
                    inbound.SocksInbound(
                        dispatch,
                        tag=tag,
                        level=level,
                        accounts=accounts,
                        udp=mixed.udp,
                        udp_address=mixed.ip,
                    ),
                    inbound.HttpInbound(
                        dispatch,
                        tag=tag,
                        policy=policy,
                        level=level,
                        accounts=accounts,
                        has_attributes=self.has_attributes,
                    ),
                )
            case config.DokodemoInboundSettings(follow_redirect=True) as dokodemo:
                target = dokodemo.target_address, dokodemo.target_port
                return inbound.TransparentInbound(
                    dispatch,
                    tag=tag,
                    level=dokodemo.user_level,
                    fallback=target if dokodemo.has_target else None,
                    find_ports=find_ports,
                )
            case config.DokodemoInboundSettings() as dokodemo:
                return inbound.DokodemoInbound(
                    dispatch,
                    tag=tag,
                    level=dokodemo.user_level,
                    host=dokodemo.target_address,
                    port=dokodemo.target_port,
                )
            case config.VMessInboundSettings():
                raise TypeError("expected a local inbound, found a VMess inbound")
            case _ as never:
                assert_never(never)

    def outbound(self, settings: config.OutboundSettings) -> Outbound:
        """Build an outbound.

        Raises:
            ConfigError: a certificate cannot be used, or this system lacks an option of sockets.
        """
        built = self._build_outbound(settings)
        self._outbounds.setdefault(settings.tag, built)
        return built

    def _build_outbound(self, settings: config.OutboundSettings) -> Outbound:
        tag, local = settings.tag, settings.send_through
        dialler = Dialler.of(settings, resolve=self.resolve, file=self.layers.file)
        options = dialler.options
        # Through another outbound only first bytes reach the server: there is nothing to spare.
        spares = None if settings.through else spares_of(settings, add_service=self.services.append)
        around = self.layers.for_outbound(settings, ahead=spares)
        connect = connect_packets = dialler.connect()
        if settings.through:
            # Imported here: few outbounds go through others.
            from trio_vmess.node.chaining import connect_through

            find = functools.partial(self._outbounds.__getitem__, settings.through)
            connect = connect_packets = connect_through(find)
        elif isinstance(settings.protocol, config.VMessOutboundSettings):
            connect_packets = dialler.connect(patience=PACKETS_PATIENCE)
        connect = around(connect)
        match settings.protocol:
            case config.VMessOutboundSettings() as vmess:
                client = outbound.VMessOutbound(
                    tag=tag,
                    servers=[_server(server, vmess) for server in vmess.servers],
                    dialect=vmess.dialect,
                    padding=vmess.global_padding,
                    jitter=vmess.timestamp_jitter,
                    entropy=secrets,
                    clock=self.clock,
                    machine=platform.machine(),
                    buffer=self.buffers.received,
                    connect=connect,
                    connect_packets=around(connect_packets),
                    packet_size=vmess.packet_size,
                )
                return self._with_sharing(client, settings.mux, vmess.packet_encoding)
            case config.FreedomOutboundSettings() as freedom:
                redirect = freedom.redirect or config.RedirectSettings()
                resolves_by_node = freedom.domain_strategy is not config.FreedomDomainStrategy.AS_IS
                return outbound.FreedomOutbound(
                    tag=tag,
                    allow_private=freedom.allow_private,
                    family=_FAMILIES[freedom.domain_strategy],
                    redirect_host=redirect.host,
                    redirect_port=redirect.port,
                    local=local,
                    options=options.streams,
                    datagram_options=options.datagrams,
                    resolve_for=self.resolve_for if resolves_by_node else self.resolve_as_system,
                )
            case config.BlackholeOutboundSettings() as blackhole:
                return outbound.BlackholeOutbound(
                    tag=tag,
                    response="http"
                    if blackhole.response is config.BlackholeResponse.HTTP
                    else "none",
                )
            case config.SocksOutboundSettings() as socks:
                return outbound.SocksOutbound(
                    tag=tag,
                    servers=_parent_proxies(socks.servers),
                    connect=connect,
                    local=local,
                    options=options.datagrams,
                    resolve=self.resolve,
                    has_datagrams=not settings.through,
                )
            case config.HttpOutboundSettings() as http:
                return outbound.HttpOutbound(
                    tag=tag, servers=_parent_proxies(http.servers), connect=connect
                )
            case _ as never:
                assert_never(never)

    def _with_sharing(
        self, vmess: "VMessOutbound", mux: config.MuxSettings, encoding: config.PacketEncoding
    ) -> Outbound:
        """Put outbounds in front of one, if anything is to share connections."""
        sharing: Outbound = vmess
        if encoding is config.PacketEncoding.PACKETADDR:
            sharing = packetaddr = outbound.PacketAddrOutbound(vmess)
            self.services.append(packetaddr)

        def make(concurrency: int, *, is_xudp: bool = False) -> "CarrierPool":
            return outbound.CarrierPool(
                vmess,
                entropy=secrets,
                buffer=self.buffers.received,
                concurrency=concurrency,
                is_xudp=is_xudp,
            )

        streams = datagrams = None
        quic = config.QuicOverMux.ALLOW
        if mux.carries_streams:
            streams = make(mux.concurrency)
        if encoding is config.PacketEncoding.XUDP:
            if mux.enabled and mux.xudp_concurrency > 0:
                datagrams = make(mux.xudp_concurrency)
            elif mux.enabled and mux.xudp_concurrency == 0:
                datagrams = streams
            if datagrams is None:
                datagrams = make(1, is_xudp=True)
            else:
                quic = mux.xudp_proxy_udp443
        if streams is not None or datagrams is not None:
            sharing = carriers = outbound.MuxOutbound(
                sharing, streams=streams, datagrams=datagrams, quic=_QUIC[quic], entropy=secrets
            )
            self.services.append(carriers)
        return sharing


def _account(user: config.InboundUserSettings | config.OutboundUserSettings) -> Account:
    return Account(
        user_id=user.id, alter_id_count=user.alter_id, level=user.level, email=user.email
    )


def _passwords(accounts: Sequence[config.ProxyAccountSettings]) -> Mapping[str, str]:
    return {account.user: account.password for account in accounts}


def _server(server: config.VMessServerSettings, vmess: config.VMessOutboundSettings) -> "Server":
    return outbound.Server(
        host=server.address,
        port=server.port,
        identities=[
            outbound.Identity(
                account=_account(user),
                security=user.security.value,
                authenticated_length=vmess.authenticated_length
                or config.Experiment.AUTHENTICATED_LENGTH in user.experiments,
                sends_terminator=config.Experiment.NO_TERMINATION_SIGNAL not in user.experiments,
            )
            for user in server.users
        ],
    )


def _parent_proxies(servers: Sequence[config.ParentProxySettings]) -> Sequence["ParentProxy"]:
    return [
        outbound.ParentProxy(
            host=server.address,
            port=server.port,
            user=server.users[0].user if server.users else None,
            password=server.users[0].password if server.users else None,
        )
        for server in servers
    ]
