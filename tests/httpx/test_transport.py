"""Requests of httpx through a server, on Trio and on asyncio."""

import functools
import hashlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Final

import anyio
import attrs
import httpx
import pytest
import trio

from tests.kit.commands import run_python
from tests.kit.http_origin import start_http
from tests.kit.one_server import ACCOUNT, LINK, OneServer, running_server
from tests.kit.origin import Origin, start_tcp_origin
from tests.kit.pattern import pattern_sha256
from tests.kit.ports import free_port
from tests.kit.trio_thread import in_trio_thread, run_asyncio
from tests.kit.web_origin import start_https, trusting_context
from trio_vmess import Account, ConfigError
from trio_vmess.config import (
    PLAIN_STREAM,
    HttpHeaderSettings,
    StreamSettings,
    TcpSettings,
    WebSocketSettings,
    format_share_link,
    share_link_outbound,
)
from trio_vmess.httpx import VMessTransport

Main = Callable[[], Coroutine[object, object, None]]

LIMIT: Final = 30.0


def run_trio(main: Main) -> None:
    async def limited() -> None:
        with trio.fail_after(LIMIT):
            await main()

    trio.run(limited)


@pytest.fixture(params=[run_trio, run_asyncio], ids=["trio", "asyncio"])
def run(request: pytest.FixtureRequest) -> Callable[[Main], None]:
    """What runs a coroutine on one of the event loops."""
    runner: Callable[[Main], None] = request.param
    return runner


@attrs.frozen
class Setup:
    """What a client needs.

    Attributes:
        server: the VMess server.
        origin: counts its connections.
        scheme: of its URLs.
    """

    server: OneServer
    origin: Origin
    scheme: str

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.origin.port}{path}"

    def client(self, **options: Any) -> httpx.AsyncClient:
        """Return a client that trusts the origin."""
        transport = VMessTransport(self.server.link, verify=trusting_context(), **options)
        return httpx.AsyncClient(transport=transport, timeout=LIMIT)


@contextmanager
def running(
    origin: AbstractAsyncContextManager[Origin],
    *,
    scheme: str = "http",
    stream: StreamSettings = PLAIN_STREAM,
) -> Iterator[Setup]:
    """Run a server and an origin in another thread."""

    @asynccontextmanager
    async def both() -> AsyncIterator[Setup]:
        async with running_server(stream) as server, origin as web:
            yield Setup(server, web, scheme)

    with in_trio_thread(both) as setup:
        yield setup


Running = Callable[[], AbstractAsyncContextManager[Setup]]

ORIGINS: Final = {
    "http": (start_http, "http", {}, "HTTP/1.1"),
    "https": (start_https, "https", {}, "HTTP/1.1"),
    "h2": (functools.partial(start_https, http2=True), "https", {"http2": True}, "HTTP/2"),
}


@pytest.fixture(params=ORIGINS)
def case(request: pytest.FixtureRequest) -> Iterator[tuple[Setup, dict[str, Any], str]]:
    """An origin that is served, the options of a client for it, and what it speaks."""
    start, scheme, options, version = ORIGINS[request.param]
    with running(start(), scheme=scheme) as setup:
        yield setup, options, version


# Requests -----------------------------------------------------------------------------------------


def test_connections_are_used_again(
    case: tuple[Setup, dict[str, Any], str], run: Callable[[Main], None]
) -> None:
    setup, options, version = case

    async def main() -> None:
        async with setup.client(**options) as client:
            for number in range(3):
                sent = b"%d" % number * 1000
                response = await client.post(setup.url("/echo"), content=sent)
                assert (response.status_code, response.http_version) == (200, version)
                assert response.content == sent
            response = await client.get(setup.url("/nowhere"))
            assert response.status_code == 404
        assert setup.origin.connection_count == 1

    run(main)


def test_bodies_are_streamed_in_both_directions(
    case: tuple[Setup, dict[str, Any], str], run: Callable[[Main], None]
) -> None:
    setup, options, _ = case
    pieces = [secrets.token_bytes(100_000) for _ in range(20)]

    async def produce() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def main() -> None:
        async with setup.client(**options) as client:
            response = await client.post(setup.url("/echo"), content=produce())
            assert response.content == b"".join(pieces)
            size, seen, parts = 3 << 20, hashlib.sha256(), 0
            async with client.stream("GET", setup.url(f"/bytes/{size}")) as response:
                async for part in response.aiter_raw():
                    seen.update(part)
                    parts += 1
            assert seen.hexdigest() == pattern_sha256(size)
            assert parts > 1

    run(main)


def test_requests_at_the_same_time(
    case: tuple[Setup, dict[str, Any], str], run: Callable[[Main], None]
) -> None:
    setup, options, version = case

    async def main() -> None:
        async with setup.client(**options) as client:

            async def ask(number: int) -> None:
                response = await client.post(setup.url("/echo"), content=str(number))
                assert response.text == str(number)

            async with anyio.create_task_group() as group:
                for number in range(5):
                    group.start_soon(ask, number)
        assert setup.origin.connection_count == 1 if version == "HTTP/2" else 5

    run(main)


def test_a_download_that_is_left_early(run: Callable[[Main], None]) -> None:
    with running(start_http()) as setup:

        async def main() -> None:
            async with setup.client() as client:
                async with client.stream("GET", setup.url(f"/bytes/{1 << 28}")) as response:
                    assert response.status_code == 200
                response = await client.post(setup.url("/echo"), content=b"still there")
                assert response.content == b"still there"
            assert setup.origin.connection_count == 2

        run(main)


