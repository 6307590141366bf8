"""The workloads: each runs a load on a pair of nodes and returns its figures."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import attrs

from benchmarks.comparison.implementations import OURS, V2RAY
from benchmarks.comparison.pairs import CpuTime, Pair
from benchmarks.comparison.setups import Setup, Size
from trio_vmess.bench import BenchError, Figures, LoadGenerator, OriginProcess, usage_of

_GIB: Final = 1 << 30
_BEFORE_TRIPS: Final = 0.3
"""Seconds that a transfer runs before the round trips beside it begin."""
_AFTER_LOAD: Final = 0.05
"""Seconds for the nodes to close the connections of a load."""
_AFTER_START: Final = 0.3
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
        1, the load was measured rather than the nodes.
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
        if usage is None:
            raise BenchError("the origin has ended, or there is no /proc")
        return usage.cpu


@attrs.frozen(kw_only=True)
class Column:
    """One figure of a workload.

    Attributes:
        key: its name in the result of `measure`.
        unit: for tables.
        is_cost: whether less is better.
        target: the ratio to the best peer that is aimed at; None for none.
        limit: the largest acceptable value, in its unit; None for none.
    """

    key: str
    unit: str
    is_cost: bool = False
    target: float | None = None
    limit: float | None = None


@attrs.frozen(kw_only=True)
class Workload:
    """A measurement, the same for every contender.

    Attributes:
        name: selected by --only.
        setup: of the pairs.
        measure: runs the load; called once per round and contender.
        columns: the figures to report.
        is_fresh: each measurement gets a pair of its own, not yet started.
        has_ceiling: whether the load can also run without a proxy.
        peers: the peers to compare with; None for all.
        only_once: takes too long to be repeated; a quick run leaves the peers out.
    """

    name: str
    setup: Setup
    measure: Callable[[Stage], Figures]
    columns: Sequence[Column]
    is_fresh: bool = False
    has_ceiling: bool = True
    peers: Sequence[str] | None = None
    only_once: bool = False


# Loads on a running pair --------------------------------------------------------------------------


def _bulk(load: str, streams: int) -> Callable[[Stage], Figures]:
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


def _connections(in_flight: int) -> Callable[[Stage], Figures]:
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


def _round_trips(stage: Stage) -> Figures:
    figures, _ = stage.run("round_trips", seconds=stage.size.seconds)
    return figures | {"p50": figures["p50"] * 1e6, "p99": figures["p99"] * 1e6}


def _trips_beside_bulk(stage: Stage) -> Figures:
    total = stage.size.seconds + 2 * _BEFORE_TRIPS
    stage.second.begin("download", stage.pair.target, streams=1, seconds=total)
    time.sleep(_BEFORE_TRIPS)
    try:
        figures = _round_trips(stage)
    finally:
        bulk = stage.second.finish(total)
    return figures | {"rate": bulk["bytes"] / bulk["seconds"] / 1e6}


def _datagrams(size: int) -> Callable[[Stage], Figures]:
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


def _fresh(stage: Stage) -> Figures:
    seconds = stage.pair.start()
    time.sleep(_AFTER_START)
    started = stage.pair.memory()
    # Pages of a program are loaded on demand, so an idle process looks small: measure it used, too.
    stage.run("connections", count=100, in_flight=4)
    stage.run("download", streams=1, seconds=stage.size.seconds)
    return {"start": seconds, "started": started / 1e6, "used": stage.pair.memory() / 1e6}


def _idle(stage: Stage) -> Figures:
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


def _many_users(stage: Stage) -> Figures:
    stage.pair.start()
    stage.run("connections", count=stage.size.connection_count // 4 + 1, in_flight=1)
    return _connections(4)(stage) | {"memory": stage.pair.memory("server") / 1e6}


def _legacy_table(stage: Stage) -> Figures:
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


# The list -----------------------------------------------------------------------------------------


def _bulk_workloads() -> Iterator[Workload]:
    targets = {"aes-128-gcm": (1.6, 1.8), "chacha20-poly1305": (1.4, 1.5), "none": (None, None)}
    for security, (rate, cpu) in targets.items():
        for streams in (1, 16):
            for direction in ("down", "up"):
                if streams > 1:
                    rate = None if rate is None else 1.4
                    cpu = None
                yield Workload(
                    name=f"bulk-{direction}-{security}-{streams}",
                    setup=Setup(security=security),
                    measure=_bulk(f"{direction}load", streams),
                    columns=(
                        Column(key="rate", unit="MB/s", target=rate),
                        Column(key="cpu", unit="CPU s/GiB", is_cost=True, target=cpu),
                    ),
                )


def _connection_workloads() -> Iterator[Workload]:
    for header, alter_id in (("aead", 0), ("legacy", 64)):
        for in_flight in (1, 8):
            yield Workload(
                name=f"connections-{header}-{in_flight}",
                setup=Setup(alter_id=alter_id),
                measure=_connections(in_flight),
                columns=(
                    Column(key="rate", unit="per s", target=1.0),
                    Column(key="p50", unit="p50 ms", is_cost=True),
                    Column(key="p99", unit="p99 ms", is_cost=True),
                    Column(key="cpu", unit="CPU ms each", is_cost=True, target=1.0),
                ),
            )


_TRIP_MEDIAN: Final = Column(key="p50", unit="p50 µs", is_cost=True)
_TRIP_99TH: Final = Column(key="p99", unit="p99 µs", is_cost=True, target=1.0)


def _small_workloads() -> Iterator[Workload]:
    setup = Setup()
    yield Workload(
        name="round-trips",
        setup=setup,
        measure=_round_trips,
        columns=(attrs.evolve(_TRIP_MEDIAN, target=1.0), _TRIP_99TH),
    )
    yield Workload(
        name="round-trips-beside-bulk",
        setup=setup,
        measure=_trips_beside_bulk,
        columns=(_TRIP_MEDIAN, _TRIP_99TH, Column(key="rate", unit="bulk MB/s")),
    )
    for size in (200, 1200):
        yield Workload(
            name=f"udp-{size}",
            setup=setup,
            measure=_datagrams(size),
            columns=(
                Column(key="rate", unit="datagrams/s", target=1.0),
                Column(key="cpu", unit="CPU µs each", is_cost=True),
                Column(key="lost", unit="% lost", is_cost=True),
            ),
        )


def _mixed_workloads() -> Iterator[Workload]:
    """One node is the contender's, the other one is V2Ray's."""
    for role, setup in (("server", Setup(client=V2RAY)), ("client", Setup(server=V2RAY))):
        for direction in ("up", "down"):
            target = 1.0 if (role, direction) in {("server", "up"), ("client", "down")} else None
            yield Workload(
                name=f"mixed-{role}-{direction}",
                setup=setup,
                measure=_bulk(f"{direction}load", 1),
                columns=(
                    Column(key=role, unit=f"{role} CPU s/GiB", is_cost=True, target=target),
                    Column(key="rate", unit="MB/s"),
                ),
                has_ceiling=False,
                peers=(V2RAY,),
            )


def _fresh_workloads() -> Iterator[Workload]:
    yield Workload(
        name="fresh",
        setup=Setup(),
        measure=_fresh,
        columns=(
            Column(key="started", unit="MB, both, just started", is_cost=True, target=1.2),
            Column(key="used", unit="MB, both, after some use", is_cost=True, target=1.2),
            Column(key="start", unit="s to start, both", is_cost=True),
        ),
        is_fresh=True,
        has_ceiling=False,
    )
    yield Workload(
        name="idle",
        setup=Setup(),
        measure=_idle,
        columns=(Column(key="memory", unit="KB/connection, both", is_cost=True, target=2.0),),
        is_fresh=True,
        has_ceiling=False,
    )
    # Always the same user, and a hundred users behind one address.
    for name, callers in (("one", (7_000,)), ("hundred", tuple(range(50, 10_000, 100)))):
        yield Workload(
            name=f"users-10000-{name}",
            setup=Setup(user_count=10_000, callers=callers, client=V2RAY),
            measure=_many_users,
            columns=(
                Column(key="server", unit="server CPU ms each", is_cost=True, target=1.0),
                Column(key="rate", unit="per s"),
                Column(key="memory", unit="MB, server", is_cost=True),
            ),
            is_fresh=True,
            has_ceiling=False,
        )
    yield Workload(
        name="users-1000-legacy",
        setup=Setup(user_count=1000, callers=(700,), alter_id=64, client=OURS),
        measure=_legacy_table,
        columns=(
            Column(key="first", unit="s to the first connection", is_cost=True, limit=3.0),
            Column(key="memory", unit="MB, server", is_cost=True, limit=250.0),
            Column(key="share", unit="% of a core, later", is_cost=True, limit=10.0),
            Column(key="total", unit="CPU s until then", is_cost=True),
        ),
        is_fresh=True,
        has_ceiling=False,
        only_once=True,
    )


def list_workloads() -> list[Workload]:
    """Return all workloads; those with the same setup are neighbours."""
    workloads = [
        *_bulk_workloads(),
        *_small_workloads(),
        *_connection_workloads(),
        *_mixed_workloads(),
        *_fresh_workloads(),
    ]
    setups = list(dict.fromkeys(workload.setup for workload in workloads))
    return sorted(workloads, key=lambda workload: (workload.is_fresh, setups.index(workload.setup)))
