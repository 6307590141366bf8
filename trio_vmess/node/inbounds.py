"""Builds the listeners of an inbound from its settings."""

import functools
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import attrs

from trio_vmess import inbound as inbounds
from trio_vmess.config import (
    AllocateStrategy,
    DokodemoInboundSettings,
    HttpInboundSettings,
    InboundSettings,
    MixedInboundSettings,
    SocksInboundSettings,
    TransparentProxy,
    UnixSocket,
    VMessInboundSettings,
)
from trio_vmess.contracts import Dispatch, Inbound
from trio_vmess.core import Network, PortPlan
from trio_vmess.core.vmess import SwitchAccount
from trio_vmess.listen import (
    DatagramListener,
    DynamicListener,
    MakeHandler,
    PermanentListener,
    Permissions,
    PortHandler,
    bind_datagram_socket,
    format_listen_address,
    open_listener,
)
from trio_vmess.node.endpoints import Assembler
from trio_vmess.node.layers import LayerBuilder
from trio_vmess.node.lifecycle import ListeningService
from trio_vmess.node.socket_options import SocketOptions, listening_options, make_transparent
from trio_vmess.node.users import UserStore
from trio_vmess.transport import reached_address, redirected_from

if TYPE_CHECKING:
    from trio_vmess.inbound import DokodemoInbound, TransparentInbound, VMessInbound

InboundT = TypeVar("InboundT", bound=Inbound)

StreamListener: TypeAlias = PermanentListener[InboundT] | DynamicListener[InboundT]

_PROTOCOL_NAMES: Final = {
    VMessInboundSettings: "vmess",
    SocksInboundSettings: "socks",
    HttpInboundSettings: "http",
    MixedInboundSettings: "mixed",
    DokodemoInboundSettings: "dokodemo-door",
}


_FIND_LOCAL: Final = {
    TransparentProxy.OFF: None,
    TransparentProxy.REDIRECT: redirected_from,
    TransparentProxy.TPROXY: reached_address,
}
"""How it is found out where a connection was going, if that is not the inbound's own address."""


@attrs.frozen(eq=False, kw_only=True)
class RunningInbound:
    """An inbound with its listeners.

    Attributes:
        settings: its settings.
        streams: accepts connections.
        datagrams: receives datagrams; None if the inbound does not accept any.
        users: its users; None unless it is a VMess inbound.
    """

    settings: InboundSettings
    streams: StreamListener[Inbound]
    datagrams: DatagramListener | None = None
    users: UserStore | None = None

    @property
    def listeners(self) -> Sequence[ListeningService]:
        """The listeners, in the order in which they are to be started."""
        return (self.streams,) if self.datagrams is None else (self.streams, self.datagrams)

    @property
    def protocol_name(self) -> str:
        """The name of its protocol in configurations."""
        return _PROTOCOL_NAMES[type(self.settings.protocol)]

    @property
    def addresses(self) -> Sequence[str]:
        """Where it can be reached, with the ports that the system chose."""
        listen = self.settings.listen
        if isinstance(listen, UnixSocket):
            return (listen.path,)
        return [format_listen_address(listen, port) for port in self.streams.ports]


