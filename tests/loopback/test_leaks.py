"""Thousands of connections leave nothing behind: no task, no descriptor, no entry in a table."""

import gc
import resource
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from tests.kit.descriptors import open_descriptors
from tests.kit.nodes import RunningNode, start_client_node, start_server_node
from tests.kit.origin import (
    MAX_CONNECTIONS,
    Origin,
    start_echo,
    start_silent,
    start_sink,
    start_source,
    start_udp_echo,
)
from tests.kit.pattern import pattern
from tests.kit.peer_specs import ClientSpec
from tests.kit.socks_client import (
    SocksError,
    open_socks_stream,
    open_socks_udp,
    receive_exactly,
)
from tests.kit.waiting import wait_until
from trio_vmess.config import PolicyLevelSettings, PolicySettings

pytestmark = pytest.mark.limit(30)

SEQUENTIAL_COUNT = 1000
PARALLEL_COUNT = 500
DESCRIPTORS_PER_CONNECTION = 6
"""Both ends of the connections from the test to the client, to the server, and to the origin."""


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Raise the limit of open files to what the test needs, where the system lets us."""
    wanted = PARALLEL_COUNT * DESCRIPTORS_PER_CONNECTION + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"no more than {hard} files may be open here")
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@asynccontextmanager
async def _pair(*, spares: int = 0) -> AsyncIterator[tuple[RunningNode, RunningNode]]:
    async with (
        start_server_node() as server,
        start_client_node(
            ClientSpec(server_port=server.port), spares=spares, spare_keep=0.1
        ) as client,
    ):
        yield server, client


@asynccontextmanager
async def _nothing_is_left(server: RunningNode, client: RunningNode) -> AsyncIterator[None]:
    """Require that everything is, after the block, as it was before."""
    # The nodes' own tasks come first.
    await trio.testing.wait_all_tasks_blocked()
    descriptors = open_descriptors()
    task_count = trio.lowlevel.current_statistics().tasks_living
    yield
    await wait_until(lambda: not server.node.connections and not client.node.connections)
    await wait_until(lambda: trio.lowlevel.current_statistics().tasks_living <= task_count)
    await wait_until(lambda: open_descriptors().keys() <= descriptors.keys())
    assert trio.lowlevel.current_statistics().tasks_living == task_count
    assert open_descriptors() == descriptors


async def _exchange(client: RunningNode, origin: Origin, message: bytes = b"hello") -> None:
    async with await open_socks_stream(client.port, origin.host, origin.port) as stream:
        await stream.send_all(message)
        assert await receive_exactly(stream, len(message)) == message
        await stream.send_eof()
        assert await stream.receive_some(1) == b""


async def test_connections_one_after_the_other() -> None:
    async with _pair() as (server, client), _nothing_is_left(server, client):
        for _ in range(SEQUENTIAL_COUNT // MAX_CONNECTIONS + 1):
            # An origin takes no more than so many.
            async with start_echo() as origin:
                for _ in range(SEQUENTIAL_COUNT // 2):
                    await _exchange(client, origin)


async def test_spare_connections() -> None:
    async with (
        start_echo() as origin,
        _pair(spares=2) as (server, client),
        _nothing_is_left(server, client),
    ):
        for _ in range(100):
            await _exchange(client, origin)


@pytest.mark.parametrize("spares", [0, 2], ids=["", "spares"])
async def test_connections_leave_no_cycles_behind(spares: int) -> None:
    """A running node lets the garbage collector sleep, since it would find nothing."""
    count = 50
    async with _pair(spares=spares) as (server, client), start_echo() as origin:
        await _exchange(client, origin)
        gc.collect()
        gc.disable()
        try:
            for _ in range(count):
                await _exchange(client, origin)
            await wait_until(lambda: not server.node.connections and not client.node.connections)
            assert gc.collect() < count
        finally:
            gc.enable()


async def test_connections_side_by_side(many_descriptors: None) -> None:
    all_open = trio.Event()
    open_count = 0

    async def hold_open(client: RunningNode, origin: Origin) -> None:
        nonlocal open_count
        async with await open_socks_stream(client.port, origin.host, origin.port) as stream:
            await stream.send_all(b"first")
            assert await receive_exactly(stream, 5) == b"first"
            open_count += 1
            if open_count == PARALLEL_COUNT:
                all_open.set()
            await all_open.wait()
            await stream.send_all(pattern(10_000))
            assert await receive_exactly(stream, 10_000) == pattern(10_000)

    async with (
        start_echo() as origin,
        _pair() as (server, client),
        _nothing_is_left(server, client),
        trio.open_nursery() as nursery,
    ):
        for _ in range(PARALLEL_COUNT):
            nursery.start_soon(hold_open, client, origin)
        await all_open.wait()
        assert len(server.node.connections) == PARALLEL_COUNT
        assert len(client.node.connections) == PARALLEL_COUNT


RESET = struct.pack("ii", 1, 0)
"""SO_LINGER for a close that sends a reset."""


@pytest.mark.parametrize("upload", [True, False], ids=["upload", "download"])
async def test_connections_that_are_reset(upload: bool) -> None:
    """A reset from the program, in the middle of megabytes."""
    size = 64 << 20
    async with (
        start_sink(size=size) if upload else start_source(size) as origin,
        _pair() as (server, client),
        _nothing_is_left(server, client),
    ):
        for _ in range(20):
            stream = await open_socks_stream(client.port, origin.host, origin.port)
            with trio.move_on_after(0.005):
                if upload:
                    await stream.send_all(pattern(4 << 20))
                else:
                    await receive_exactly(stream, 4 << 20)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            await stream.aclose()


async def test_connections_that_nobody_serves_any_more() -> None:
    """An origin that reads nothing, and a program that is gone: only the idle limit can tell."""
    idle = PolicySettings(levels={0: PolicyLevelSettings(connection_idle=0.1)})
    async with (
        start_server_node(policy=idle) as server,
        start_client_node(ClientSpec(server_port=server.port), policy=idle) as client,
        _nothing_is_left(server, client),
        start_silent() as origin,
    ):
        stream = await open_socks_stream(client.port, origin.host, origin.port)
        with trio.move_on_after(0.05):
            await stream.send_all(pattern(32 << 20))
        await stream.aclose()
        assert len(server.node.connections) == len(client.node.connections) == 1
        await wait_until(lambda: not server.node.connections and not client.node.connections)


async def test_destinations_that_refuse_connections() -> None:
    async with start_echo() as origin:
        dead_port = origin.port
    async with _pair() as (server, client), _nothing_is_left(server, client):
        for _ in range(100):
            stream = await open_socks_stream(client.port, "127.0.0.1", dead_port)
            await stream.send_all(b"hello")
            with pytest.raises((SocksError, trio.BrokenResourceError)):
                await receive_exactly(stream, 1)
            await stream.aclose()


async def test_handshakes_that_are_never_finished() -> None:
    async with _pair() as (server, client), _nothing_is_left(server, client):
        for port in (server.port, client.port):
            for beginning in (b"", b"\x05", b"\x05\x01\x00", bytes(20)):
                async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                    await stream.send_all(beginning)


async def test_udp_associations() -> None:
    async with (
        start_udp_echo() as origin,
        _pair() as (server, client),
        _nothing_is_left(server, client),
    ):
        for number in range(100):
            async with open_socks_udp(client.port) as association:
                message = f"datagram {number}".encode()
                await association.send_to(origin.host, origin.port, message)
                assert (await association.receive())[2] == message


async def test_a_node_that_is_stopped_during_traffic() -> None:
    async with start_echo() as origin:
        descriptors = open_descriptors()
        task_count = trio.lowlevel.current_statistics().tasks_living
        async with _pair(spares=2) as (server, client):
            streams = [
                await open_socks_stream(client.port, origin.host, origin.port) for _ in range(20)
            ]
            for stream in streams:
                await stream.send_all(pattern(100_000))
            await wait_until(lambda: len(server.node.connections) == len(streams))
        for stream in streams:
            await stream.aclose()
        await wait_until(lambda: open_descriptors().keys() <= descriptors.keys())
        assert trio.lowlevel.current_statistics().tasks_living == task_count
