"""A running node: listeners in an inner nursery, connections in an outer one.

Stopping closes the listeners, gives the connections some seconds, and then cancels them.
"""

import functools
import logging
import secrets
from collections.abc import Sequence
from typing import Final

import attrs
import trio

from trio_vmess.assemble import Assembler, SwitchSource, policies_of, utc_seconds
from trio_vmess.config import (
    AllocateStrategy,
    Config,
    DokodemoInbound,
    HttpInbound,
    InboundSettings,
    MixedInbound,
    SocksInbound,
    UnixSocket,
    VMessInbound,
)
from trio_vmess.contracts import Inbound
from trio_vmess.core import Network, PortPlan
from trio_vmess.core.vmess import ReplayCache, SwitchAccount, UserRegistry
from trio_vmess.dispatch import Connection, Dispatcher, FirstOutbound
from trio_vmess.errors import ConfigProblem
from trio_vmess.inbound import DokodemoInbound as DokodemoServer
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
from trio_vmess.relay import Scratch

log: Final = logging.getLogger("trio_vmess.app")

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


def without_effect(config: Config) -> Sequence[ConfigProblem]:
    """Return what a configuration asks for and this version does not do yet.

    Everything else works as it says; a user should still be told, for a rule that is not applied
    can mean a connection that takes the wrong way.
    """
    asked = {
        "routing": bool(config.routing.rules),
        "dns": bool(config.dns.servers or config.dns.hosts),
        "stats": config.stats,
    }
    for index, inbound in enumerate(config.inbounds):
        asked[f"inbounds[{index}].sniffing"] = inbound.sniffing.enabled
    return [
        ConfigProblem(where=where, message="this has no effect in this version", file=config.file)
        for where, is_asked in asked.items()
        if is_asked
    ]


class Node:
    """Everything that a configuration describes, ready to run once.

    Args:
        config: must have passed its checks.
    """

    def __init__(self, config: Config) -> None:
        scratch = Scratch()
        self._config = config
        self._assembler = Assembler(scratch=scratch, policy_of=policies_of(config.policy))
        self.outbounds = [self._assembler.outbound(settings) for settings in config.outbounds]
        self._dispatcher = Dispatcher(
            FirstOutbound(self.outbounds),
            policy_of=self._assembler.policy_of,
            scratch=scratch,
        )
        self._ways = [self._build_way(settings) for settings in config.inbounds]
        self._stop = trio.Event()
        self._grace = GRACE

    @property
    def listening(self) -> Sequence[Listening]:
        """Where the inbounds can be reached, with the ports that the system chose."""
        return [
            Listening(tag=way.settings.tag, protocol=way.word, address=address)
            for way in self._ways
            for address in way.addresses
        ]

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
        for way in self._ways:
            await listeners.start(functools.partial(way.listener.serve, connections=connections))
            if isinstance(way.local, DokodemoServer) and Network.UDP in way.settings.networks:
                _start_datagrams(way, way.local, listeners)
        listeners.start_soon(run_housekeeping, self._registries, self._replays, utc_seconds)

    def _build_way(self, settings: InboundSettings) -> "_Way":
        if isinstance(settings.protocol, VMessInbound):
            make = functools.partial(self._make_vmess, settings, settings.protocol)
            return _Way(settings, _listener_of(settings, make))
        local = self._assembler.local_inbound(settings, self._dispatcher)
        return _Way(settings, _listener_of(settings, lambda _: PortInbound(inbound=local)), local)

    def _make_vmess(
        self, settings: InboundSettings, protocol: VMessInbound, _port: int
    ) -> PortInbound:
        inbound = self._assembler.vmess_inbound(
            settings,
            protocol,
            self._dispatcher,
            switch_account=self._detour_to(protocol.detour) if protocol.detour else None,
        )
        return PortInbound(
            inbound=inbound,
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
    VMessInbound: "vmess",
    SocksInbound: "socks",
    HttpInbound: "http",
    MixedInbound: "mixed",
    DokodemoInbound: "dokodemo-door",
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
    bind = functools.partial(open_listener, address)
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


def _ports_of(settings: InboundSettings) -> range:
    return range(settings.port.first, settings.port.last + 1)


def _start_datagrams(way: _Way, dokodemo: DokodemoServer, listeners: trio.Nursery) -> None:
    listen = way.settings.listen
    if isinstance(listen, UnixSocket):
        return
    for port in way.listener.ports or _ports_of(way.settings):
        listeners.start_soon(dokodemo.serve_datagrams, bind_datagram_socket(listen, port))
