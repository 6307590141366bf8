"""`trio-vmess bench`: a client and a server, each in its own process, measured with each cipher."""

import contextlib
import json
import os
import platform
import re
import secrets
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from trio_vmess._version import __version__
from trio_vmess.bench.generator import LoadGenerator
from trio_vmess.bench.loads import Figures, Target
from trio_vmess.bench.origin import OriginProcess
from trio_vmess.bench.processes import BenchError, Child, Usage, usage_of
from trio_vmess.core.vmess import format_user_id

Settings = Mapping[str, object]

_LISTENING: Final = re.compile(r"listening: \w+ on 127\.0\.0\.1:(\d+)")
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


@attrs.frozen(kw_only=True)
class _Nodes:
    """A client and its server, or no proxy at all."""

    target: Target
    client: Child | None = None
    server: Child | None = None

    def usage(self) -> tuple[Usage | None, Usage | None]:
        """Return what the client and the server have used so far."""
        return _usage(self.client), _usage(self.server)


def _usage(child: Child | None) -> Usage | None:
    return None if child is None else usage_of(child.pid)


def run_bench(ciphers: Sequence[str], *, seconds: float) -> None:
    """Measure, and print a table.

    Args:
        ciphers: values of `config.SecurityName`.
        seconds: how long each measurement takes.

    Raises:
        BenchError: a process did not start, or failed.
    """
    print(f"trio-vmess {__version__}, Python {platform.python_version()}, {os.cpu_count()} cores")
    rows: list[tuple[str, ...]] = []
    with OriginProcess() as origin, LoadGenerator() as generator:
        steps = _Progress(total=4 * (len(ciphers) + 1))
        bare = _Nodes(target=Target(origin=origin.port))
        rows.append(_measure("no proxy", bare, generator, seconds, steps))
        for cipher in ciphers:
            with _nodes(cipher, origin.port) as nodes:
                rows.append(_measure(cipher, nodes, generator, seconds, steps))
        steps.clear()
    print()
    for line in _align([_HEADINGS, *rows[1:], rows[0]]):
        print(line)
    print(f"\n{_LEGEND}")


class _Progress:
    """One line on standard error that tells what is measured."""

    def __init__(self, *, total: int) -> None:
        self._total = total
        self._number = 0
        self._on_terminal = sys.stderr.isatty()

    def show(self, what: str) -> None:
        self._number += 1
        line = f"[{self._number:2}/{self._total}] {what}"
        print(
            f"\r{line:<60}" if self._on_terminal else line,
            end="" if self._on_terminal else "\n",
            file=sys.stderr,
            flush=True,
        )

    def clear(self) -> None:
        if self._on_terminal:
            print(f"\r{'':60}\r", end="", file=sys.stderr, flush=True)


def _measure(
    name: str, nodes: _Nodes, generator: LoadGenerator, seconds: float, steps: _Progress
) -> tuple[str, ...]:
    """Run every load on the nodes; return a row of the table."""

    def run(what: str, load: str, **arguments: float) -> tuple[Figures, float | None, float | None]:
        steps.show(f"{name}: {what}")
        before = nodes.usage()
        figures = generator.run(load, nodes.target, **arguments)
        after = nodes.usage()
        return figures, _spent(before[0], after[0]), _spent(before[1], after[1])

    # Warm up: caches, buffers and imports.
    generator.run("download", nodes.target, streams=1, seconds=seconds / 5)
    down, client, server = run("download", "download", streams=1, seconds=seconds)
    up, _, _ = run("upload", "upload", streams=1, seconds=seconds)
    count = max(20, int(seconds * _CONNECTIONS_PER_SECOND))
    many, *both = run("connections", "connections", count=count, in_flight=8)
    trips, _, _ = run("round trips", "round_trips", seconds=seconds / 2)
    gib = down["bytes"] / _GIB
    each = None if both[0] is None or both[1] is None else (both[0] + both[1]) / count
    return (
        name,
        f"{_rate(down):.0f}",
        f"{_rate(up):.0f}",
        _figure(client, 1 / gib, "{:.2f}"),
        _figure(server, 1 / gib, "{:.2f}"),
        f"{count / many['seconds']:.0f}",
        _figure(each, 1e3, "{:.2f}"),
        f"{trips['p50'] * 1e6:.0f}",
        f"{trips['p99'] * 1e6:.0f}",
    )


def _rate(figures: Figures) -> float:
    return figures["bytes"] / figures["seconds"] / 1e6


def _spent(before: Usage | None, after: Usage | None) -> float | None:
    return None if before is None or after is None else after.cpu - before.cpu


def _figure(value: float | None, factor: float, form: str) -> str:
    return "-" if value is None else form.format(value * factor)


def _align(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        yield "  ".join(cells)


# Processes ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _nodes(cipher: str, origin: int) -> Generator[_Nodes]:
    """Run a client and a server with one new user."""
    user_id = format_user_id(secrets.token_bytes(16))
    with _node("server", _server_file(user_id)) as (server, port):  # noqa: SIM117  (it needs port)
        with _node("client", _client_file(user_id, cipher, port)) as (client, proxy):
            target = Target(origin=origin, proxy=proxy)
            yield _Nodes(target=target, client=client, server=server)


@contextlib.contextmanager
def _node(name: str, config: Settings) -> Generator[tuple[Child, int]]:
    """Run `trio-vmess run` on a file; yield the process and the port it listens on."""
    with tempfile.TemporaryDirectory(prefix="trio-vmess-bench-") as folder:
        file = Path(folder, "config.json")
        file.write_text(json.dumps(config), encoding="utf-8")
        command = [sys.executable, "-m", "trio_vmess", "run", "--config", str(file)]
        child = Child(name, command, has_pipes=True)
        try:
            match = _LISTENING.match(child.read_line())
            if match is None:
                raise BenchError(child.explain("did not start"))
            yield child, int(match[1])
        finally:
            child.stop()


def _server_file(user_id: str) -> Settings:
    return _file("vmess", {"clients": [{"id": user_id}]}, "freedom", {"allowPrivate": True})


def _client_file(user_id: str, cipher: str, port: int) -> Settings:
    user = {"id": user_id, "security": cipher}
    server = {"address": "127.0.0.1", "port": port, "users": [user]}
    return _file("socks", {"auth": "noauth"}, "vmess", {"vnext": [server]})


def _file(
    inbound: str, inbound_settings: Settings, outbound: str, outbound_settings: Settings
) -> Settings:
    return {
        "inbounds": [
            {"protocol": inbound, "listen": "127.0.0.1", "port": 0, "settings": inbound_settings}
        ],
        "outbounds": [{"protocol": outbound, "settings": outbound_settings}],
    }
