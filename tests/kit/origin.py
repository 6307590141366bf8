"""Origin servers on loopback: the servers at the end of proxied connections.

Each `start_...` is an async context manager that gives an `Origin` when its port listens and
stops everything when the block is left.
With host `localhost` an origin listens on the same port of every loopback address that exists.

Nothing here is unbounded: connections, bytes per connection and seconds per connection have a
limit. A peer that resets a connection is not a failure of the origin; any other error is, and it
ends the test.
"""

import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Final

import attrs
import trio

from tests.kit.names import IPV4_LOOPBACK, LOCALHOST, loopback_addresses
from tests.kit.pattern import pattern_pieces
from tests.kit.ports import free_port

MAX_CONNECTIONS: Final = 512
MAX_SIZE: Final = 1 << 30
MAX_DATAGRAMS: Final = 100_000
LIFETIME: Final = 120.0
"""Seconds one connection may last, and no test may rely on more."""

_READ_SIZE: Final = 65_536
_MAX_DATAGRAM: Final = 65_535

Handler = Callable[[trio.abc.HalfCloseableStream], Awaitable[None]]
Starter = AbstractAsyncContextManager["Origin"]


@attrs.define(eq=False)
class Origin:
    """A running origin.

    Attributes:
        host: what a test names as the target: an address, or `localhost`.
        port: where it listens.
        connection_count: connections accepted so far (for UDP: datagrams).
        byte_count: bytes received so far.
    """

    host: str
    port: int
    connection_count: int = 0
    byte_count: int = 0


class OriginLimitError(Exception):
    """A test asked more of an origin than its bounds allow."""


def _addresses(host: str) -> tuple[str, ...]:
    return loopback_addresses() if host == LOCALHOST else (host,)


async def _listen(host: str, port: int) -> list[trio.SocketListener]:
    listeners: list[trio.SocketListener] = []
    for address in _addresses(host):
        listeners += await trio.open_tcp_listeners(port, host=address)
    return listeners


@asynccontextmanager
async def start_tcp_origin(handler: Handler, host: str = IPV4_LOOPBACK) -> AsyncIterator[Origin]:
    """Serve TCP with `handler`; the connection is closed when it returns.

    Args:
        handler: gets each connection as a stream.
        host: a loopback address, or `localhost` for all of them.
    """
    origin = Origin(host, free_port())

    async def serve(stream: trio.SocketStream) -> None:
        origin.connection_count += 1
        if origin.connection_count > MAX_CONNECTIONS:
            raise OriginLimitError(f"more than {MAX_CONNECTIONS} connections")
        with trio.move_on_after(LIFETIME):
            try:
                await handler(_CountingStream(stream, origin))
            except trio.BrokenResourceError:
                return

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, await _listen(host, origin.port))
        yield origin
        nursery.cancel_scope.cancel()


class _CountingStream(trio.abc.HalfCloseableStream):
    """A stream that reports what it receives to its origin."""

    def __init__(self, inner: trio.SocketStream, origin: Origin) -> None:
        self._inner = inner
        self._origin = origin

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = await self._inner.receive_some(max_bytes)
        self._origin.byte_count += len(data)
        if self._origin.byte_count > MAX_SIZE:
            raise OriginLimitError(f"more than {MAX_SIZE} bytes")
        return bytes(data)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._inner.send_all(memoryview(data))

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._inner.send_eof()

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _echo(stream: trio.abc.HalfCloseableStream) -> None:
    while data := await stream.receive_some(_READ_SIZE):
        await stream.send_all(data)
    await stream.send_eof()


def start_echo(host: str = IPV4_LOOPBACK) -> Starter:
    """Send back what comes, as it comes; answer a half-close with a half-close."""
    return start_tcp_origin(_echo, host)


async def _source(size: int, half_close: bool, stream: trio.abc.HalfCloseableStream) -> None:
    for piece in pattern_pieces(size):
        await stream.send_all(piece)
    if half_close:
        await stream.send_eof()
        while await stream.receive_some(_READ_SIZE):
            pass