class InboundBuilder:
    """Builds the inbounds of one node.

    Args:
        assembler: builds the protocol objects.
        layers: builds what lies in front of them.
        dispatch: receives the requests.
    """

    def __init__(self, assembler: Assembler, layers: LayerBuilder, dispatch: Dispatch) -> None:
        self._assembler = assembler
        self._layers = layers
        self._dispatch = dispatch
        # The targets of detours, by tag. Looked up when a client is redirected, because the target
        # may come later in the configuration than the inbound with the `detour`.
        self._vmess_listeners: dict[str, StreamListener[VMessInbound]] = {}

    def build(self, settings: InboundSettings) -> RunningInbound:
        """Build an inbound without opening its ports.

        Raises:
            ValueError: its users have too many alter ids in total.
            ConfigError: a certificate cannot be used, or this system lacks an option of sockets.
        """
        if isinstance(settings.protocol, VMessInboundSettings):
            return self._build_vmess(settings, settings.protocol)
        inbound = self._assembler.local_inbound(settings, self._dispatch, lambda: streams.ports)
        policy = self._assembler.policy_of(settings.protocol.user_level)
        handler = PortHandler(
            inbound=inbound,
            front=self._layers.for_inbound(settings, handshake=policy.handshake)(inbound),
            handshake=policy.handshake,
        )
        options = self._socket_options(settings)
        streams = _stream_listener(settings, options, lambda _port: handler)
        datagrams = None
        # Asked for by its settings first: the classes are loaded when they are named.
        if (
            isinstance(settings.protocol, DokodemoInboundSettings)
            and isinstance(inbound, inbounds.DokodemoInbound | inbounds.TransparentInbound)
            and Network.UDP in settings.networks
        ):
            datagrams = _datagram_listener(settings, options, streams, inbound)
        return RunningInbound(settings=settings, streams=streams, datagrams=datagrams)

    def _build_vmess(
        self, settings: InboundSettings, protocol: VMessInboundSettings
    ) -> RunningInbound:
        users, global_ids = self._assembler.user_store(settings, protocol), inbounds.GlobalIds()
        # The user is unknown until the request is read, so the limit of level 0 applies to all.
        handshake = self._assembler.policy_of(0).handshake
        switch_account = None
        if protocol.detour:
            switch_account = functools.partial(self._switch_account, protocol.detour)

        front = self._layers.for_inbound(settings, handshake=handshake)
        fallback = self._layers.innermost_fallback(settings)

        def make_handler(_port: int) -> "PortHandler[VMessInbound]":
            registry = users.open_registry()
            inbound = self._assembler.vmess_inbound(
                settings,
                protocol,
                self._dispatch,
                users=registry,
                global_ids=global_ids,
                switch_account=switch_account,
                fallback=fallback,
            )
            return PortHandler(
                inbound=inbound,
                front=front(inbound),
                handshake=handshake,
                close=functools.partial(users.close_registry, registry),
            )

        streams = _stream_listener(settings, self._socket_options(settings), make_handler)
        self._vmess_listeners.setdefault(settings.tag, streams)
        return RunningInbound(settings=settings, streams=streams, users=users)

    def _socket_options(self, settings: InboundSettings) -> SocketOptions:
        file = self._layers.file
        return make_transparent(listening_options(settings.stream, file=file), settings, file=file)

    def _switch_account(self, tag: str, email: str) -> SwitchAccount | None:
        """Offer a user a port of the inbound with this tag, and an account on that port."""
        listener = self._vmess_listeners.get(tag)
        offer = None if listener is None else listener.offer_switch()
        account = None if offer is None else offer.inbound.assign_account(email)
        if offer is None or account is None:
            return None
        return SwitchAccount(
            port=offer.port,
            user_id=account.user_id,
            alter_id_count=account.alter_id_count,
            level=account.level,
            minutes=offer.minutes,
        )


def _stream_listener(
    settings: InboundSettings, options: SocketOptions, make_handler: MakeHandler[InboundT]
) -> StreamListener[InboundT]:
    bind = functools.partial(
        open_listener,
        clients_speak_first=not isinstance(settings.protocol, DokodemoInboundSettings),
        options=options.streams,
        find_local=_FIND_LOCAL[settings.transparent_proxy],
    )
    listen = settings.listen
    if isinstance(listen, UnixSocket):
        permissions = Permissions(mode=listen.mode, owner=listen.owner, group=listen.group)
        bind = functools.partial(bind, listen.path, permissions=permissions)
    else:
        bind = functools.partial(bind, listen)
    ports, allocate = _ports_of(settings), settings.allocate
    if allocate.strategy is AllocateStrategy.RANDOM:
        plan = PortPlan(
            ports, concurrency=allocate.concurrency, refresh=allocate.refresh, entropy=secrets
        )
        return DynamicListener(plan, bind, make_handler, entropy=secrets, tag=settings.tag)
    if Network.TCP not in settings.networks:
        ports = range(0)
    # One handler, and so one registry, for the whole range, as in V2Ray.
    handler = make_handler(0)
    return PermanentListener(ports, bind, lambda _port: handler, entropy=secrets)


def _datagram_listener(
    settings: InboundSettings,
    options: SocketOptions,
    streams: StreamListener[Inbound],
    inbound: "DokodemoInbound | TransparentInbound",
) -> DatagramListener | None:
    listen = settings.listen
    if isinstance(listen, UnixSocket):
        return None
    return DatagramListener(
        # The ports of the TCP listener if it has any: with port 0, the system has chosen them.
        lambda: streams.ports or _ports_of(settings),
        functools.partial(bind_datagram_socket, listen, options=options.datagrams),
        inbound.serve_datagrams,
    )


def _ports_of(settings: InboundSettings) -> range:
    return range(settings.port.first, settings.port.last + 1)
