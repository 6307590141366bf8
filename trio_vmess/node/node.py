"""A running node: listeners in an inner nursery, connections in an outer one.

Stopping closes the listeners, gives the connections some seconds, and then cancels them.
"""

import functools
import logging
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs
import trio

from trio_vmess.config import (
    AllocateStrategy,
    Config,
    DokodemoInboundSettings,
    HttpInboundSettings,
    InboundSettings,
    MixedInboundSettings,
    SocksInboundSettings,
    UnixSocket,
    VMessInboundSettings,
)
from trio_vmess.contracts import Inbound, Outbound
from trio_vmess.core import Flow, Network, PortPlan
from trio_vmess.core.vmess import ReplayCache, SwitchAccount, UserRegistry
from trio_vmess.dispatch import AccessLog, Connection, Dispatcher, Selection
from trio_vmess.inbound import DokodemoInbound
from trio_vmess.listen import (
    DynamicListener,
    MakeInbound,
    PermanentListener,
    PortInbound,
    bind_datagram_socket,
    format_listen_address,
    open_listener,
    run_housekeeping,
)
from trio_vmess.node.assets import Assets
from trio_vmess.node.dns import FlowDialer, make_resolver
from trio_vmess.node.endpoints import (
    Assembler,
    SwitchSource,
    sniffing_of,
    statistics_of,
    utc_seconds,
)
from trio_vmess.node.routing import make_choice, probes_of
from trio_vmess.operations import ControlServer, Monitor, open_control
from trio_vmess.relay import SharedBuffers
from trio_vmess.routing import GeoFiles
from trio_vmess.transport import resolve

log: Final = logging.getLogger("trio_vmess.node")

GRACE: Final = 5.0
"""Seconds that connections have to end by themselves when the node stops."""


@attrs.frozen(kw_only=True)
class Listening:
    """Where an inbound can be reached.

    Attributes:
        tag: the inbound's name; may be empty.
        protocol: the word for it in configurations.
        address: `host:port`, or a Unix socket.
    """

    tag: str
    protocol: str
    address: str


