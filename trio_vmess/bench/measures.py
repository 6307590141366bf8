"""Loads on a pair of nodes, each with the figures that it gives."""

import math
import time
from collections.abc import Callable
from typing import Final

import attrs

from trio_vmess.bench.generator import LoadGenerator
from trio_vmess.bench.loads import Figures
from trio_vmess.bench.origin import OriginProcess
from trio_vmess.bench.pairs import CpuTime, Pair
from trio_vmess.bench.processes import BenchError, usage_of
from trio_vmess.bench.setups import Size

_GIB: Final = 1 << 30
_BEFORE_TRIPS: Final = 0.3
"""Seconds that a transfer runs before the round trips beside it begin."""
_AFTER_LOAD: Final = 0.05
"""Seconds for the nodes to close the connections of a load."""
_AFTER_START: Final = 0.3
_BETWEEN_FIRSTS: Final = 0.4
"""Seconds: more than the handshakes of a spare connection take, and less than it is kept."""
_QUIET_SHARE: Final = 0.3
"""Share of a core below which a server has built its tables."""
_FIRST_LIMIT: Final = 45.0


@attrs.frozen(kw_only=True)
class Stage:
    """What a measurement needs.

    Attributes:
        pair: the nodes; not yet started if the workload is fresh.
        generator: runs the load.
        second: runs another load at the same time.
        origin: the destination of all loads.
        size: how much to measure.
    """

    pair: Pair
    generator: LoadGenerator
    second: LoadGenerator
    origin: OriginProcess
    size: Size

    def run(self, load: str, **arguments: float) -> tuple[Figures, CpuTime]:
        """Run a load; return its figures and the CPU time of the nodes.

        The figure `load_share` is the CPU share of generator or origin, whichever is greater: near
        1, the load was measured rather than the nodes. Without /proc, all CPU time is NaN.
        """
        before, origin_before = self.pair.usage(), self._origin_cpu()
        figures = self.generator.run(load, self.pair.target, **arguments)
        origin = self._origin_cpu() - origin_before
        time.sleep(_AFTER_LOAD)
        spent = self.pair.spent_since(before)
        if seconds := figures.get("seconds"):
            figures["load_share"] = max(figures["cpu"], origin) / seconds
        return figures, spent

    def _origin_cpu(self) -> float:
        usage = usage_of(self.origin.pid)
        return math.nan if usage is None else usage.cpu


Measure = Callable[[Stage], Figures]
"""Runs a load, and returns the figures of its columns."""


# Loads on a running pair --------------------------------------------------------------------------


def bulk(load: str, streams: int) -> Callable[[Stage], Figures]:
    """Return what measures transfers in one direction: `download` or `upload`."""

    def measure(stage: Stage) -> Figures:
        figures, spent = stage.run(load, streams=streams, seconds=stage.size.seconds)
        gib = figures["bytes"] / _GIB
        return figures | {
            "rate": figures["bytes"] / figures["seconds"] / 1e6,
            "cpu": spent.both / gib,
            "client": spent.client / gib,
            "server": spent.server / gib,
        }

    return measure


def connections(in_flight: int) -> Callable[[Stage], Figures]:
    """Return what measures new connections, so many at a time."""

    def measure(stage: Stage) -> Figures:
        count = stage.size.connection_count
        figures, spent = stage.run("connections", count=count, in_flight=in_flight)
        return figures | {
            "rate": figures["count"] / figures["seconds"],
            "cpu": spent.both / count * 1e3,
            "server": spent.server / count * 1e3,
            "p50": figures["p50"] * 1e3,
            "p99": figures["p99"] * 1e3,
        }

    return measure


def first_bytes(stage: Stage) -> Figures:
    """Measure how long a new connection waits, for the proxy and for the first byte."""
    figures, _ = stage.run("first_bytes", count=stage.size.first_count, pause=_BETWEEN_FIRSTS)
    return figures | {"reply": figures["reply"] * 1e3, "first": figures["first"] * 1e3}


def round_trips(stage: Stage) -> Figures:
    """Measure echoes on an open connection."""
    figures, _ = stage.run("round_trips", seconds=stage.size.seconds)
    return figures | {"p50": figures["p50"] * 1e6, "p99": figures["p99"] * 1e6}


def trips_beside_bulk(stage: Stage) -> Figures:
    """Measure echoes during a download."""
    total = stage.size.seconds + 2 * _BEFORE_TRIPS
    stage.second.begin("download", stage.pair.target, streams=1, seconds=total)
    time.sleep(_BEFORE_TRIPS)
    try:
        figures = round_trips(stage)
    finally:
        bulk = stage.second.finish(total)
    return figures | {"rate": bulk["bytes"] / bulk["seconds"] / 1e6}


def datagrams(size: int) -> Callable[[Stage], Figures]:
    """Return what measures echoes of datagrams of so many bytes."""

    def measure(stage: Stage) -> Figures:
        figures, spent = stage.run("datagrams", size=size, seconds=stage.size.seconds)
        if not figures["count"]:
            raise BenchError("no datagram came back")
        return figures | {
            "rate": figures["count"] / figures["seconds"],
            "cpu": spent.both / figures["count"] * 1e6,
            "lost": figures["lost"] / (figures["count"] + figures["lost"]) * 100,
        }

    return measure


# Fresh pairs --------------------------------------------------------------------------------------


def fresh(stage: Stage) -> Figures:
    """Measure the start, and memory after it."""
    seconds = stage.pair.start()
    time.sleep(_AFTER_START)
    started = stage.pair.memory()
    # Pages of a program are loaded on demand, so an idle process looks small: measure it used, too.
    stage.run("connections", count=100, in_flight=4)
    stage.run("download", streams=1, seconds=stage.size.seconds)
    return {"start": seconds, "started": started / 1e6, "used": stage.pair.memory() / 1e6}


def idle(stage: Stage) -> Figures:
    """Measure the memory of connections that were used once and are kept."""
    stage.pair.start()
    # Connect first: what a process loads once must not count as memory of connections.
    stage.run("connections", count=min(50, stage.size.idle_count), in_flight=4)
    before, count = stage.pair.memory(), stage.size.idle_count
    try:
        stage.run("hold", count=count)
        time.sleep(0.5)
        grown = stage.pair.memory() - before
    finally:
        stage.run("release")
    return {"memory": grown / count / 1e3}


def many_users(stage: Stage) -> Figures:
    """Measure new connections to a server whose caches are filled."""
    stage.pair.start()
    stage.run("connections", count=stage.size.connection_count // 4 + 1, in_flight=1)
    return connections(4)(stage) | {"memory": stage.pair.memory("server") / 1e6}


def legacy_table(stage: Stage) -> Figures:
    """Measure the start of a server that has a table of alter ids to build."""
    pair, size = stage.pair, stage.size
    pair.start_one("client")
    pair.start_one("server", wait=False)
    first = stage.generator.run("first_connection", pair.target, seconds=_FIRST_LIMIT)
    settled = time.perf_counter() + size.settle_limit
    while time.perf_counter() < settled and _server_share(pair, 1.0) > _QUIET_SHARE:
        pass
    share = _server_share(pair, size.share_seconds)
    usage = pair.usage()["server"]
    return {
        "first": first["seconds"],
        "memory": usage.memory / 1e6,
        "share": share * 100,
        "total": usage.cpu,
    }


def _server_share(pair: Pair, seconds: float) -> float:
    before = pair.usage()
    time.sleep(seconds)
    return pair.spent_since(before).server / seconds
