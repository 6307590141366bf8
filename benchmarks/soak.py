"""Our client and server for a long time under a mixed load with errors: does memory stay flat?

    python benchmarks/soak.py [--seconds N] [--connections N]

Keeps so many connections alive: transfers, small exchanges, UDP, strangers that are refused,
resets, destinations that refuse. After a warm-up of a third of the time, resident memory may not
grow by more than 5 %; the replay cache, which holds the requests of the last four minutes, is
counted out as far as it grows because there are more of them. Prints a line for each sample, and
ends with 1 if memory has grown.
"""

import argparse
import itertools
import pathlib
import random
import socket
import statistics
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import attrs
import trio

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from tests.kit.ports import free_port
from tests.kit.socks_client import SocksError, open_socks_stream, open_socks_udp, receive_exactly
from trio_vmess.bench import OURS, OriginProcess, Pair, Setup, find_implementations
from trio_vmess.bench.origin import Tail

GROWTH_MAX: Final = 0.05
WARM_UP: Final = 1 / 3
SAMPLE_COUNT: Final = 30
REPLAY_ENTRY_SIZE: Final = 200
"""Bytes of memory for each entry of the replay cache."""
REPLAY_WINDOW: Final = 240.0
"""Seconds that an entry is kept."""

_REQUEST: Final = struct.Struct(">cQ")
_LOOPBACK: Final = "127.0.0.1"
_MEBI: Final = 1 << 20
_BULK_MILLISECONDS: Final = 200
_HOLD_MAX: Final = 2.0
_PACE: Final = 0.5
"""Seconds, at most, between two connections of one caller."""
_RESET: Final = struct.pack("ii", 1, 0)


@attrs.define(kw_only=True)
class Load:
    """The callers, which take turns at all kinds of connections.

    Attributes:
        proxy: the client's SOCKS port.
        server: the server's VMess port.
        origin: the origin's port.
        refusing: a port where nobody listens.
        done: how many of each kind are done.
        failed: how many of each kind went wrong.
        reasons: why, and how often.
    """

    proxy: int
    server: int
    origin: int
    refusing: int
    done: Counter[str] = attrs.field(factory=Counter[str])
    failed: Counter[str] = attrs.field(factory=Counter[str])
    reasons: Counter[str] = attrs.field(factory=Counter[str])

    @property
    def request_count(self) -> int:
        """How many requests the server has accepted, at most."""
        return self.done.total() + self.failed.total() - self.done["stranger"]

    async def call(self, choice: random.Random) -> None:
        """Open connections, one after the other, until cancelled."""
        kinds: list[Callable[[random.Random], Awaitable[None]]] = [
            *(self.bulk, self.exchange, self.exchange, self.exchange, self.datagrams),
            *(self.stranger, self.reset, self.refused),
        ]
        while True:
            kind = choice.choice(kinds)
            try:
                await kind(choice)
            except (OSError, SocksError, trio.BrokenResourceError, trio.TooSlowError) as exc:
                self.failed[kind.__name__] += 1
                self.reasons[f"{kind.__name__}: {type(exc).__name__}: {exc}"] += 1
            else:
                self.done[kind.__name__] += 1
            await trio.sleep(choice.random() * _PACE)

    async def _open(self, kind: bytes, number: int) -> trio.SocketStream:
        stream = await open_socks_stream(self.proxy, _LOOPBACK, self.origin)
        await stream.send_all(_REQUEST.pack(kind, number))
        return stream

    async def bulk(self, _choice: random.Random) -> None:
        """Read for a moment as fast as possible, at most some megabytes."""
        async with await self._open(b"d", _BULK_MILLISECONDS) as stream:
            await _download(stream, 4 * _MEBI)

    async def exchange(self, choice: random.Random) -> None:
        """Send a few bytes now and then, and read their echo."""
        async with await self._open(b"e", 0) as stream:
            for _ in range(choice.randrange(1, 10)):
                data = choice.randbytes(choice.randrange(1, 3000))
                await stream.send_all(data)
                if await receive_exactly(stream, len(data)) != data:
                    raise OSError("the echo is wrong")
                await trio.sleep(choice.random() * _HOLD_MAX / 5)

    async def datagrams(self, choice: random.Random) -> None:
        """Send a few datagrams, and read their echo."""
        async with open_socks_udp(self.proxy) as association:
            for _ in range(5):
                with trio.fail_after(5):
                    data = choice.randbytes(choice.randrange(1, 1000))
                    await association.send_to(_LOOPBACK, self.origin, data)
                    await association.receive()

    async def stranger(self, choice: random.Random) -> None:
        """Send random bytes to the server, and stay for a while."""
        async with await trio.open_tcp_stream(_LOOPBACK, self.server) as stream:
            await stream.send_all(choice.randbytes(choice.randrange(20_000)))
            await trio.sleep(choice.random() * _HOLD_MAX)

    async def reset(self, choice: random.Random) -> None:
        """Reset a transfer."""
        async with await self._open(b"d", _BULK_MILLISECONDS) as stream:
            await _download(stream, choice.randrange(1, 1_000_000))
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    async def refused(self, _choice: random.Random) -> None:
        """Call a destination that refuses."""
        async with await open_socks_stream(self.proxy, _LOOPBACK, self.refusing) as stream:
            try:
                await stream.send_all(b"hello")
                await stream.receive_some(1)
            except trio.BrokenResourceError:
                return


