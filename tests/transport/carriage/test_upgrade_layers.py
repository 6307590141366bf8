"""WebSocket and HTTPUpgrade in front of an inbound and around what dials."""

import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.kit.remote_ends import memory_pair
from trio_vmess.contracts import Transport
from trio_vmess.core import Host
from trio_vmess.core.carriage.upgrade import UpgradeKind, UpgradeRequest, UpgradeRules
from trio_vmess.errors import DialError, RemoteProtocolError
from trio_vmess.transport.carriage import FrameBuffer, TrustedProxies, UpgradeConnect, UpgradeFront

BUFFER = FrameBuffer()
NOW = 1_700_000_000
KINDS = list(UpgradeKind)
PROXIES = TrustedProxies()


class EchoInbound:
    """Sends everything back; notes who has called."""

    def __init__(self) -> None:
        self.sources: list[str] = []

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        self.sources.append(source)
        buffer = memoryview(bytearray(1000))
        while size := await transport.receive_into(buffer):
            await transport.send_all(bytes(buffer[:size]))


@attrs.frozen
class Served:
    """One connection to a server.

    Attributes:
        inbound: behind the layer.
        below: the client's end of the connection.
    """

    inbound: EchoInbound
    below: Transport

    def connect(self, request: UpgradeRequest, **options) -> UpgradeConnect:
        async def connect(_host: Host, _port: int) -> Transport:
            return self.below

        return UpgradeConnect(
            connect=connect,
            request_for=lambda _host, _port: request,
            entropy=secrets,
            buffer=BUFFER,
            **options,
        )


@asynccontextmanager
async def served(
    rules: UpgradeRules, *, source: str = "192.0.2.1:5000", **options
) -> AsyncIterator[Served]:
    inbound = EchoInbound()
    front = UpgradeFront(inbound=inbound, rules=rules, clock=lambda: NOW, buffer=BUFFER, **options)
    below, theirs = memory_pair()
    async with trio.open_nursery() as nursery:
        deadline = trio.current_time() + 8
        nursery.start_soon(lambda: front.serve(theirs, source=source, deadline=deadline))
        yield Served(inbound, below)
        await below.aclose()


async def receive(transport: Transport) -> bytes:
    buffer = memoryview(bytearray(65_536))
    return bytes(buffer[: await transport.receive_into(buffer)])


def asking(kind: UpgradeKind, **changes) -> UpgradeRequest:
    return attrs.evolve(UpgradeRequest(kind=kind, path="/tunnel", host="node.example"), **changes)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_tunnel(kind: UpgradeKind) -> None:
    async with served(UpgradeRules(kind=kind, path="/tunnel")) as server:
        tunnel = await server.connect(asking(kind))("node.example", 443)
        await tunnel.send_all(b"hello")
        assert await receive(tunnel) == b"hello"


@pytest.mark.parametrize("size", [3, 100])
@pytest.mark.parametrize("kind", KINDS)
async def test_early_data_needs_no_round_trip(kind: UpgradeKind, size: int) -> None:
    """Everything is sent before anything is received, and arrives in order."""
    async with served(UpgradeRules(kind=kind, path="/tunnel")) as server:
        request = asking(kind, early_data_header="Sec-WebSocket-Protocol")
        tunnel = await server.connect(request, early_size=size)("node.example", 443)
        await tunnel.send_all(b"hello ")
        await tunnel.send_all(b"world")
        received = b""
        while len(received) < 11:
            received += await receive(tunnel)
        assert received == b"hello world"


async def test_a_request_that_waits_for_its_first_bytes() -> None:
    kind = UpgradeKind.WEBSOCKET
    async with served(UpgradeRules(kind=kind, path="/tunnel")) as server:
        request = asking(kind, early_data_header="Sec-WebSocket-Protocol")
        tunnel = await server.connect(request, early_size=100)("node.example", 443)
        async with trio.open_nursery() as nursery:
            answers: list[bytes] = []

            @nursery.start_soon
            async def read_before_anything_is_sent() -> None:
                answers.append(await receive(tunnel))

            await trio.testing.wait_all_tasks_blocked()
            await tunnel.send_all(b"hello")
        assert answers == [b"hello"]


