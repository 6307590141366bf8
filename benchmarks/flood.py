"""Honest users under a flood of strangers: our server beside V2Ray, sing-box and Xray.

    python benchmarks/flood.py [--strangers N] [--size BYTES] [--rate N] [--peers NAME,...]

Strangers connect from several loopback addresses at a bounded rate, send random bytes and wait for
the end. Meanwhile our client downloads through the server, and opens new connections. Each node is
measured quiet and under the flood in turn, so that the ratio comes from the same minute. The last
column is the server's resident memory before the flood, behind honest downloads and connections
like those during it; at its peak; and ten seconds after it.
Takes about a minute for each node; needs /proc.
"""

import argparse
import collections
import contextlib
import math
import pathlib
import random
import resource
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Final, Self

import attrs

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from trio_vmess.bench import (
    OURS,
    BenchError,
    LoadGenerator,
    OriginProcess,
    Pair,
    Setup,
    find_implementations,
    own_environment,
)

THROUGHPUT_TARGET: Final = 0.6
LATENCY_TARGET: Final = 0.1
MEMORY_TARGET: Final = 1.1
STRANGERS_LIMIT: Final = 120.0
"""Seconds after which strangers that have not ended are a fault."""
SETTLE: Final = 10.0
"""Seconds after the flood when memory is looked at again."""

_SOURCES: Final = [f"127.0.2.{number}" for number in range(1, 33)]
PATIENCE: Final = 4.0
"""Seconds after which a stranger leaves."""
_OPEN_MAX: Final = 4000
_MEBI: Final = 1 << 20
_QUIET_PAUSE: Final = 1.0
_SAMPLE_PAUSE: Final = 0.1
_PORTION: Final = 0.2
"""Share of the flood's time that a measurement takes."""


@attrs.frozen(kw_only=True)
class Row:
    """What was measured of one node.

    Attributes:
        quiet: honest bytes per second without the flood.
        flooded: the same under it.
        latency: seconds until a new honest connection had its echo under it, in the median.
        memory: resident bytes of the server before the flood, at its peak, and `SETTLE` seconds
            after it.
    """

    quiet: float
    flooded: float
    latency: float
    memory: tuple[int, int, int]

    @property
    def is_met(self) -> bool:
        """Whether all targets are met."""
        return (
            self.flooded >= THROUGHPUT_TARGET * self.quiet
            and self.latency <= LATENCY_TARGET
            and self.memory[2] <= MEMORY_TARGET * self.memory[0]
        )


# Strangers ----------------------------------------------------------------------------------------


class _Stranger:
    """A connection that sends random bytes and waits for the end."""

    def __init__(self, port: int, source: str, data: memoryview) -> None:
        self._rest = data
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.bind((source, 0))
        self.sock.connect_ex(("127.0.0.1", port))

    @property
    def events(self) -> int:
        """What to wait for."""
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._rest else 0)

    def go_on(self, ready: int) -> bool:
        """Send or receive; tell whether this is the end."""
        try:
            if ready & selectors.EVENT_WRITE and self._rest:
                self._rest = self._rest[self.sock.send(self._rest[:65_536]) :]
            return bool(ready & selectors.EVENT_READ) and not self.sock.recv(4096)
        except BlockingIOError:
            return False
        except OSError:
            return True


def run_strangers(port: int, count: int, size: int, rate: float) -> None:
    """Let strangers connect, `rate` a second; each leaves after `PATIENCE` at the latest."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    data = memoryview(random.Random(port).randbytes(size + count))
    begin, opened = time.perf_counter(), 0
    leaving: collections.deque[tuple[float, _Stranger]] = collections.deque()
    with selectors.DefaultSelector() as selector:
        while opened < count or leaving:
            now = time.perf_counter()
            while leaving and leaving[0][0] <= now:
                stranger = leaving.popleft()[1]
                if stranger.sock.fileno() >= 0:
                    selector.unregister(stranger.sock)
                    stranger.sock.close()
            due = min(count, int((now - begin) * rate) + 1)
            while opened < due and len(selector.get_map()) < _OPEN_MAX:
                source = _SOURCES[opened % len(_SOURCES)]
                stranger = _Stranger(port, source, data[opened : opened + size])
                selector.register(stranger.sock, stranger.events, stranger)
                leaving.append((now + PATIENCE, stranger))
                opened += 1
            for key, ready in selector.select(0.01):
                if key.data.go_on(ready):
                    selector.unregister(key.fileobj)
                    key.data.sock.close()
                elif key.events != key.data.events:
                    selector.modify(key.fileobj, key.data.events, key.data)


@contextlib.contextmanager
def flood(port: int, count: int, size: int, rate: float) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the strangers in a process of their own for the length of the block."""
    command = [sys.executable, __file__, "--flood", f"{port}:{count}:{size}:{rate}"]
    with subprocess.Popen(command, env=own_environment()) as process:
        try:
            yield process
        finally:
            process.kill()


