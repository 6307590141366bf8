"""A server and a client of HTTP/2 on memory streams, in one run."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import trio
import trio.testing

from tests.kit.entropy import SeededEntropy
from trio_vmess.contracts import Transport
from trio_vmess.core import Host
from trio_vmess.core.carriage.http2 import DEFAULT_LIMITS, Limits
from trio_vmess.transport import StreamTransport
from trio_vmess.transport.http2 import (
    GrpcTunnel,
    Http2Client,
    Http2Server,
    HttpTunnel,
    KeepAlive,
    MessageTransport,
    Respond,
    Tunnel,
    respond_not_found,
)

HTTP = HttpTunnel(path="/tunnel")
GRPC = GrpcTunnel(service="GunService")
HANDSHAKE = 4.0

Serve = Callable[[Transport], Awaitable[None]]
StreamPair = Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]]


@attrs.define(eq=False, kw_only=True)
class Ends:
    """What runs.

    Attributes:
        client: opens streams.
        clients_ends: of the connections that it has dialled.
        deadlines: those that the handlers of streams were given.
    """

    client: Http2Client
    clients_ends: list[trio.abc.Stream] = attrs.Factory(list[trio.abc.Stream])
    deadlines: list[float] = attrs.Factory(list[float])

    async def open(self) -> Transport:
        return await self.client.connect("server.example", 443)


@asynccontextmanager
async def running(
    serve: Serve,
    *,
    tunnel: Tunnel = HTTP,
    client_tunnel: Tunnel | None = None,
    respond: Respond = respond_not_found,
    limits: Limits = DEFAULT_LIMITS,
    keep_alive: KeepAlive | None = None,
    pair: StreamPair = trio.testing.memory_stream_pair,
) -> AsyncIterator[Ends]:
    """Run both ends until the block is left.

    Args:
        serve: serves one stream of the server; the stream is closed when it returns.
        tunnel: what the server takes.
        client_tunnel: what the client asks for, if that is something else.
        respond: answers other requests.
        limits: the server's.
        keep_alive: the client's times.
        pair: makes the connections.
    """
    buffer = memoryview(bytearray(65_536))
    wrap = MessageTransport if isinstance(tunnel, GrpcTunnel) else None

    async def handle(transport: Transport, *, source: str, deadline: float) -> None:
        assert source == "source"
        ends.deadlines.append(deadline)
        await serve(transport)

    server = Http2Server(
        handle,
        tunnel,
        handshake=HANDSHAKE,
        now=lambda: 1_700_000_000,
        buffer=buffer,
        respond=respond,
        wrap=wrap,
        limits=limits,
    )
    async with trio.open_nursery() as nursery:

        async def serve_connection(stream: trio.abc.Stream) -> None:
            deadline = trio.current_time() + HANDSHAKE
            await server.serve(StreamTransport(stream), source="source", deadline=deadline)

        async def connect(_host: Host, _port: int) -> Transport:
            await trio.lowlevel.checkpoint()
            ours, theirs = pair()
            ends.clients_ends.append(ours)
            nursery.start_soon(serve_connection, theirs)
            return StreamTransport(ours)

        client = Http2Client(
            connect,
            client_tunnel or tunnel,
            entropy=SeededEntropy(),
            buffer=buffer,
            wrap=wrap,
            keep_alive=keep_alive or KeepAlive(),
        )
        ends = Ends(client=client)
        await nursery.start(client.run)
        yield ends
        nursery.cancel_scope.cancel()


async def receive_all(transport: Transport, size: int | None = None) -> bytes:
    """Receive to the end, or `size` bytes."""
    buffer, received = memoryview(bytearray(100_000)), bytearray()
    while size is None or len(received) < size:
        count = await transport.receive_into(buffer)
        if not count:
            break
        received += buffer[:count]
    return bytes(received)


async def echo(transport: Transport) -> None:
    """Send back what comes, and the end after it."""
    buffer = bytearray(50_000)
    while size := await transport.receive_into(memoryview(buffer)):
        await transport.send_all(memoryview(buffer)[:size])
    await transport.send_eof()
    await transport.aclose()
