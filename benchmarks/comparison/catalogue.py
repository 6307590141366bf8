"""All workloads."""

from collections.abc import Iterator
from typing import Final

import attrs

from benchmarks.comparison.latency import latency_workloads
from benchmarks.comparison.transports import transport_workloads
from trio_vmess.bench import OURS, SING_BOX, V2RAY, Column, Setup, Workload, measures


def _bulk_workloads() -> Iterator[Workload]:
    # The target of one stream, and of sixteen; for rate and CPU alike.
    targets = {
        "aes-128-gcm": (1.5, 1.3),
        "chacha20-poly1305": (1.5, 1.3),
        "none": (1.0, 1.0),
        "zero": (1.0, 1.0),
    }
    for security, (of_one, of_sixteen) in targets.items():
        for streams, target in ((1, of_one), (16, of_sixteen)):
            for direction in ("down", "up"):
                yield Workload(
                    name=f"bulk-{direction}-{security}-{streams}",
                    setup=Setup(security=security),
                    measure=measures.bulk(f"{direction}load", streams),
                    columns=(
                        Column(key="rate", unit="MB/s", target=target),
                        Column(key="cpu", unit="CPU s/GiB", is_cost=True, target=target),
                    ),
                    # The others have no such word.
                    peers=(SING_BOX,) if security == "zero" else None,
                )


_MUX: Final = 8
"""What V2Ray, Xray and trio-vmess have by default."""
_ONE_CARRIER: Final = 16
"""So many that nothing needs a second connection."""


def _mux_workloads() -> Iterator[Workload]:
    """Connections of programs share those to the server."""
    for streams in (1, 16):
        for direction in ("down", "up"):
            yield Workload(
                name=f"bulk-{direction}-mux-{streams}",
                setup=Setup(mux=_MUX),
                measure=measures.bulk(f"{direction}load", streams),
                columns=(
                    Column(key="rate", unit="MB/s"),
                    Column(key="cpu", unit="CPU s/GiB", is_cost=True),
                ),
                has_ceiling=False,
            )
    yield Workload(
        name="round-trips-beside-bulk-mux",
        setup=Setup(mux=_ONE_CARRIER),
        measure=measures.trips_beside_bulk,
        columns=(
            _TRIP_MEDIAN,
            attrs.evolve(_TRIP_99TH, target=None),
            Column(key="rate", unit="bulk MB/s"),
        ),
        has_ceiling=False,
    )


def _connection_workloads() -> Iterator[Workload]:
    for header, alter_id in (("aead", 0), ("legacy", 64)):
        for in_flight, target in ((1, 0.85), (8, 0.7)):
            yield Workload(
                name=f"connections-{header}-{in_flight}",
                setup=Setup(alter_id=alter_id),
                measure=measures.connections(in_flight),
                columns=(
                    Column(key="rate", unit="per s"),
                    Column(key="p50", unit="p50 ms", is_cost=True),
                    Column(key="p99", unit="p99 ms", is_cost=True),
                    Column(
                        key="cpu",
                        unit="CPU ms each",
                        is_cost=True,
                        target=target,
                        targets=((V2RAY, 1.0),),
                    ),
                ),
            )


_TRIP_MEDIAN: Final = Column(key="p50", unit="p50 µs", is_cost=True)
_TRIP_99TH: Final = Column(key="p99", unit="p99 µs", is_cost=True, target=1.0)


def _small_workloads() -> Iterator[Workload]:
    setup = Setup()
    yield Workload(
        name="round-trips",
        setup=setup,
        measure=measures.round_trips,
        columns=(attrs.evolve(_TRIP_MEDIAN, target=1.0), _TRIP_99TH),
    )
    yield Workload(
        name="round-trips-beside-bulk",
        setup=setup,
        measure=measures.trips_beside_bulk,
        columns=(_TRIP_MEDIAN, _TRIP_99TH, Column(key="rate", unit="bulk MB/s")),
    )
    for size in (200, 1200):
        yield Workload(
            name=f"udp-{size}",
            setup=setup,
            measure=measures.datagrams(size),
            columns=(
                Column(key="rate", unit="datagrams/s", target=1.1),
                Column(key="cpu", unit="CPU µs each", is_cost=True, target=1.3),
                Column(key="lost", unit="% lost", is_cost=True),
            ),
        )


def _mixed_workloads() -> Iterator[Workload]:
    """One node is the contender's, the other one is V2Ray's."""
    for role, setup in (("server", Setup(client=V2RAY)), ("client", Setup(server=V2RAY))):
        for direction in ("up", "down"):
            target = 1.1 if (role, direction) in {("server", "up"), ("client", "down")} else None
            yield Workload(
                name=f"mixed-{role}-{direction}",
                setup=setup,
                measure=measures.bulk(f"{direction}load", 1),
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
        measure=measures.fresh,
        columns=(
            Column(key="started", unit="MB, both, just started", is_cost=True, limit=85.0),
            Column(key="used", unit="MB, both, after some use", is_cost=True, target=1.0),
            Column(key="start", unit="s to start, both", is_cost=True),
        ),
        is_fresh=True,
        has_ceiling=False,
    )
    yield Workload(
        name="idle",
        setup=Setup(),
        measure=measures.idle,
        columns=(Column(key="memory", unit="KB/connection, both", is_cost=True, target=2.0),),
        is_fresh=True,
        has_ceiling=False,
    )
    # Always the same user, and a hundred users behind one address.
    for name, callers in (("one", (7_000,)), ("hundred", tuple(range(50, 10_000, 100)))):
        yield Workload(
            name=f"users-10000-{name}",
            setup=Setup(user_count=10_000, callers=callers, client=V2RAY),
            measure=measures.many_users,
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
        measure=measures.legacy_table,
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
        *_mux_workloads(),
        *_small_workloads(),
        *_connection_workloads(),
        *_mixed_workloads(),
        *_fresh_workloads(),
        *transport_workloads(),
        *latency_workloads(),
    ]
    setups = list(dict.fromkeys(workload.setup for workload in workloads))
    return sorted(workloads, key=lambda workload: (workload.is_fresh, setups.index(workload.setup)))