async def test_an_eager_client_learns_of_a_refusal_when_it_reads() -> None:
    kind = UpgradeKind.HTTP_UPGRADE
    async with served(UpgradeRules(kind=kind, path="/other")) as server:
        tunnel = await server.connect(asking(kind), is_eager=True)("node.example", 443)
        await tunnel.send_all(b"hello")
        with pytest.raises(RemoteProtocolError, match="404"):
            await receive(tunnel)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_says_what_to_look_at(
    kind: UpgradeKind, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(UpgradeRules(kind=kind, path="/other")) as server:
        with pytest.raises(DialError, match=f"node.example:443: {kind.value}: .*404.*path or Host"):
            await server.connect(asking(kind))("node.example", 443)
    assert "upgrade.refused source=192.0.2.1:5000" in caplog.text
    assert "path /tunnel; expected: path /other" in caplog.text
    assert server.inbound.sources == []


async def test_strangers_get_what_nginx_answers_and_may_ask_again() -> None:
    async with served(UpgradeRules(path="/tunnel")) as server:
        for _ in range(3):
            await server.below.send_all(b"GET / HTTP/1.1\r\nHost: node.example\r\n\r\n")
            answer = await receive(server.below)
            assert answer.startswith(b"HTTP/1.1 404 Not Found\r\nServer: nginx\r\n")
            assert b"Connection: keep-alive" in answer


async def test_what_is_no_http_is_answered_and_closed() -> None:
    async with served(UpgradeRules(path="/tunnel")) as server:
        await server.below.send_all(b"\x16\x03\x01\x02\x00" + bytes(100))
        assert (await receive(server.below)).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert await receive(server.below) == b""


async def test_others_are_passed_on_whole(autojump_clock: MockClock) -> None:
    passed: list[tuple[bytes, str]] = []

    class Site:
        async def serve(self, transport: Transport, *, received: bytes, source: str) -> None:
            passed.append((received, source))

    async with served(UpgradeRules(path="/tunnel"), fallback=Site()) as server:
        request = b"GET / HTTP/1.1\r\nHost: node.example\r\n\r\nbehind"
        await server.below.send_all(request)
        assert await receive(server.below) == b""
    assert passed == [(request, "192.0.2.1:5000")]


async def test_the_request_has_the_deadline_of_the_connection(autojump_clock: MockClock) -> None:
    async with served(UpgradeRules(path="/tunnel")) as server:
        await server.below.send_all(b"GET /tunnel HTTP/1.1\r\n")
        assert await receive(server.below) == b""
        assert trio.current_time() == pytest.approx(8)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("127.0.0.1:5000", "203.0.113.9:0"),
        ("", "203.0.113.9:0"),
        ("192.0.2.1:5000", "192.0.2.1:5000"),
    ],
)
async def test_the_client_of_a_proxy_that_is_trusted(source: str, expected: str) -> None:
    async with served(
        UpgradeRules(path="/tunnel"),
        source=source,
        source_of=lambda head, source: PROXIES.forwarded(head.values("x-forwarded-for"), source),
    ) as server:
        request = asking(UpgradeKind.WEBSOCKET, headers={"X-Forwarded-For": "203.0.113.9"})
        tunnel = await server.connect(request)("node.example", 80)
        await tunnel.send_all(b"hello")
        assert await receive(tunnel) == b"hello"
    assert server.inbound.sources == [expected]


async def test_a_server_that_hangs_up(caplog: pytest.LogCaptureFixture) -> None:
    below, theirs = memory_pair()
    await theirs.send_eof()

    async def connect(_host: Host, _port: int) -> Transport:
        return below

    dial = UpgradeConnect(
        connect=connect,
        request_for=lambda _host, _port: asking(UpgradeKind.WEBSOCKET),
        entropy=secrets,
        buffer=BUFFER,
    )
    with caplog.at_level(logging.INFO), pytest.raises(DialError, match="does it expect TLS"):
        await dial("node.example", 80)
