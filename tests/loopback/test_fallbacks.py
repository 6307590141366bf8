"""Strangers at a port with a fallback see the site itself, and users get through all the same."""

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from tests.kit.exchanges import check_all
from tests.kit.http_origin import start_http
from tests.kit.names import IPV4_LOOPBACK
from tests.kit.nodes import start_client_node, start_server_node
from tests.kit.peer_specs import ClientSpec
from tests.kit.remote_ends import RemoteEnd
from tests.kit.strangers import undated
from tests.loopback.test_layers import NAME, stream_pair
from trio_vmess.config import (
    CarrierSettings,
    FallbackSettings,
    HttpHeaderSettings,
    HttpRequestSettings,
    HttpUpgradeSettings,
    StreamSettings,
    TcpSettings,
    UnixSocket,
    WebSocketSettings,
)
from trio_vmess.contracts import Transport
from trio_vmess.transport import dial
from trio_vmess.transport.tls import TlsBuffers, TlsOptions, TlsTransport, client_context

LOOPBACK = ipaddress.IPv4Address(IPV4_LOOPBACK)
BUFFERS = TlsBuffers()

TUNNELS: dict[str, tuple[CarrierSettings, bool]] = {
    "tls": (TcpSettings(), True),
    "ws": (WebSocketSettings(path="/tunnel"), False),
    "ws+tls": (WebSocketSettings(path="/tunnel"), True),
    "httpupgrade": (HttpUpgradeSettings(path="/tunnel"), False),
    "camouflage": (
        TcpSettings(header=HttpHeaderSettings(request=HttpRequestSettings(paths=("/tunnel",)))),
        False,
    ),
}


