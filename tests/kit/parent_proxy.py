"""Other proxies on loopback, for outbounds that go through them."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

from tests.kit.names import IPV4_LOOPBACK
from tests.kit.scripted_remote import TrackedTransport
from trio_vmess.contracts import Inbound
from trio_vmess.core import Destination, parse_host
from trio_vmess.transport.trio_stream import StreamTransport

Handler = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def open_parent_proxy(handler: Handler) -> AsyncIterator[int]:
    """Serve connections on a port of 127.0.0.1, which is given; leaving the block ends it."""
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, handler, 0, host=IPV4_LOOPBACK)
        listeners: list[trio.SocketListener] = await nursery.start(serve)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def proxy_handler(inbound: Inbound) -> Handler:
    """Let an inbound serve the connections."""

    async def handle(stream: trio.SocketStream) -> None:
        host, port = stream.socket.getpeername()[:2]
        ours = stream.socket.getsockname()
        local = Destination(host=parse_host(ours[0]), port=ours[1])
        transport = TrackedTransport(StreamTransport(stream), local=local)
        await inbound.serve(transport, source=f"{host}:{port}", deadline=math.inf)

    return handle


def scripted_handler(answer: bytes, *, after: bytes, then_close: bool = False) -> Handler:
    """Send bytes when `after` has come, and hold the connection until it is closed."""

    async def handle(stream: trio.SocketStream) -> None:
        received = b""
        while after not in received and (data := await stream.receive_some(65536)):
            received += data
        await stream.send_all(answer)
        while not then_close and await stream.receive_some(65536):
            pass

    return handle