# Measuring ----------------------------------------------------------------------------------------


class _Peak:
    """Looks at the memory of a pair's server for the length of the block.

    Attributes:
        memory: the most resident bytes that were seen.
    """

    def __init__(self, pair: Pair) -> None:
        self.memory = 0
        self._pair = pair
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="peak", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(_SAMPLE_PAUSE):
            self.memory = max(self.memory, self._pair.memory("server"))


def measure(pair: Pair, generator: LoadGenerator, count: int, size: int, rate: float) -> Row:
    """Measure a node quiet and under the flood."""
    seconds = max(1.0, count / rate * _PORTION)
    connections = int(50 * seconds)

    def throughput() -> float:
        figures = generator.run("download", pair.target, streams=1, seconds=seconds)
        return figures["bytes"] / figures["seconds"]

    def connection_time() -> float:
        try:
            load = generator.run("connections", pair.target, count=connections, in_flight=1)
        except BenchError:  # connections failed, or there was no echo for seconds
            return math.inf
        return load["p50"]

    throughput()
    connection_time()
    before = pair.memory("server")
    quiet = [throughput()]
    with _Peak(pair) as peak, flood(pair.port_of("server"), count, size, rate) as strangers:
        time.sleep(_QUIET_PAUSE)
        flooded = throughput()
        latency = connection_time()
        strangers.wait(STRANGERS_LIMIT)
    time.sleep(SETTLE)
    after = pair.memory("server")
    quiet.append(throughput())
    return Row(
        quiet=sum(quiet) / len(quiet),
        flooded=flooded,
        latency=latency,
        memory=(before, peak.memory, after),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Honest users under a flood of strangers.")
    parser.add_argument("--strangers", type=int, default=12_000, help="in all")
    parser.add_argument("--size", type=int, default=200_000, help="bytes that each sends")
    parser.add_argument("--rate", type=float, default=300.0, help="strangers per second")
    parser.add_argument("--peers", help="v2ray, sing-box, xray, or none; default: all installed")
    parser.add_argument("--flood", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.flood is not None:
        port, count, size, rate = arguments.flood.split(":")
        run_strangers(int(port), int(count), int(size), float(rate))
        return 0
    peers = None if arguments.peers is None else arguments.peers.lower().split(",")
    implementations = find_implementations(peers)
    ours, result = implementations[OURS], 0
    print("| server | MB/s quiet | flooded | ratio | new connection ms | MiB before, peak, after |")
    print("|---|---|---|---|---|---|")
    with OriginProcess() as origin, LoadGenerator() as generator:
        for implementation in implementations.values():
            with Pair(ours, implementation, Setup(), origin=origin.port) as pair:
                pair.start()
                load = (arguments.strangers, arguments.size, arguments.rate)
                row = measure(pair, generator, *load)
            memory = ", ".join(f"{each / _MEBI:.0f}" for each in row.memory)
            print(
                f"| {implementation.name} {implementation.version} | {row.quiet / 1e6:.0f} | "
                f"{row.flooded / 1e6:.0f} | {row.flooded / row.quiet:.0%} | "
                f"{row.latency * 1e3:.0f} | {memory} |",
                flush=True,
            )
            if implementation is ours and not row.is_met:
                result = 1
                print(f"{OURS} missed a target", file=sys.stderr)
    return result


if __name__ == "__main__":
    sys.exit(main())
