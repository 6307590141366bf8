"""A node: builds everything that a configuration describes, and runs it."""

import functools
import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_vmess import dispatch
from trio_vmess.config import Config, FallbackSettings, VMessInboundSettings
from trio_vmess.contracts import Fallback, Outbound, Resolve
from trio_vmess.core import Flow
from trio_vmess.core.vmess import ReplayCache, authentication_window
from trio_vmess.dispatch import (
    AccessLog,
    Connection,
    Dispatcher,
    ResetWatch,
)
from trio_vmess.listen import file_limit
from trio_vmess.node.assets import Assets
from trio_vmess.node.clock import SettledClock, utc_seconds
from trio_vmess.node.dns import FlowDialer, for_owner, make_resolver, make_system_resolver
from trio_vmess.node.endpoints import Assembler, sniffing_of, statistics_of
from trio_vmess.node.housekeeping import Housekeeping
from trio_vmess.node.inbounds import InboundBuilder
from trio_vmess.node.layers import LayerBuilder
from trio_vmess.node.lifecycle import Lifecycle, Service
from trio_vmess.node.routing import make_choice, probes_of
from trio_vmess.node.users import UserStore
from trio_vmess.operations import ControlServer, Monitor
from trio_vmess.relay import SharedBuffers

if TYPE_CHECKING:
    from trio_vmess.node.certificates import InboundCertificates
    from trio_vmess.node.replay_store import LastingMemory

log: Final = logging.getLogger("trio_vmess.node")

CLOCK_HOLD_EXTRA: Final = 60.0
"""Seconds beyond what requests are remembered for which a step of the clock is not followed."""

GRACE: Final = 5.0
"""Default grace period: seconds that connections have to end when the node stops."""


@attrs.frozen(kw_only=True)
class Listening:
    """An address on which an inbound accepts connections.

    Attributes:
        tag: the inbound's tag; may be empty.
        protocol: the name of its protocol in configurations.
        address: `host:port`, or the name of a Unix socket.
    """

    tag: str
    protocol: str
    address: str


