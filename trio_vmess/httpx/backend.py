"""What httpcore connects by: streams through a VMess server, on Trio and on asyncio.

Both event loops' streams become byte streams of AnyIO, which httpx builds on under asyncio anyway:
TLS with origins, and time limits, are AnyIO's.
"""

import ssl
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager

import anyio
import anyio.abc
import httpcore
import trio
from anyio.streams.tls import TLSAttribute, TLSStream

from trio_vmess.core import Destination
from trio_vmess.errors import ConfigError, DialError, LocalProtocolError
from trio_vmess.httpx.streams import ServerStream, open_on_asyncio, open_on_trio
from trio_vmess.opening import Server, read_destination

_ErrorMap = Mapping[type[Exception], type[Exception]]


class VMessBackend(httpcore.AsyncNetworkBackend):
    """Opens streams through a server.

    Args:
        server: from `read_server`.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Open a stream to an origin.

        Raises:
            httpcore.ConnectError: the server cannot be reached, or VMess cannot express the origin.
            httpcore.ConnectTimeout: the server was not reached in time.
        """
        errors: _ErrorMap = {
            TimeoutError: httpcore.ConnectTimeout,
            DialError: httpcore.ConnectError,
            ConfigError: httpcore.ConnectError,
            LocalProtocolError: httpcore.ConnectError,
            ValueError: httpcore.ConnectError,
        }
        with _mapped(errors), anyio.fail_after(timeout):
            stream = await _open(self._server, read_destination((host, port)))
            return VMessNetworkStream(stream, stream)

    async def sleep(self, seconds: float) -> None:
        """Wait between two attempts to connect."""
        await anyio.sleep(seconds)


async def _open(server: Server, destination: Destination) -> ServerStream:
    if trio.lowlevel.in_trio_task():
        return await open_on_trio(server, destination)
    return await open_on_asyncio(server, destination)


class VMessNetworkStream(httpcore.AsyncNetworkStream):
    """A stream to an origin, with or without TLS inside.

    Args:
        stream: payload is sent and received by it.
        below: the stream through the server; the same without TLS.
    """

    def __init__(self, stream: anyio.abc.ByteStream, below: ServerStream) -> None:
        self._stream = stream
        self._below = below

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Receive; nothing is the end."""
        errors: _ErrorMap = {
            TimeoutError: httpcore.ReadTimeout,
            anyio.BrokenResourceError: httpcore.ReadError,
            anyio.ClosedResourceError: httpcore.ReadError,
        }
        with _mapped(errors), anyio.fail_after(timeout):
            try:
                return await self._stream.receive(max_bytes)
            except anyio.EndOfStream:
                return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it."""
        errors: _ErrorMap = {
            TimeoutError: httpcore.WriteTimeout,
            anyio.BrokenResourceError: httpcore.WriteError,
            anyio.ClosedResourceError: httpcore.WriteError,
        }
        with _mapped(errors), anyio.fail_after(timeout):
            if buffer:
                await self._stream.send(buffer)

    async def aclose(self) -> None:
        """Close the connection to the server; the end is said first."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Start TLS with the origin.

        Raises:
            httpcore.ConnectError: it is not who it should be, or the server refuses us.
            httpcore.ConnectTimeout: the handshake took too long.
        """
        errors: _ErrorMap = {
            TimeoutError: httpcore.ConnectTimeout,
            anyio.BrokenResourceError: httpcore.ConnectError,
            anyio.EndOfStream: httpcore.ConnectError,
            ssl.SSLError: httpcore.ConnectError,
        }
        try:
            with _mapped(errors), anyio.fail_after(timeout):
                inside = await TLSStream.wrap(
                    self._stream,
                    ssl_context=ssl_context,
                    hostname=server_hostname,
                    standard_compatible=False,
                    server_side=False,
                )
        except BaseException:
            await anyio.aclose_forcefully(self._stream)
            raise
        return VMessNetworkStream(inside, self._below)

    def get_extra_info(self, info: str) -> object:
        """Return what httpcore asks for; None for all else.

        That is `ssl_object`, of TLS with the origin, and `is_readable`, which tells that an idle
        connection was closed.
        """
        match info:
            case "ssl_object":
                return self._stream.extra(TLSAttribute.ssl_object, None)  # noqa: S610  (not Django's)
            case "is_readable":
                return self._below.is_readable
            case _:
                return None


@contextmanager
def _mapped(errors: _ErrorMap) -> Generator[None]:
    """Raise the errors that httpcore expects in place of others."""
    try:
        yield
    except Exception as exc:
        for theirs, ours in errors.items():
            if isinstance(exc, theirs):
                raise ours(str(exc)) from exc
        raise