async def _download(stream: trio.SocketStream, size_max: int) -> None:
    """Read so many bytes, or all that the origin sends.

    Behind its mark, the origin waits for our end. On a slow machine the mark comes before so many
    bytes; to wait for them would take until the nodes' limit for idleness.
    """
    tail = Tail()
    left = size_max
    while left > 0 and (data := await stream.receive_some(65_536)):
        if tail.ends(memoryview(data)):
            return
        left -= len(data)


@attrs.frozen
class Sample:
    """The state at one moment.

    Attributes:
        seconds: since the beginning.
        requests: how many there were so far.
        memory: resident bytes of both nodes.
    """

    seconds: float
    requests: int
    memory: int


async def soak(pair: Pair, load: Load, *, seconds: float, connections: int) -> list[Sample]:
    """Run the load; return samples in equal steps."""
    samples: list[Sample] = []
    async with trio.open_nursery() as nursery:
        for number in range(connections):
            nursery.start_soon(load.call, random.Random(number))
        begin = trio.current_time()
        for number in range(1, SAMPLE_COUNT + 1):
            await trio.sleep_until(begin + seconds * number / SAMPLE_COUNT)
            server, client = pair.memory("server"), pair.memory("client")
            passed = trio.current_time() - begin
            samples.append(Sample(passed, load.request_count, server + client))
            print(
                f"{passed:7.0f} s  {(server + client) / _MEBI:7.1f} MiB "
                f"(server {server / _MEBI:.1f}, client {client / _MEBI:.1f})  "
                f"{load.request_count} requests",
                flush=True,
            )
        nursery.cancel_scope.cancel()
    return samples


def growth(samples: Sequence[Sample]) -> float:
    """Return by which share memory has grown since the warm-up, without the replay cache's entries.

    The middle of the samples just behind the warm-up is compared with that of the last ones. How
    many requests there are in four minutes depends on what else the machine does, and so does the
    size of the replay cache: what it holds more than ever during the first samples is counted out.
    """
    warm = int(len(samples) * WARM_UP)
    part = max(1, (len(samples) - warm) // 4)
    first, last = (
        statistics.median(sample.memory for sample in piece)
        for piece in (samples[warm : warm + part], samples[-part:])
    )
    entries = most_held(samples) - most_held(samples[: warm + part])
    return (last - entries * REPLAY_ENTRY_SIZE) / first - 1


def most_held(samples: Sequence[Sample]) -> float:
    """Return how many entries the replay cache has held at most.

    Memory that it no longer needs goes to what comes next, and hardly ever back to the system.
    """
    known = [Sample(0.0, 0, 0), *samples]
    return max(
        each.requests - _requests_until(each.seconds - REPLAY_WINDOW, known) for each in samples
    )


def _requests_until(seconds: float, samples: Sequence[Sample]) -> float:
    """Return how many requests there were so far, between two samples by the average."""
    for before, after in itertools.pairwise(samples):
        if before.seconds <= seconds <= after.seconds:
            share = (seconds - before.seconds) / (after.seconds - before.seconds)
            return before.requests + share * (after.requests - before.requests)
    return 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description="Does memory stay flat under a mixed load?")
    parser.add_argument("--seconds", type=float, default=900.0)
    parser.add_argument("--connections", type=int, default=200, help="live at a time")
    arguments = parser.parse_args()
    ours = find_implementations(["none"])[OURS]
    begin = time.perf_counter()
    with OriginProcess() as origin, Pair(ours, ours, Setup(), origin=origin.port) as pair:
        pair.start()
        load = Load(
            proxy=pair.port_of("client"),
            server=pair.port_of("server"),
            origin=origin.port,
            refusing=free_port(),
        )
        samples = trio.run(
            lambda: soak(pair, load, seconds=arguments.seconds, connections=arguments.connections)
        )
    grown = growth(samples)
    print(f"done: {dict(load.done)}")
    print(f"failed: {dict(load.failed)}")
    for reason, count in load.reasons.most_common(10):
        print(f"  {count:5} {reason}")
    print(f"{time.perf_counter() - begin:.0f} s, grown by {grown:+.1%}, at most {GROWTH_MAX:.0%}")
    return 0 if grown <= GROWTH_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