class Node:
    """The server, client or chain that a configuration describes; can be run once.

    Args:
        config: validated, as `load_config` returns it.

    Raises:
        ConfigError: a name server or a routing rule cannot be used, or a data file is missing.
    """

    def __init__(self, config: Config) -> None:
        buffers = SharedBuffers()
        self._config = config
        assets = Assets(_folders(config))
        self.system = make_system_resolver()
        self.resolver = make_resolver(
            config,
            system=self.system.resolve,
            dialer=FlowDialer(self._choose_for_query, tag=config.dns.tag),
            load=assets.load,
        )
        self.statistics = statistics_of(config.policy) if config.stats else None
        window = _longest_window(config)
        self._memory = _make_memory(config)
        self._replay = ReplayCache(window=window, memory=self._memory)
        self._settled_clock = SettledClock(2 * window + CLOCK_HOLD_EXTRA)
        self._layers = LayerBuilder(
            file=config.file,
            make_fallback=functools.partial(
                _make_fallback,
                buffers=buffers,
                idle=config.policy.level(0).connection_idle,
                resolve=self.system.resolve,
            ),
        )
        self._assembler = Assembler(
            layers=self._layers,
            buffers=buffers,
            policy_of=config.policy.level,
            replay=self._replay,
            resolve=self.system.resolve,
            resolve_as_system=for_owner(self.system),
            resolve_for=for_owner(self.resolver or self.system),
            has_attributes=any(rule.attributes for rule in config.routing.rules),
        )
        self.outbounds = [self._assembler.outbound(settings) for settings in config.outbounds]
        self._choose = make_choice(
            config,
            self.outbounds,
            load=assets.load,
            resolve_for=self._assembler.resolve_for,
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
        builder = InboundBuilder(self._assembler, self._layers, self._dispatcher)
        self._inbounds = [builder.build(settings) for settings in config.inbounds]
        self._since = 0.0
        self._control = ControlServer(self._handle_control_request, path=config.control)
        self._lifecycle = Lifecycle(
            services=self._services(),
            listeners=[each for inbound in self._inbounds for each in inbound.listeners],
        )
        self._stop = trio.Event()
        self._grace = GRACE

    def _services(self) -> Sequence[Service]:
        services: list[Service] = [
            *self._assembler.services,
            *self._layers.certificates,
            *self._layers.services,
            Housekeeping(
                registries=lambda: [each for store in self.users for each in store.registries],
                replays=lambda: [self._replay],
                now=utc_seconds,
                settled=self._settled_clock.now,
            ),
        ]
        services.append(ResetWatch(connections=lambda: self.connections))
        if self._memory is not None:
            services[:0] = [self._memory, self._assembler.refused]
        if self._config.control or self.statistics is not None:
            services.append(self._control)
        probes = probes_of(self._config)
        if probes and isinstance(self._choose, dispatch.Selection):
            services += [dispatch.Prober(selection=self._choose, probe=probe) for probe in probes]
        return services

    @property
    def listening(self) -> Sequence[Listening]:
        """The addresses of the inbounds, with the ports that the system chose."""
        return [
            Listening(tag=inbound.settings.tag, protocol=inbound.protocol_name, address=address)
            for inbound in self._inbounds
            for address in inbound.addresses
        ]

    @property
    def users(self) -> Sequence[UserStore]:
        """The user store of each VMess inbound; users can be added and removed while it runs."""
        return [inbound.users for inbound in self._inbounds if inbound.users is not None]

    @property
    def certificates(self) -> Sequence["InboundCertificates"]:
        """Those of inbounds with TLS."""
        return self._layers.certificates

    @property
    def control_path(self) -> str:
        """The path of the control socket; empty if there is none."""
        return self._control.path

    @property
    def connections(self) -> set[Connection]:
        """The connections that are open."""
        return self._dispatcher.connections

    def stop(self, grace: float = GRACE) -> None:
        """Stop listening; cancel connections that are still open after `grace` seconds."""
        self._grace = grace
        self._stop.set()

    async def run(self, *, task_status: trio.TaskStatus["Node"] = trio.TASK_STATUS_IGNORED) -> None:
        """Accept and serve connections until `stop` is called or the task is cancelled.

        Args:
            task_status: given the node when every inbound listens.

        Raises:
            OSError: an inbound cannot listen, in an exception group; nothing is left running.
        """
        self._since = trio.current_time()
        await self._lifecycle.run(
            self._stop,
            on_started=lambda: self._report_start(task_status),
            on_stopping=self._begin_stopping,
        )

    def _report_start(self, task_status: trio.TaskStatus["Node"]) -> None:
        limit = file_limit()
        log.info("node.started listening=%d files=%s", len(self.listening), limit or "unlimited")
        task_status.started(self)

    def _begin_stopping(self) -> float:
        log.info("node.stopping connections=%d grace=%s", len(self.connections), self._grace)
        return self._grace

    def _handle_control_request(self, request: Mapping[str, object]) -> Mapping[str, object]:
        monitor = Monitor(
            statistics=self.statistics,
            connections=self.connections,
            clock=trio.current_time,
            since=self._since,
            certificates=[each for some in self.certificates for each in some.summary],
        )
        return monitor.answer(request)

    async def _choose_for_query(self, flow: Flow) -> Outbound:
        return await self._choose(flow)


def _make_fallback(
    settings: FallbackSettings, *, buffers: SharedBuffers, idle: float, resolve: Resolve
) -> Fallback:
    """Build what answers strangers of an inbound; its room is loaded if there is one."""
    from trio_vmess.node.fallbacks import make_fallback

    return make_fallback(settings, buffers=buffers, idle=idle, resolve=resolve)


def _make_memory(config: Config) -> "LastingMemory | None":
    """Build what remembers requests if there is an inbound to which they can be replayed."""
    if not any(isinstance(each.protocol, VMessInboundSettings) for each in config.inbounds):
        return None
    from trio_vmess.node.replay_store import LastingMemory
    from trio_vmess.node.state_folder import state_folders_of

    return LastingMemory(state_folders_of(config, os.environ))


def _longest_window(config: Config) -> int:
    """Return for how many seconds each way the most patient VMess inbound takes a request."""
    return max(
        (
            authentication_window(inbound.protocol.max_clock_skew)
            for inbound in config.inbounds
            if isinstance(inbound.protocol, VMessInboundSettings)
        ),
        default=0,
    )


def _folders(config: Config) -> Sequence[Path]:
    """Return the folder of the configuration file, which is searched first for data files."""
    return [Path(config.file).parent] if config.file else []