def request(target: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: a", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


ECHO = request("/echo", "Content-Length: 3", method="POST", body=b"abc")
WIRES = {
    "page": request("/", "Connection: close"),
    "keep-alive": request("/assets/1.svg") + request("/nope") + request("/", "Connection: close"),
    "HEAD": request("/", method="HEAD") + request("/assets/2.svg", "Connection: close"),
    "body": ECHO + ECHO + request("/", "Connection: close"),
    "chunks": request("/echo", "Transfer-Encoding: chunked", "Connection: close", method="POST")
    + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
    "HTTP/1.0": b"GET /assets/3.svg HTTP/1.0\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "half a request": b"GET /as",
    "garbage": b"\x01\x02\x03 garbage\r\n\r\n",
    "random bytes": bytes(range(100, 200)) + b"\r\n\r\n",
    "short": b"no\r\n",
    "an upgrade": request("/", "Upgrade: websocket", "Connection: Upgrade") + ECHO,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
}
REFUSED_EARLY = {"HTTP/0.9", "garbage", "random bytes", "short", "HTTP/2"}


async def open_stream(port: int, root: Path | None) -> Transport:
    """Connect, through TLS if there is a root to verify it with."""
    transport = await dial(LOOPBACK, port)
    if root is None:
        return transport
    pem = await trio.Path(root).read_text()
    context = client_context(TlsOptions(), roots=[pem], system_roots=False)
    inside = TlsTransport(transport, context, server_name=NAME, buffers=BUFFERS)
    await inside.handshake()
    return inside


async def ask(port: int, root: Path | None, wire: bytes, *, step: int, has_end: bool) -> bytes:
    """Return all that comes back until the connection ends."""
    transport = await open_stream(port, root)
    try:
        for start in range(0, len(wire), step):
            await transport.send_all(wire[start : start + step])
        if has_end:
            await transport.send_eof()
        return await RemoteEnd(transport).receive_all()
    finally:
        await transport.aclose()


@asynccontextmanager
async def server_with(
    folder: Path, tunnel: str, target: Path | tuple[ipaddress.IPv4Address, int] | UnixSocket
) -> AsyncIterator[tuple[int, Path | None, StreamSettings]]:
    """Give the port of a server with a fallback, its root, and what its clients need."""

    carrier, is_secure = TUNNELS[tunnel]
    for_server, for_client = stream_pair(folder, carrier, is_secure=is_secure)
    for_server = attrs.evolve(for_server, fallback=FallbackSettings(target=target))
    async with start_server_node(stream=for_server) as server:
        yield server.port, folder / "root.pem" if is_secure else None, for_client


@pytest.mark.parametrize("tunnel", TUNNELS)
async def test_the_bytes_are_those_of_the_site_itself(tmp_path: Path, tunnel: str) -> None:
    async with (
        start_http(download_size=10) as origin,
        server_with(tmp_path, tunnel, (LOOPBACK, origin.port)) as (port, root, _),
    ):
        for name, wire in WIRES.items():
            # The origin resets whoever goes on sending what it has refused.
            for step in (len(wire),) if name in REFUSED_EARLY else (1, len(wire)):
                direct = await ask(origin.port, None, wire, step=step, has_end=True)
                through = await ask(port, root, wire, step=step, has_end=True)
                assert through == direct, f"{name}, {step} bytes at a time"


@pytest.mark.parametrize("tunnel", ["tls", "ws+tls"])
async def test_the_site_ends_connections_itself(tmp_path: Path, tunnel: str) -> None:
    async with (
        start_http(download_size=10) as origin,
        server_with(tmp_path, tunnel, (LOOPBACK, origin.port)) as (port, root, _),
    ):
        for name in ("page", "keep-alive", "HEAD", "body", "chunks", "no Host", "garbage"):
            wire = WIRES[name]
            direct = await ask(origin.port, None, wire, step=len(wire), has_end=False)
            through = await ask(port, root, wire, step=len(wire), has_end=False)
            assert through == direct != b"", name


@pytest.mark.parametrize("tunnel", TUNNELS)
async def test_users_get_through_beside_a_fallback(tmp_path: Path, tunnel: str) -> None:
    nobody = UnixSocket(str(tmp_path / "nobody.sock"))
    async with (
        server_with(tmp_path, tunnel, nobody) as (port, _, for_client),
        start_client_node(ClientSpec(server_port=port), stream=for_client) as client,
    ):
        await check_all(client.port)


@pytest.mark.parametrize("tunnel", TUNNELS)
async def test_a_folder_is_a_site(tmp_path: Path, tunnel: str) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("home")
    async with server_with(tmp_path, tunnel, site) as (port, root, _):
        wire = request("/") + request("/nope", "Connection: close")
        answer = await ask(port, root, wire, step=len(wire), has_end=False)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\nServer: nginx\r\n")
        assert b"\r\n\r\nhomeHTTP/1.1 404 Not Found\r\n" in answer


async def test_a_site_on_a_unix_socket_that_is_away_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "site.sock"
    async with server_with(tmp_path, "tls", UnixSocket(str(path))) as (port, root, _):
        wire = request("/", "Connection: close")
        answer = await ask(port, root, wire, step=len(wire), has_end=False)
        assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\nServer: nginx\r\n")

        listener = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        with listener:
            await listener.bind(str(path))
            listener.listen()

            async def serve() -> None:
                accepted, _ = await listener.accept()
                with accepted:
                    assert await accepted.recv(1000) == wire
                    await accepted.send(b"the site")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve)
                assert await ask(port, root, wire, step=len(wire), has_end=False) == b"the site"


@pytest.mark.parametrize("tunnel", ["tls", "ws+tls"])
async def test_http_in_the_clear_is_told_that_the_port_has_tls(tmp_path: Path, tunnel: str) -> None:
    async with server_with(tmp_path, tunnel, tmp_path) as (port, _, _):
        answer = await ask(port, None, request("/"), step=1000, has_end=False)
        assert "The plain HTTP request was sent to HTTPS port" in undated(answer)


async def test_a_port_with_tls_alone_says_nothing_in_the_clear(tmp_path: Path) -> None:
    for_server, _ = stream_pair(tmp_path, TcpSettings(), is_secure=True)
    async with start_server_node(stream=for_server) as server:
        transport = await dial(LOOPBACK, server.port)
        await transport.send_all(request("/"))
        said = await RemoteEnd(transport).receive_all()
        await transport.aclose()
        assert not said.startswith(b"HTTP")