def start_source(size: int, host: str = IPV4_LOOPBACK, *, half_close: bool = False) -> Starter:
    """Speak first: send `size` bytes of the pattern, then end.

    Args:
        size: bytes, at most 1 GiB.
        host: a loopback address, or `localhost`.
        half_close: end only this direction and read on until the peer ends its own;
            otherwise close at once.
    """
    if not 0 <= size <= MAX_SIZE:
        raise OriginLimitError(f"size {size} is not within 0..{MAX_SIZE}")
    return start_tcp_origin(partial(_source, size, half_close), host)


async def _sink(size: int | None, stream: trio.abc.HalfCloseableStream) -> None:
    digest, count = hashlib.sha256(), 0
    while count != size and (data := await stream.receive_some(_READ_SIZE)):
        digest.update(data)
        count += len(data)
    await stream.send_all(f"{digest.hexdigest()} {count}\n".encode())


def start_sink(host: str = IPV4_LOOPBACK, *, size: int | None = None) -> Starter:
    """Read, then answer one line, `SHA256-HEX COUNT`, and close.

    Args:
        host: a loopback address, or `localhost`.
        size: answer after so many bytes; None: after the peer's end, which most proxies do not
            pass on as a half-close.
    """
    return start_tcp_origin(partial(_sink, size), host)


def sink_answer(data: bytes) -> bytes:
    """Return what `start_sink` answers to `data`."""
    return f"{hashlib.sha256(data).hexdigest()} {len(data)}\n".encode()


async def _delayed_reply(delay: float, limit: int, stream: trio.abc.HalfCloseableStream) -> None:
    received = bytearray()
    while data := await stream.receive_some(_READ_SIZE):
        received += data
        if len(received) > limit:
            raise OriginLimitError(f"more than {limit} bytes before the end")
    await trio.sleep(delay)
    await stream.send_all(bytes(received))


def start_delayed_reply(
    delay: float, host: str = IPV4_LOOPBACK, *, limit: int = 16 << 20
) -> Starter:
    """Read to the end, wait `delay` seconds, send everything back and close.

    A proxy that closes both directions on a half-close loses the reply.

    Args:
        delay: seconds.
        host: a loopback address, or `localhost`.
        limit: most bytes kept.
    """
    return start_tcp_origin(partial(_delayed_reply, delay, limit), host)


async def _silent(stream: trio.abc.HalfCloseableStream) -> None:
    await trio.sleep(LIFETIME)


def start_silent(host: str = IPV4_LOOPBACK) -> Starter:
    """Accept and then neither read nor send: for idle limits and backpressure."""
    return start_tcp_origin(_silent, host)


async def _echo_datagrams(origin: Origin, receiver: trio.socket.SocketType) -> None:
    while True:
        data, source = await receiver.recvfrom(_MAX_DATAGRAM)
        origin.connection_count += 1
        origin.byte_count += len(data)
        if origin.connection_count > MAX_DATAGRAMS:
            raise OriginLimitError(f"more than {MAX_DATAGRAMS} datagrams")
        await receiver.sendto(data, source)


@asynccontextmanager
async def start_udp_echo(host: str = IPV4_LOOPBACK) -> AsyncIterator[Origin]:
    """Send each datagram back to where it came from."""
    origin = Origin(host, free_port())
    async with trio.open_nursery() as nursery:
        for address in _addresses(host):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            receiver = trio.socket.socket(family, socket.SOCK_DGRAM)
            await receiver.bind((address, origin.port))
            nursery.start_soon(_serve_datagrams, origin, receiver)
        yield origin
        nursery.cancel_scope.cancel()


async def _serve_datagrams(origin: Origin, receiver: trio.socket.SocketType) -> None:
    with receiver:
        await _echo_datagrams(origin, receiver)
