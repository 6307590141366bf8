"""Streams through a VMess server as byte streams of AnyIO."""

import abc
import asyncio
import contextlib
import select
import socket
from typing import Final

import anyio
import anyio.abc
import trio

from trio_vmess.asyncio import VMessTransport
from trio_vmess.asyncio import connect as connect_on_asyncio
from trio_vmess.core import Destination
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.library import VMessStream
from trio_vmess.library import connect as connect_on_trio
from trio_vmess.opening import Server

CLOSE_LIMIT: Final = 5.0
"""Seconds that closing waits for a server that does not read; as streams on Trio do."""


class ServerStream(anyio.abc.ByteStream):
    """A stream through a server."""

    @property
    @abc.abstractmethod
    def is_readable(self) -> bool:
        """Whether something has come that nobody has received: bytes, an end or a failure."""


async def open_on_trio(server: Server, destination: Destination) -> ServerStream:
    """Open a stream on Trio; errors are those of `open_vmess_stream`."""
    return _TrioStream(*await connect_on_trio(server, destination))


async def open_on_asyncio(server: Server, destination: Destination) -> ServerStream:
    """Open a stream on asyncio; errors are those of `open_vmess_connection`."""
    return _AsyncioStream(*await connect_on_asyncio(server, destination))


class _TrioStream(ServerStream):
    def __init__(self, stream: VMessStream, sock: socket.socket | None) -> None:
        self._stream = stream
        self._socket = sock

    @property
    def is_readable(self) -> bool:
        return self._socket is not None and _is_readable(self._socket)

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError as exc:
            raise anyio.BrokenResourceError(str(exc)) from exc
        except trio.ClosedResourceError:
            raise anyio.ClosedResourceError from None
        if not data:
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        try:
            await self._stream.send_all(item)
        except trio.BrokenResourceError as exc:
            raise anyio.BrokenResourceError(str(exc)) from exc
        except trio.ClosedResourceError:
            raise anyio.ClosedResourceError from None

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


class _AsyncioStream(ServerStream):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def is_readable(self) -> bool:
        transport = self._writer.transport
        return isinstance(transport, VMessTransport) and transport.has_peer_ended

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        try:
            data = await self._reader.read(max_bytes)
        except (OSError, RemoteProtocolError) as exc:
            raise anyio.BrokenResourceError(str(exc)) from exc
        if not data:
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        if self._writer.is_closing():
            raise anyio.BrokenResourceError("the connection is closed")
        self._writer.write(item)
        try:
            await self._writer.drain()
        except (OSError, RemoteProtocolError) as exc:
            raise anyio.BrokenResourceError(str(exc)) from exc

    async def send_eof(self) -> None:
        self._writer.write_eof()

    async def aclose(self) -> None:
        self._writer.close()
        try:
            with contextlib.suppress(OSError, RemoteProtocolError):
                async with asyncio.timeout(CLOSE_LIMIT):
                    await self._writer.wait_closed()
        finally:
            # Without effect if it is closed, as it should be.
            self._writer.transport.abort()


def _is_readable(sock: socket.socket) -> bool:
    if (fd := sock.fileno()) < 0:
        return True
    if not hasattr(select, "poll"):
        return bool(select.select((fd,), (), (), 0)[0])
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
