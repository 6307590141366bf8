"""No error leaves a reference cycle: a node that is attacked keeps the memory of honest users.

A running node searches for cycles rarely, and a cycle that holds a connection holds its buffers.
"""

import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final

import pytest
import trio

from tests.kit.garbage import check_no_garbage
from tests.kit.nodes import RunningNode, start_client_node, start_server_node
from tests.kit.origin import start_echo
from tests.kit.peer_specs import ClientSpec, DynamicPorts, ServerSpec
from tests.kit.ports import free_port, free_port_range
from tests.kit.socks_client import SocksError, open_socks_stream
from tests.kit.waiting import wait_until
from trio_vmess.config import HttpInboundSettings

COUNT: Final = 10
HTTP: Final = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n"

Attempt = Callable[[], Awaitable[None]]


async def check_garbage(attempt: Attempt, *nodes: RunningNode) -> None:
    """Do something that goes wrong several times; require that no cycle of ours is left."""
    await attempt()
    await finished(*nodes)
    with check_no_garbage():
        for _ in range(COUNT):
            await attempt()
        await finished(*nodes)


async def finished(*nodes: RunningNode) -> None:
    for node in nodes:
        await wait_until(lambda node=node: not node.node.connections)
    # Refused connections are in no table; their tasks end after their sockets have.
    await trio.testing.wait_all_tasks_blocked(0.02)


async def send(port: int, data: bytes, *, reset: bool = False) -> bytes:
    """Send bytes, and end or reset the connection; return what came back."""
    received = b""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(data)
        if reset:
            option = struct.pack("ii", 1, 0)
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
            return received
        await stream.send_eof()
        try:
            while piece := await stream.receive_some():
                received += piece
        except trio.BrokenResourceError:
            pass
    return received


async def ask(client: RunningNode, port: int, host: str = "127.0.0.1") -> None:
    """Ask for a destination that cannot be reached, and see the end."""
    try:
        async with await open_socks_stream(client.port, host, port) as stream:
            await stream.send_all(b"hello")
            assert await stream.receive_some(10) == b""
    except (SocksError, trio.BrokenResourceError):
        pass


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
@pytest.mark.parametrize(
    "data", [b"", b"short", bytes(3000), HTTP % 80], ids=["nothing", "short", "noise", "http"]
)
async def test_strangers_at_a_vmess_inbound(data: bytes, reset: bool) -> None:
    async with start_server_node(ServerSpec(alter_id=2)) as server:
        await check_garbage(lambda: ignore(send(server.port, data, reset=reset)), server)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x05", b"\x09nonsense", b"\x05\x01\x00\x05\x02\x00\x01", b"\x05\x01\x77"],
    ids=["nothing", "a part", "nonsense", "wrong command", "no method"],
)
async def test_refused_programs_at_a_socks_inbound(data: bytes) -> None:
    async with start_client_node(ClientSpec(server_port=free_port())) as client:
        await check_garbage(lambda: ignore(send(client.port, data)), client)


async def test_a_server_that_is_not_there() -> None:
    async with start_client_node(ClientSpec(server_port=free_port())) as client:
        await check_garbage(lambda: ask(client, 80), client)


async def test_a_server_that_does_not_know_the_user() -> None:
    async with (
        start_server_node() as server,
        start_client_node(
            ClientSpec(server_port=server.port, user_id="5783a3e7-e373-51cd-8642-c83782b807c5"),
        ) as client,
    ):

        async def attempt() -> None:
            async with await open_socks_stream(client.port, "127.0.0.1", 80) as stream:
                await stream.send_all(b"hello")
                await trio.sleep(0.01)

        await check_garbage(attempt, client, server)


async def test_destinations_that_are_not_reached() -> None:
    async with (
        start_server_node() as server,
        start_client_node(ClientSpec(server_port=server.port)) as client,
    ):
        await check_garbage(lambda: ask(client, free_port()), client, server)


async def test_resets_and_cancellations() -> None:
    async with (
        start_server_node() as server,
        start_client_node(ClientSpec(server_port=server.port)) as client,
        start_echo() as origin,
    ):

        async def attempt(*, reset: bool) -> None:
            async with await open_socks_stream(client.port, origin.host, origin.port) as stream:
                await stream.send_all(b"hello")
                assert await stream.receive_some(5) == b"hello"
                if reset:
                    option = struct.pack("ii", 1, 0)
                    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
                    return
                for connection in list(server.node.connections):
                    connection.cancel()
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.receive_some(5)

        await check_garbage(lambda: attempt(reset=True), client, server)
        await check_garbage(lambda: attempt(reset=False), client, server)


async def test_generations_of_ports_that_come_and_go(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nobody connects, so nothing of the kernel's can be late when the clock jumps."""
    spec = ServerSpec(
        dynamic_ports=DynamicPorts(ports=free_port_range(20), concurrency=2, refresh=1)
    )
    async with start_server_node(spec) as server:

        async def refresh() -> None:
            await trio.sleep(61)

        await check_garbage(refresh, server)


async def ignore(result: Awaitable[object]) -> None:
    await result


@pytest.mark.parametrize(
    "data",
    [b"", b"GET", b"\x09nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n"],
    ids=["nothing", "a part", "nonsense", "a bad header"],
)
async def test_refused_programs_at_an_http_inbound(data: bytes) -> None:
    spec = ClientSpec(server_port=free_port())
    async with start_client_node(spec, proxy=HttpInboundSettings()) as client:
        await check_garbage(lambda: ignore(send(client.port, data)), client)
