"""`trio-vmess bench`: the same loads for us and for the peers that are installed, in turn."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from trio_vmess.bench import measures
from trio_vmess.bench.contenders import Contenders, find_contenders, remedies
from trio_vmess.bench.implementations import OURS
from trio_vmess.bench.machine import Machine, look_at_machine
from trio_vmess.bench.processes import BenchError
from trio_vmess.bench.progress import ProgressLine
from trio_vmess.bench.results import Line, format_number, summarise
from trio_vmess.bench.running import Comparison, Result
from trio_vmess.bench.setups import Setup, Size
from trio_vmess.bench.tables import align
from trio_vmess.bench.workloads import Column, Workload

_ROUNDS: Final = 3
_CONNECTIONS_PER_SECOND: Final = 300
"""Connections to open for each second of measuring: few enough for a slow machine."""
_CONNECTIONS_MIN: Final = 20
_DATAGRAM_SIZE: Final = 1200

_LEGEND: Final = """\
ratio: ours to the best of the others; above 1 it is ahead, for costs and times, too
down, up: one stream through client and server, aes-128-gcm; MB are 10^6 bytes
connections: opened, used once and closed, one or eight at a time
round trip: 64 bytes echoed on an open connection; UDP: datagrams of 1200 bytes, echoed
CPU and memory: of client and server together"""
_LOAD_BOUND: Final = "*: the load was busy nearly all the time, and the nodes might do more"


def _workload(
    name: str, measure: measures.Measure, *columns: Column, is_fresh: bool = False
) -> Workload:
    return Workload(
        name=name,
        setup=Setup(),
        measure=measure,
        columns=columns,
        is_fresh=is_fresh,
        has_ceiling=False,
    )


def list_workloads() -> list[Workload]:
    """Return what is measured; what needs nodes of its own comes last."""
    rate = Column(key="rate", unit="MB/s")
    cpu = Column(key="cpu", unit="CPU s/GiB", is_cost=True)
    per_second = Column(key="rate", unit="per s")
    each = Column(key="cpu", unit="CPU ms each", is_cost=True)
    return [
        _workload("down", measures.bulk("download", 1), rate, cpu),
        _workload("up", measures.bulk("upload", 1), rate, cpu),
        _workload(
            "round trip", measures.round_trips, Column(key="p50", unit="median µs", is_cost=True)
        ),
        _workload("connections, 1", measures.connections(1), per_second, each),
        _workload("connections, 8", measures.connections(8), per_second, each),
        _workload(
            "UDP",
            measures.datagrams(_DATAGRAM_SIZE),
            per_second,
            Column(key="cpu", unit="CPU µs each", is_cost=True),
        ),
        _workload(
            "memory",
            measures.fresh,
            Column(key="started", unit="MB, just started", is_cost=True),
            Column(key="used", unit="MB, after some use", is_cost=True),
            is_fresh=True,
        ),
    ]


def _size(seconds: float) -> Size:
    return Size(
        rounds=_ROUNDS,
        seconds=seconds,
        connection_count=max(_CONNECTIONS_MIN, int(seconds * _CONNECTIONS_PER_SECOND)),
        first_count=0,
        idle_count=0,
        settle_limit=0.0,
        share_seconds=0.0,
    )


def run_comparison(peers: Sequence[str] | None, *, seconds: float, as_json: bool) -> None:
    """Measure, and print a table or JSON.

    Args:
        peers: names in lower case; empty for ours alone, None for those that are installed.
        seconds: how long each measurement takes.
        as_json: print one JSON object.

    Raises:
        BenchError: a wanted peer is not installed, or our own nodes failed; the failure of a peer
            is part of the results.
    """
    machine, contenders = look_at_machine(), find_contenders(peers)
    if not as_json:
        print(*_introduce(machine, contenders), sep="\n", flush=True)
    progress = ProgressLine()
    try:
        comparison = Comparison(contenders.implementations, _size(seconds), progress=progress)
        results = comparison.run(list_workloads())
    finally:
        progress.clear()
    faults = list_faults(contenders, results)
    lines = summarise(results)
    if as_json:
        print(json.dumps(describe(machine, contenders, lines, faults, seconds), indent=2))
    else:
        print("", *write_rows(lines, list(contenders.implementations)), sep="\n")
        print("", _LEGEND, *_load_mark(lines), *(f"failed: {fault}" for fault in faults), sep="\n")
    own_faults = [result.faults[OURS] for result in results if OURS in result.faults]
    if own_faults:
        raise BenchError(own_faults[0])


def _introduce(machine: Machine, contenders: Contenders) -> Iterator[str]:
    ours = contenders.implementations[OURS]
    found = ", ".join(f"{peer.name} {peer.version}" for peer in contenders.peers)
    yield f"{ours.name} {ours.version}" + (f"; found {found}" if found else "")
    yield machine.line
    if contenders.missing:
        yield f"not installed: {remedies(contenders.missing)}"
    if machine.warning:
        yield f"warning: {machine.warning}"


def list_faults(contenders: Contenders, results: Sequence[Result]) -> list[str]:
    """Return what went wrong, each fault once, with the workloads that it concerns."""
    places: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for name, fault in result.faults.items():
            places.setdefault((name, fault), []).append(result.workload.name)
    return [
        *(f"{name}: {fault}" for name, fault in contenders.faults.items()),
        *(f"{name} ({'; '.join(found)}): {fault}" for (name, fault), found in places.items()),
    ]


def _load_mark(lines: Sequence[Line]) -> list[str]:
    return [_LOAD_BOUND] if any(line.is_load_bound for line in lines) else []


def write_rows(lines: Sequence[Line], contenders: Sequence[str]) -> Iterator[str]:
    """Yield the table as text.

    Args:
        lines: its rows.
        contenders: its columns.
    """
    has_peers = len(contenders) > 1
    rows = [["workload", "figure", *contenders, *(["ratio"] if has_peers else [])]]
    previous = ""
    for line in lines:
        ratio = "-" if line.ratio is None else f"{line.ratio:.2f}"
        rows.append(
            [
                line.name if line.name != previous else "",
                line.column.unit + (" *" if line.is_load_bound else ""),
                *(format_number(line.medians.get(name)) for name in contenders),
                *([ratio] if has_peers else []),
            ]
        )
        previous = line.name
    return align(rows, left=2)


def describe(
    machine: Machine,
    contenders: Contenders,
    lines: Sequence[Line],
    faults: Sequence[str],
    seconds: float,
) -> Mapping[str, object]:
    """Return everything as JSON has it; the keys are part of the command's contract."""
    return {
        "machine": {
            "processor": machine.processor,
            "cores": machine.cores,
            "python": machine.python,
            "load": machine.load,
            "warning": machine.warning,
        },
        "versions": {name: each.version for name, each in contenders.implementations.items()},
        "missing": list(contenders.missing),
        "seconds": seconds,
        "rounds": _ROUNDS,
        "results": [
            {
                "workload": line.name,
                "figure": line.column.unit,
                "is_cost": line.column.is_cost,
                "is_load_bound": line.is_load_bound,
                "values": dict(line.medians),
                "best_peer": line.best_peer,
                "ratio": line.ratio,
            }
            for line in lines
        ],
        "faults": list(faults),
    }