class Node:
    """Everything that a configuration describes, ready to run once.

    Args:
        config: must have passed its checks.
    """

    def __init__(self, config: Config) -> None:
        buffers = SharedBuffers()
        self._config = config
        assets = Assets(_folders(config))
        self.resolver = make_resolver(
            config,
            dialer=FlowDialer(self._choose_for_query, tag=config.dns.tag),
            geo=GeoFiles(assets.load),
        )
        self.statistics = statistics_of(config.policy) if config.stats else None
        self._assembler = Assembler(
            buffers=buffers,
            policy_of=config.policy.level,
            resolve=resolve if self.resolver is None else self.resolver.resolve,
        )
        self.outbounds = [self._assembler.outbound(settings) for settings in config.outbounds]
        self._choose = make_choice(
            config,
            self.outbounds,
            load=assets.load,
            resolve=self._assembler.resolve,
            running=lambda: [each.outbound_tag for each in self.connections],
            entropy=secrets,
        )
        self._dispatcher = Dispatcher(
            self._choose,
            policy_of=self._assembler.policy_of,
            buffers=buffers,
            sniffing_of=sniffing_of(config.inbounds),
            observers=[AccessLog(), *([] if self.statistics is None else [self.statistics])],
        )
        self._ways = [self._build_way(settings) for settings in config.inbounds]
        self._stop = trio.Event()
        self._grace = GRACE
        self._control_path = ""

    @property
    def listening(self) -> Sequence[Listening]:
        """Where the inbounds can be reached, with the ports that the system chose."""
        return [
            Listening(tag=way.settings.tag, protocol=way.word, address=address)
            for way in self._ways
            for address in way.addresses
        ]

    @property
    def control_path(self) -> str:
        """Where the control socket is; empty if there is none."""
        return self._control_path

    @property
    def connections(self) -> set[Connection]:
        """What is running now."""
        return self._dispatcher.connections

    def stop(self, grace: float = GRACE) -> None:
        """Stop listening; cancel what still runs after `grace` seconds."""
        self._grace = grace
        self._stop.set()

    async def run(self, *, task_status: trio.TaskStatus["Node"] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and serve until `stop` is called or the task is cancelled.

        Args:
            task_status: is told when every inbound listens.

        Raises:
            OSError: an inbound cannot listen; nothing was started.
        """
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as listeners:
                await self._start(listeners, connections)
                task_status.started(self)
                await self._stop.wait()
                listeners.cancel_scope.cancel()
            log.info("node.stopping connections=%d grace=%s", len(self.connections), self._grace)
            connections.cancel_scope.deadline = trio.current_time() + self._grace

    async def _start(self, listeners: trio.Nursery, connections: trio.Nursery) -> None:
        await self._start_control(listeners)
        for way in self._ways:
            await listeners.start(functools.partial(way.listener.serve, connections=connections))
            if isinstance(way.local, DokodemoInbound) and Network.UDP in way.settings.networks:
                _start_datagrams(way, way.local, listeners)
        if isinstance(self._choose, Selection):
            for probe in probes_of(self._config):
                listeners.start_soon(self._choose.keep_probing, probe)
        listeners.start_soon(run_housekeeping, self._registries, self._replays, utc_seconds)

    async def _start_control(self, listeners: trio.Nursery) -> None:
        wanted = self._config.control
        if not (wanted or self.statistics is not None):
            return
        try:
            listener = open_control(wanted)
        except OSError as exc:
            if wanted:
                raise
            # Nobody asked for it by name: a node should not fail where it has no folder to write.
            log.warning("control.unavailable reason=%r", exc.strerror or str(exc))
            return
        self._control_path = str(listener)
        monitor = Monitor(
            statistics=self.statistics,
            connections=self.connections,
            clock=trio.current_time,
            since=trio.current_time(),
        )
        await listeners.start(ControlServer(monitor.answer).run, listener)

    async def _choose_for_query(self, flow: Flow) -> Outbound:
        return await self._choose(flow)

    def _build_way(self, settings: InboundSettings) -> "_Way":
        if isinstance(settings.protocol, VMessInboundSettings):
            make = functools.partial(self._make_vmess, settings, settings.protocol)
            return _Way(settings, _listener_of(settings, make))
        local = self._assembler.local_inbound(settings, self._dispatcher)
        level = settings.protocol.user_level
        handshake = self._assembler.policy_of(level).handshake
        behind = PortInbound(inbound=local, handshake=handshake)
        return _Way(settings, _listener_of(settings, lambda _: behind), local)

    def _make_vmess(
        self, settings: InboundSettings, protocol: VMessInboundSettings, _port: int
    ) -> PortInbound:
        inbound = self._assembler.vmess_inbound(
            settings,
            protocol,
            self._dispatcher,
            switch_account=self._detour_to(protocol.detour) if protocol.detour else None,
        )
        return PortInbound(
            inbound=inbound,
            # Nobody is known before the request, so the limit of level 0 holds for everyone.
            handshake=self._assembler.policy_of(0).handshake,
            users=inbound.users,
            replay=inbound.replay,
            default_level=protocol.default.level,
            default_alter_id_count=protocol.default.alter_id,
        )

    def _detour_to(self, tag: str) -> SwitchSource:
        def switch_account(email: str) -> SwitchAccount | None:
            for way in self._ways:
                if way.settings.tag == tag:
                    return way.listener.switch_account(email)
            return None

        return switch_account

    def _registries(self) -> Sequence[UserRegistry]:
        return [users for way in self._ways for users in way.listener.registries]

    def _replays(self) -> Sequence[ReplayCache]:
        return [replay for way in self._ways for replay in way.listener.replays]


_WORDS: Final = {
    VMessInboundSettings: "vmess",
    SocksInboundSettings: "socks",
    HttpInboundSettings: "http",
    MixedInboundSettings: "mixed",
    DokodemoInboundSettings: "dokodemo-door",
}


@attrs.frozen(eq=False)
class _Way:
    """An inbound's settings and what listens for it."""

    settings: InboundSettings
    listener: PermanentListener | DynamicListener
    local: Inbound | None = None

    @property
    def word(self) -> str:
        return _WORDS[type(self.settings.protocol)]

    @property
    def addresses(self) -> Sequence[str]:
        if isinstance(self.settings.listen, UnixSocket):
            return (self.settings.listen.path,)
        listen = self.settings.listen
        return [format_listen_address(listen, port) for port in self.listener.ports]


def _listener_of(
    settings: InboundSettings, make: MakeInbound
) -> PermanentListener | DynamicListener:
    address = settings.listen.path if isinstance(settings.listen, UnixSocket) else settings.listen
    clients_begin = not isinstance(settings.protocol, DokodemoInboundSettings)
    bind = functools.partial(open_listener, address, clients_begin=clients_begin)
    ports, allocate = _ports_of(settings), settings.allocate
    if allocate.strategy is AllocateStrategy.RANDOM:
        plan = PortPlan(
            ports, concurrency=allocate.concurrency, refresh=allocate.refresh, entropy=secrets
        )
        return DynamicListener(plan, bind, make, entropy=secrets, tag=settings.tag)
    if Network.TCP not in settings.networks:
        ports = range(0)
    # One set of users for the whole range, as in V2Ray.
    shared = functools.cache(lambda: make(0))
    return PermanentListener(ports, bind, lambda _port: shared(), entropy=secrets)


def _folders(config: Config) -> Sequence[Path]:
    """Return where data files are looked for before all other places: beside the configuration."""
    return [Path(config.file).parent] if config.file else []


def _ports_of(settings: InboundSettings) -> range:
    return range(settings.port.first, settings.port.last + 1)


def _start_datagrams(way: _Way, dokodemo: DokodemoInbound, listeners: trio.Nursery) -> None:
    listen = way.settings.listen
    if isinstance(listen, UnixSocket):
        return
    for port in way.listener.ports or _ports_of(way.settings):
        listeners.start_soon(dokodemo.serve_datagrams, bind_datagram_socket(listen, port))
