"""Inbounds of a client: HTTP and SOCKS with real curl, both on one port, and Unix sockets."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from tests.kit.exchanges import check_echo, check_udp_echo
from tests.kit.http_origin import asset, start_http
from tests.kit.nodes import (
    PROXY_TAG,
    freedom,
    proxy_inbound,
    start_client_node,
    start_node,
    start_server_node,
    vmess_inbounds,
    vmess_outbound,
)
from tests.kit.origin import Origin, start_delayed_reply, start_echo, start_udp_echo
from tests.kit.pattern import pattern
from tests.kit.peer_specs import ClientSpec, ServerSpec
from tests.kit.socks_client import open_socks4_stream, open_socks_stream, receive_exactly
from tests.kit.transfer import echo_file
from trio_vmess.config import (
    Config,
    DokodemoInboundSettings,
    HttpInboundSettings,
    InboundProtocolSettings,
    MixedInboundSettings,
    ProxyAccountSettings,
    UnixSocket,
)
from trio_vmess.core import Network, parse_host

SIZE = 3 << 20
MIXED = MixedInboundSettings(udp=True)


@asynccontextmanager
async def _client(protocol: InboundProtocolSettings | None = None) -> AsyncIterator[int]:
    """Give the port of a client whose server is beside it."""
    async with (
        start_server_node() as server,
        start_client_node(ClientSpec(server_port=server.port), proxy=protocol) as client,
    ):
        yield client.port


# curl -------------------------------------------------------------------------------------------


async def _curl(*arguments: str, body: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("curl")
    if program is None:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail("no curl, and CI=true forbids skipping")
        pytest.skip("no curl on PATH")
    command = [program, "--disable", "--silent", "--show-error", "--noproxy", "", "--max-time", "8"]
    return await trio.run_process(
        [*command, *arguments],
        stdin=body,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )


def _url(origin: Origin, path: str) -> str:
    return f"http://{origin.host}:{origin.port}{path}"


async def _check_curl(origin: Origin, *proxy: str) -> None:
    """Fetch a large file, post one, and fetch several in one go."""
    result = await _curl(*proxy, _url(origin, f"/bytes/{SIZE}"))
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == pattern(SIZE)

    # The origin has no interim answer to "Expect: 100-continue".
    request, post = pattern(SIZE // 2), ("--expect100-timeout", "0.05", "--data-binary", "@-")
    result = await _curl(*proxy, *post, _url(origin, "/echo"), body=request)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == request

    urls = [_url(origin, f"/assets/{number}.svg") for number in range(20)]
    result = await _curl(*proxy, *urls)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == b"".join(map(asset, range(20)))


CurlOptions = Callable[[int], Sequence[str]]


def _http(port: int) -> Sequence[str]:
    return ("--proxy", f"http://127.0.0.1:{port}")


def _connect(port: int) -> Sequence[str]:
    return (*_http(port), "--proxytunnel")


def _socks(version: str, port: int) -> Sequence[str]:
    return ("--proxy", f"{version}://127.0.0.1:{port}")


@pytest.mark.parametrize("proxy_options", [_http, _connect])
@pytest.mark.parametrize("protocol", [HttpInboundSettings(), MIXED], ids=["http", "mixed"])
async def test_curl_by_http(protocol: InboundProtocolSettings, proxy_options: CurlOptions) -> None:
    async with start_http() as origin, _client(protocol) as port:
        await _check_curl(origin, *proxy_options(port))


@pytest.mark.parametrize("version", ["socks4", "socks4a", "socks5", "socks5h"])
@pytest.mark.parametrize("protocol", [None, MIXED], ids=["socks", "mixed"])
async def test_curl_by_socks(protocol: InboundProtocolSettings | None, version: str) -> None:
    async with start_http() as origin, _client(protocol) as port:
        await _check_curl(origin, *_socks(version, port))


@pytest.mark.parametrize("proxy_options", [_http, _connect])
async def test_curl_needs_the_password(proxy_options: CurlOptions) -> None:
    account = ProxyAccountSettings(user="me", password="s3cret")
    async with start_http() as origin, _client(HttpInboundSettings(accounts=(account,))) as port:
        url = _url(origin, "/assets/1.svg")
        result = await _curl(*proxy_options(port), "--proxy-user", "me:s3cret", url)
        assert (result.returncode, result.stdout) == (0, asset(1))
        for login in ("me:wrong", "you:s3cret"):
            shown = ("--output", os.devnull, "--write-out", "%{http_code} %{http_connect}")
            result = await _curl(*proxy_options(port), "--proxy-user", login, *shown, url)
            assert b"407" in result.stdout
        assert origin.connection_count == 1


async def test_curl_is_told_that_the_origin_is_unreachable() -> None:
    async with start_http() as origin:
        url = _url(origin, "/")
    settings = Config(
        inbounds=(proxy_inbound(ClientSpec(server_port=0), HttpInboundSettings()),),
        outbounds=(freedom(),),
    )
    async with start_node(settings) as node:
        result = await _curl(*_http(node.port), "--include", url)
        assert result.stdout.startswith(b"HTTP/1.1 503 ")
        result = await _curl(*_connect(node.port), url)
        assert result.returncode != 0
        assert b"503" in result.stderr


# The mixed port -----------------------------------------------------------------------------------


async def test_the_mixed_port_accepts_http_and_socks() -> None:
    async with (
        start_echo() as echo,
        start_udp_echo() as udp_echo,
        _client(MIXED) as port,
    ):
        await check_echo(port, echo)
        await check_udp_echo(port, udp_echo, (1, 1400))
        async with await open_socks4_stream(port, echo.host, echo.port) as stream:
            await echo_file(stream, SIZE)
        async with await open_socks_stream(port, echo.host, echo.port) as stream:
            await echo_file(stream, SIZE)


# Unix sockets -------------------------------------------------------------------------------------


async def test_a_tunnel_from_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "in.sock"
    async with (
        start_delayed_reply(0.02) as origin,
        start_server_node() as server,
    ):
        inbound = attrs.evolve(
            proxy_inbound(
                ClientSpec(server_port=0),
                DokodemoInboundSettings(
                    target_address=parse_host(origin.host),
                    target_port=origin.port,
                    networks=(Network.TCP,),
                ),
            ),
            listen=UnixSocket(str(path)),
        )
        outbound = vmess_outbound(ClientSpec(server_port=server.port))
        async with start_node(Config(inbounds=(inbound,), outbounds=(outbound,))) as client:
            (listening,) = client.node.listening
            assert (listening.tag, listening.address) == (PROXY_TAG, str(path))
            async with await trio.open_unix_socket(path) as stream:
                await stream.send_all(pattern(SIZE))
                await stream.send_eof()
                assert await receive_exactly(stream, SIZE) == pattern(SIZE)
        assert not path.exists()


async def test_curl_by_socks_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socks.sock"
    inbound = attrs.evolve(proxy_inbound(ClientSpec(server_port=0)), listen=UnixSocket(str(path)))
    async with (
        start_http() as origin,
        start_server_node() as server,
        start_node(
            Config(
                inbounds=(inbound,),
                outbounds=(vmess_outbound(ClientSpec(server_port=server.port)),),
            )
        ),
    ):
        await _check_curl(origin, "--proxy", f"socks5h://localhost{path}")


@pytest.mark.parametrize("abstract", [False, True])
async def test_a_vmess_server_on_a_unix_socket(tmp_path: Path, abstract: bool) -> None:
    """As behind a web server that accepts connections from outside and forwards them."""
    path = tmp_path / "vmess.sock"
    name = f"@{path}" if abstract else str(path)
    settings = Config(
        inbounds=vmess_inbounds(ServerSpec(), unix_socket=name), outbounds=(freedom(),)
    )
    async with (
        start_echo() as echo,
        start_node(settings),
        _front(f"\0{path}" if abstract else str(path)) as front_port,
        start_client_node(ClientSpec(server_port=front_port)) as client,
    ):
        await check_echo(client.port, echo)
        async with await open_socks_stream(client.port, echo.host, echo.port) as stream:
            await echo_file(stream, SIZE)


@asynccontextmanager
async def _front(socket_name: str) -> AsyncIterator[int]:
    """Yield a port whose connections are forwarded to a Unix socket."""

    async def copy(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        async for data in source:
            await sink.send_all(data)
        await sink.send_eof()

    async def serve(outside: trio.SocketStream) -> None:
        async with await trio.open_unix_socket(socket_name) as inside, trio.open_nursery() as each:
            each.start_soon(copy, outside, inside)
            each.start_soon(copy, inside, outside)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, serve, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()
