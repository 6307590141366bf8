"""`trio-vmess bench --cipher`: our client and our server, measured with each cipher."""

import math
import os
import platform
from collections.abc import Sequence
from typing import Final

from trio_vmess._version import __version__
from trio_vmess.bench.generator import LoadGenerator
from trio_vmess.bench.implementations import own_implementation
from trio_vmess.bench.loads import Figures
from trio_vmess.bench.origin import OriginProcess
from trio_vmess.bench.pairs import CpuTime, Pair
from trio_vmess.bench.progress import ProgressLine
from trio_vmess.bench.setups import Setup
from trio_vmess.bench.tables import align

_GIB: Final = 1 << 30
_CONNECTIONS_PER_SECOND: Final = 300
"""Connections to open for each second of measuring: few enough for a slow machine."""

_LEGEND: Final = """\
download, upload: MB/s (10^6 bytes) on one connection through client and server
CPU client, CPU server: seconds per GiB of download
connections: opened, used once and closed per second, 8 at a time; CPU each: ms, both nodes
round trip, p99: 64 bytes echoed on an open connection, µs, median and 99th percentile
no proxy: the load sent directly to the origin; figures near it measure the load, not the nodes"""

_HEADINGS: Final = (
    *("cipher", "download", "upload", "CPU client", "CPU server"),
    *("connections", "CPU each", "round trip", "p99"),
)


def run_ciphers(ciphers: Sequence[str], *, seconds: float) -> None:
    """Measure, and print a table.

    Args:
        ciphers: values of `config.SecurityName`.
        seconds: how long each measurement takes.

    Raises:
        BenchError: a process did not start, or failed.
    """
    print(f"trio-vmess {__version__}, Python {platform.python_version()}, {os.cpu_count()} cores")
    rows: list[tuple[str, ...]] = []
    progress = ProgressLine()
    ours, total = own_implementation(), 4 * (len(ciphers) + 1)
    with OriginProcess() as origin, LoadGenerator() as generator:

        def measure(name: str, pair: Pair) -> None:
            with pair:
                pair.start()
                rows.append(_measure(name, pair, generator, seconds, progress, total))

        try:
            measure("no proxy", Pair(None, None, Setup(), origin=origin.port))
            for cipher in ciphers:
                measure(cipher, Pair(ours, ours, Setup(security=cipher), origin=origin.port))
        finally:
            progress.clear()
    print()
    for line in align([_HEADINGS, *rows[1:], rows[0]]):
        print(line)
    print(f"\n{_LEGEND}")


def _measure(
    name: str,
    pair: Pair,
    generator: LoadGenerator,
    seconds: float,
    progress: ProgressLine,
    total: int,
) -> tuple[str, ...]:
    """Run every load on the nodes; return a row of the table."""

    def run(what: str, load: str, **arguments: float) -> tuple[Figures, CpuTime]:
        progress.show(f"{name}: {what}", total)
        before = pair.usage()
        figures = generator.run(load, pair.target, **arguments)
        return figures, pair.spent_since(before)

    # Warm up: caches, buffers and imports.
    generator.run("download", pair.target, streams=1, seconds=seconds / 5)
    down, of_download = run("download", "download", streams=1, seconds=seconds)
    up, _ = run("upload", "upload", streams=1, seconds=seconds)
    count = max(20, int(seconds * _CONNECTIONS_PER_SECOND))
    many, of_connections = run("connections", "connections", count=count, in_flight=8)
    trips, _ = run("round trips", "round_trips", seconds=seconds / 2)
    gib = down["bytes"] / _GIB
    has_cpu = pair.client is not None and not math.isnan(of_download.both)
    return (
        name,
        f"{_rate(down):.0f}",
        f"{_rate(up):.0f}",
        f"{of_download.client / gib:.2f}" if has_cpu else "-",
        f"{of_download.server / gib:.2f}" if has_cpu else "-",
        f"{count / many['seconds']:.0f}",
        f"{of_connections.both / count * 1e3:.2f}" if has_cpu else "-",
        f"{trips['p50'] * 1e6:.0f}",
        f"{trips['p99'] * 1e6:.0f}",
    )


def _rate(figures: Figures) -> float:
    return figures["bytes"] / figures["seconds"] / 1e6
