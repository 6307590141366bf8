"""A transport for httpx: its requests, on httpcore's connection pool, through a VMess server."""

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

import httpcore
import httpx

from trio_vmess.config import OutboundSettings
from trio_vmess.core.vmess import Dialect
from trio_vmess.httpx.backend import VMessBackend
from trio_vmess.opening import AccountLike, HostAndPort, read_server

LIMITS: Final = httpx.Limits(
    max_connections=100, max_keepalive_connections=20, keepalive_expiry=5.0
)
"""httpx's own."""


class VMessTransport(httpx.AsyncBaseTransport):
    """Sends the requests of an `httpx.AsyncClient` through a VMess server, on Trio and asyncio.

        async with httpx.AsyncClient(transport=VMessTransport("vmess://…")) as client:
            response = await client.get("https://example.com/")

    Names go to the server as they are. Connections are kept alive and shared as httpx does without
    a proxy; each is a stream of its own through the server. Errors are httpx's: a server that
    cannot be reached is an `httpx.ConnectError`; one that refuses us closes without an answer,
    which is an `httpx.ReadError` (or, during TLS with the origin, an `httpx.ConnectError`), or
    says nothing until the client's timeout.

    Args:
        server: as for `trio_vmess.open_vmess_stream`; under asyncio, what
            `trio_vmess.asyncio.open_vmess_connection` supports.
        account: likewise.
        security: likewise.
        dialect: likewise.
        verify: how certificates of origins are verified; as for `httpx.AsyncClient`, which does not
            pass its own to a transport.
        http1: whether to offer HTTP/1.1.
        http2: whether to offer HTTP/2; takes the package `h2`.
        limits: of connections, as for `httpx.AsyncClient`.
        retries: how often to try to connect again.

    Raises:
        ConfigError: the share link is malformed, or asks for what is not supported.
        TypeError: an argument has the wrong type, is missing, or is one too many.
        ValueError: a host, a port, the account or the security is not valid.
    """

    def __init__(
        self,
        server: str | OutboundSettings | HostAndPort,
        *,
        account: AccountLike | None = None,
        security: str | None = None,
        dialect: Dialect | None = None,
        verify: ssl.SSLContext | bool = True,
        http1: bool = True,
        http2: bool = False,
        limits: httpx.Limits = LIMITS,
        retries: int = 0,
    ) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            network_backend=VMessBackend(read_server(server, account, security, dialect)),
            ssl_context=httpx.create_ssl_context(verify=verify),
            http1=http1,
            http2=http2,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            retries=retries,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.AsyncBaseTransport.handle_async_request`."""
        if not isinstance(request.stream, httpx.AsyncByteStream):
            raise TypeError("request: its body has to be read asynchronously")
        with _httpx_errors():
            response = await self._pool.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=dict(response.extensions),  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
        )

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        with _httpx_errors():
            await self._pool.__aexit__(exc_type, exc_value, traceback)

    async def aclose(self) -> None:
        """Close all connections."""
        with _httpx_errors():
            await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if not isinstance(self._response.stream, AsyncIterable):
            raise TypeError("the body of a response has to be read asynchronously")
        with _httpx_errors():
            async for part in self._response.stream:
                yield part

    async def aclose(self) -> None:
        with _httpx_errors():
            await self._response.aclose()


_ERRORS: Final[tuple[tuple[type[Exception], type[httpx.TransportError]], ...]] = (
    (httpcore.ConnectTimeout, httpx.ConnectTimeout),
    (httpcore.ReadTimeout, httpx.ReadTimeout),
    (httpcore.WriteTimeout, httpx.WriteTimeout),
    (httpcore.PoolTimeout, httpx.PoolTimeout),
    (httpcore.TimeoutException, httpx.TimeoutException),
    (httpcore.ConnectError, httpx.ConnectError),
    (httpcore.ReadError, httpx.ReadError),
    (httpcore.WriteError, httpx.WriteError),
    (httpcore.NetworkError, httpx.NetworkError),
    (httpcore.LocalProtocolError, httpx.LocalProtocolError),
    (httpcore.RemoteProtocolError, httpx.RemoteProtocolError),
    (httpcore.ProtocolError, httpx.ProtocolError),
    (httpcore.UnsupportedProtocol, httpx.UnsupportedProtocol),
)
"""httpcore's errors and httpx's, those that are more than one first."""


@contextmanager
def _httpx_errors() -> Generator[None]:
    try:
        yield
    except Exception as exc:
        for theirs, ours in _ERRORS:
            if isinstance(exc, theirs):
                raise ours(str(exc)) from exc
        raise