def test_a_server_behind_a_websocket(run: Callable[[Main], None]) -> None:
    carried = StreamSettings(carrier=WebSocketSettings(path="/tunnel"))
    with running(start_http(), stream=carried) as setup:

        async def main() -> None:
            link = setup.server.link_with(network="ws", path="/tunnel")
            async with httpx.AsyncClient(transport=VMessTransport(link)) as client:
                response = await client.post(setup.url("/echo"), content=b"hello")
                assert response.content == b"hello"

        run(main)


async def answer_once(stream: trio.abc.HalfCloseableStream) -> None:
    """Answer one request, and close although the client may expect to ask again."""
    await stream.receive_some()
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def test_an_idle_connection_that_was_closed_is_not_used(run: Callable[[Main], None]) -> None:
    with running(start_tcp_origin(answer_once)) as setup:

        async def main() -> None:
            transport = VMessTransport(setup.server.link)
            async with httpx.AsyncClient(transport=transport) as client:
                for _ in range(2):
                    response = await client.get(setup.url("/"))
                    assert response.text == "ok"
                    # Until it is known here that the origin has closed.
                    pool = transport._pool
                    while not all(each.has_expired() for each in pool.connections):  # noqa: ASYNC110
                        await anyio.sleep(0.001)
            assert setup.origin.connection_count == 2

        run(main)


# What goes wrong ----------------------------------------------------------------------------------


async def ask(server: Any, url: str, **timeouts: float) -> httpx.Response:
    timeout = httpx.Timeout(LIMIT, **timeouts)
    transport = VMessTransport(server, verify=trusting_context())
    async with httpx.AsyncClient(transport=transport, timeout=timeout) as client:
        return await client.get(url)


def test_a_server_that_is_not_there(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        link = format_share_link(attrs.evolve(LINK, address="127.0.0.1", port=free_port()))
        with pytest.raises(httpx.ConnectError, match=r"^127\.0\.0\.1:\d+: .*refused"):
            await ask(link, "http://a.example/")

    run(main)


def test_a_server_that_does_not_answer(run: Callable[[Main], None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        async def main() -> None:
            link = attrs.evolve(LINK, address="127.0.0.1", port=port, network="ws")
            with pytest.raises(httpx.ConnectTimeout):
                await ask(format_share_link(link), "http://a.example/", connect=0.1)

        run(main)


def test_an_unknown_user_gets_silence(run: Callable[[Main], None]) -> None:
    with running(start_http()) as setup:

        async def main() -> None:
            link = setup.server.link_with(uuid="27848739-7e62-4138-9fd3-098a63964b6b")
            with pytest.raises(httpx.ReadTimeout):
                await ask(link, setup.url("/"), read=0.1)

        run(main)


def test_an_origin_that_is_not_there(run: Callable[[Main], None]) -> None:
    with running(start_http()) as setup:

        async def main() -> None:
            with pytest.raises(httpx.ReadError, match="closed the connection without an answer"):
                await ask(setup.server.link, f"http://127.0.0.1:{free_port()}/")
            with pytest.raises(httpx.ConnectError, match="without an answer"):
                await ask(setup.server.link, f"https://127.0.0.1:{free_port()}/")

        run(main)


def test_an_origin_that_is_not_who_it_should_be(run: Callable[[Main], None]) -> None:
    with running(start_https(), scheme="https") as setup:

        async def main() -> None:
            async with httpx.AsyncClient(transport=VMessTransport(setup.server.link)) as client:
                with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                    await client.get(setup.url("/"))

        run(main)


async def break_off(stream: trio.abc.HalfCloseableStream) -> None:
    await stream.receive_some()
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nnot all")


def test_an_answer_that_breaks_off(run: Callable[[Main], None]) -> None:
    with running(start_tcp_origin(break_off)) as setup:

        async def main() -> None:
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await ask(setup.server.link, setup.url("/"))

        run(main)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((443,), TypeError, "server: expected"),
        ((("a.example", 443),), TypeError, "account: with host and port"),
        (("vmess://???",), ConfigError, "not a valid share link"),
    ],
)
def test_arguments_are_read_when_it_is_made(
    arguments: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        VMessTransport(*arguments)


def test_what_asyncio_does_not_support_is_a_connect_error() -> None:
    async def main() -> None:
        stream = StreamSettings(carrier=TcpSettings(header=HttpHeaderSettings()))
        outbound = attrs.evolve(share_link_outbound(LINK), stream=stream)
        with pytest.raises(
            httpx.ConnectError, match="HTTP camouflage: not supported under asyncio"
        ):
            await ask(outbound, "http://a.example/")

    run_asyncio(main)


def test_host_port_and_account(run: Callable[[Main], None]) -> None:
    with running(start_http()) as setup:

        async def main() -> None:
            account = Account(ACCOUNT.user_id)
            transport = VMessTransport(("127.0.0.1", setup.server.port), account=account)
            async with httpx.AsyncClient(transport=transport) as client:
                assert (await client.get(setup.url("/bytes/3"))).status_code == 200

        run(main)


def test_without_httpx_the_import_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['httpx'] = None\n"
        "try:\n    import trio_vmess.httpx\nexcept ImportError as exc:\n    print(exc)"
    )
    done = run_python("-c", code, limit=60)
    assert "pip install 'trio-vmess[httpx]'" in done.stdout
