"""A VMess server on loopback that connects to nothing: a handler is the destination."""

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from trio_vmess.core import NEED_DATA, Destination
from trio_vmess.core.vmess import (
    Account,
    PacketBody,
    ReplayCache,
    Request,
    Response,
    ServerConnection,
    UserRegistry,
    format_user_id,
)
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.library import VMessDatagrams, VMessStream
from trio_vmess.testing.clock import FakeClock
from trio_vmess.transport import StreamTransport

_READ_SIZE: Final = 16 * 1024

StreamHandler = Callable[[VMessStream, Destination], Awaitable[None]]
DatagramHandler = Callable[[VMessDatagrams, Destination], Awaitable[None]]


async def echo_stream(stream: VMessStream, _: Destination) -> None:
    """Send back what comes, to the end."""
    async for data in stream:
        await stream.send_all(data)
    await stream.send_eof()


async def echo_datagrams(datagrams: VMessDatagrams, _: Destination) -> None:
    """Send back what comes."""
    async for datagram in datagrams:
        await datagrams.send(datagram)


@attrs.define(eq=False, kw_only=True)
class FakeVMessServer:
    """A running server; `serve_fake_vmess` makes them.

    Attributes:
        account: the one whom it knows.
        host: where it listens, on loopback.
        port: likewise.
        clock: what it judges requests by.
        requests: the destinations that it was asked for, in order.
        refusals: why requests were refused; their clients were told nothing.
    """

    account: Account
    host: str
    port: int
    clock: FakeClock
    requests: list[Destination] = attrs.field(factory=list[Destination])
    refusals: list[RemoteProtocolError] = attrs.field(factory=list[RemoteProtocolError])

    @property
    def link(self) -> str:
        """The share link of the server, for its account."""
        return f"vmess://{format_user_id(self.account.user_id)}@{self.host}:{self.port}"


@asynccontextmanager
async def serve_fake_vmess(
    handler: StreamHandler = echo_stream,
    *,
    datagram_handler: DatagramHandler = echo_datagrams,
    account: Account | None = None,
    clock: FakeClock | None = None,
) -> AsyncGenerator[FakeVMessServer, None]:
    """Run a VMess server on loopback for the length of a block.

        async with serve_fake_vmess() as server:
            async with open_vmess_stream(server.link, "example.com:80") as stream:
                ...

    It authenticates as real servers do, and refuses in silence. Then a handler is called, in place
    of connecting to the destination.

    Args:
        handler: gets each stream and the destination that the client asked for; the stream is
            closed when it returns. A handler that returns without having sent anything is a
            destination that cannot be reached.
        datagram_handler: the same for datagrams.
        account: the one whom it knows; None for one with a random id.
        clock: what it judges requests by; None for one that is right.

    Raises:
        Exception: what a handler raises, in an exception group, except for a client that is gone.
    """
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    host, port = listener.socket.getsockname()
    account = account or Account(secrets.token_bytes(16))
    server = FakeVMessServer(account=account, host=host, port=port, clock=clock or FakeClock())
    users = UserRegistry([account])
    service = _Service(server, users, ReplayCache(window=users.window), handler, datagram_handler)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            trio.serve_listeners, service.serve, [listener], name="fake VMess server"
        )
        yield server
        nursery.cancel_scope.cancel()


@attrs.frozen(eq=False)
class _Service:
    server: FakeVMessServer
    users: UserRegistry
    replay: ReplayCache
    handler: StreamHandler
    datagram_handler: DatagramHandler

    async def serve(self, stream: trio.SocketStream) -> None:
        connection = ServerConnection(self.users, self.replay, entropy=secrets)
        try:
            request = await self._read_request(connection, stream)
        except trio.BrokenResourceError:
            return
        except RemoteProtocolError as exc:
            self.server.refusals.append(exc.copy())
            await _read_to_the_end(stream)
            return
        if request is None:
            return
        self.server.requests.append(request.destination)
        response = connection.send(Response())
        body = connection.hand_over()
        try:
            if isinstance(body, PacketBody):
                transport = StreamTransport(stream)
                async with VMessDatagrams(transport, body, response) as datagrams:
                    await self.datagram_handler(datagrams, request.destination)
            else:
                async with VMessStream(stream, body, response) as inner:
                    await self.handler(inner, request.destination)
        except trio.BrokenResourceError:
            pass  # the client is gone

    async def _read_request(
        self, connection: ServerConnection, stream: trio.SocketStream
    ) -> Request | None:
        """Read up to a request; None if the client leaves before."""
        while (event := connection.next_event()) is NEED_DATA:
            data = await stream.receive_some(_READ_SIZE)
            if not data:
                return None
            connection.receive_data(data, now=self.server.clock())
        return event if isinstance(event, Request) else None


async def _read_to_the_end(stream: trio.SocketStream) -> None:
    try:
        while await stream.receive_some(_READ_SIZE):
            pass
    except trio.BrokenResourceError:
        pass
