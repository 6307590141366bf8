"""What goes wrong between a program and its destination, and the reason that the nodes give."""

import base64
import json
import re
import socket
import struct
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import pytest
import trio

from tests.kit.commands import running_command
from tests.kit.name_server import NameServer, start_name_server
from tests.kit.nodes import (
    Running,
    RunningNode,
    start_client_node,
    start_node,
    start_server_node,
    vmess_inbounds,
)
from tests.kit.origin import start_echo, start_silent, start_source
from tests.kit.pattern import pattern
from tests.kit.peer_specs import ClientSpec, ServerSpec
from tests.kit.socks_client import open_socks_stream, receive_exactly
from tests.kit.waiting import wait_until
from trio_vmess.config import (
    Config,
    DnsServerSettings,
    DnsSettings,
    FreedomDomainStrategy,
    FreedomOutboundSettings,
    HttpInboundSettings,
    InboundUserSettings,
    OutboundSettings,
    PolicyLevelSettings,
    PolicySettings,
    VMessInboundSettings,
)
from trio_vmess.core.vmess import parse_user_id
from trio_vmess.dispatch import Connection
from trio_vmess.dns.turns import TURNS_OF_ONE
from trio_vmess.relay import CloseReason

RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER for a close that sends a reset."""
MEBI: Final = 1 << 20
IDLE: Final = 0.3
HANDSHAKE: Final = 0.6
IMPATIENT: Final = PolicySettings(
    levels={0: PolicyLevelSettings(connection_idle=IDLE, handshake=HANDSHAKE)}
)


async def only_connection(node: RunningNode) -> Connection:
    await wait_until(lambda: len(node.node.connections) == 1)
    (connection,) = node.node.connections
    return connection


async def all_ended(*nodes: RunningNode) -> None:
    for node in nodes:
        await wait_until(lambda node=node: not node.node.connections)


# Resets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["connected", "first bytes", "upload", "download"])
async def test_a_program_that_resets(stage: str) -> None:
    async with (
        start_source(64 * MEBI) if stage == "download" else start_silent() as origin,
        start_server_node() as server,
        start_client_node(ClientSpec(server_port=server.port)) as client,
    ):
        stream = await open_socks_stream(client.port, origin.host, origin.port)
        near = await only_connection(client)
        if stage != "connected":
            await stream.send_all(b"hello")
            await only_connection(server)
        if stage == "upload":
            # More than all buffers on the way hold, so that nobody reads from the program.
            with trio.move_on_after(0.2):
                await stream.send_all(pattern(64 * MEBI))
        elif stage == "download":
            await receive_exactly(stream, MEBI)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        await stream.aclose()
        await all_ended(client, server)
        assert near.close_reason is CloseReason.CLIENT_RESET


@pytest.mark.parametrize("ended", ["request", "response"])
async def test_a_program_that_resets_when_one_direction_has_ended(ended: str) -> None:
    is_request = ended == "request"
    async with (
        start_source(64 * MEBI) if is_request else start_source(MEBI, half_close=True) as origin,
        start_server_node() as server,
        start_client_node(ClientSpec(server_port=server.port)) as client,
    ):
        stream = await open_socks_stream(client.port, origin.host, origin.port)
        near = await only_connection(client)
        await stream.send_all(b"hello")
        far = await only_connection(server)
        await receive_exactly(stream, MEBI)
        if is_request:
            await stream.send_eof()
            await receive_exactly(stream, MEBI)
        else:
            assert await stream.receive_some() == b""
            await stream.send_all(b"more")
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        await stream.aclose()
        await all_ended(client, server)
        assert near.close_reason is CloseReason.CLIENT_RESET
        assert far.close_reason is CloseReason.CLIENT_RESET


@asynccontextmanager
async def start_resetting(stage: str) -> AsyncIterator[int]:
    """Give the port of an origin that resets its connections at some stage."""

    async def serve(stream: trio.SocketStream) -> None:
        await receive_exactly(stream, 5)
        if stage == "download":
            await stream.send_all(pattern(MEBI))
        elif stage == "upload":
            for _ in range(20):
                await stream.receive_some(65_536)
        elif stage == "request ended":
            assert await stream.receive_some() == b""
            await stream.send_all(b"half an answer")
        elif stage == "response ended":
            await stream.send_eof()
            await stream.receive_some()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("stage", ["first bytes", "upload", "download"])
async def test_a_destination_that_resets(stage: str) -> None:
    async with (
        start_resetting(stage) as port,
        start_server_node() as server,
        start_client_node(ClientSpec(server_port=server.port)) as client,
        await open_socks_stream(client.port, "127.0.0.1", port) as stream,
    ):
        seen: list[Connection] = []
        try:
            await stream.send_all(b"hell")
            seen.append(await only_connection(server))
            await stream.send_all(b"o")
            if stage == "upload":
                await stream.send_all(pattern(8 * MEBI))
            while await stream.receive_some():
                pass
        except trio.BrokenResourceError:
            pass
        await all_ended(client, server)
        assert seen[0].close_reason is CloseReason.REMOTE_RESET


@pytest.mark.parametrize("ended", ["request", "response"])
async def test_a_destination_that_resets_when_one_direction_has_ended(ended: str) -> None:
    async with (
        start_resetting(f"{ended} ended") as port,
        start_server_node() as server,
        start_client_node(ClientSpec(server_port=server.port)) as client,
        await open_socks_stream(client.port, "127.0.0.1", port) as stream,
    ):
        await stream.send_all(b"hell")
        far = await only_connection(server)
        await stream.send_all(b"o")
        if ended == "request":
            await stream.send_eof()
            # A cut that looked like an end would be another error.
            with pytest.raises(trio.BrokenResourceError):
                await receive_exactly(stream, MEBI)
        else:
            assert await stream.receive_some() == b""
            with pytest.raises(trio.BrokenResourceError):
                await _send_on(stream)
        await all_ended(client, server)
        assert far.close_reason is CloseReason.REMOTE_RESET


async def _send_on(stream: trio.SocketStream) -> None:
    while True:
        await stream.send_all(b"more")
        await trio.sleep(0.01)


# A name server that never answers -----------------------------------------------------------------

OTHER_USER: Final = "c2b0b7a0-3e9f-4b57-9d0c-6f3a2d1e5b48"


def start_resolving_node(name_server: NameServer) -> Running:
    """Run a server with two users, whose names a name server resolves."""
    (inbound,) = vmess_inbounds(ServerSpec())
    protocol = inbound.protocol
    assert isinstance(protocol, VMessInboundSettings)
    other = InboundUserSettings(id=parse_user_id(OTHER_USER), email="other@test.invalid")
    servers = DnsServerSettings(address="127.0.0.1", port=name_server.port)
    return start_node(
        Config(
            inbounds=(
                attrs.evolve(
                    inbound, protocol=attrs.evolve(protocol, users=(*protocol.users, other))
                ),
            ),
            outbounds=(
                OutboundSettings(
                    tag="freedom",
                    protocol=FreedomOutboundSettings(
                        domain_strategy=FreedomDomainStrategy.USE_IP, allow_private=True
                    ),
                ),
            ),
            dns=DnsSettings(servers=(servers,)),
        )
    )


@pytest.mark.limit(30)
async def test_a_name_server_that_never_answers() -> None:
    """More names hang than one user may ask for at a time; another user's are asked for at once."""
    count = TURNS_OF_ONE + 8
    zone = {("origin.test", "A"): ["127.0.0.1"]}
    async with (
        start_echo() as origin,
        start_name_server(zone) as name_server,
        start_resolving_node(name_server) as server,
        start_client_node(ClientSpec(server_port=server.port)) as client,
        start_client_node(ClientSpec(server_port=server.port, user_id=OTHER_USER)) as other,
    ):
        names = [f"hangs-{number}.test" for number in range(count)]
        name_server.silent_names = frozenset(names)
        streams = [await open_socks_stream(client.port, name, 80) for name in names]
        for stream in streams:
            await stream.send_all(b"hello")
        await wait_until(lambda: len(server.node.connections) == count)
        hanging = list(server.node.connections)
        async with await open_socks_stream(other.port, "origin.test", origin.port) as stream:
            await stream.send_all(b"hello")
            assert await receive_exactly(stream, 5) == b"hello"
            assert all(each.close_reason is None for each in hanging)
        for stream in streams:
            await _see_the_end(stream)
            await stream.aclose()
        await all_ended(client, other, server)
        assert {each.close_reason for each in hanging} == {CloseReason.UNREACHABLE}
        assert all("hangs-" in each.fault for each in hanging)


# A server that dies, or never answers -------------------------------------------------------------


@pytest.mark.limit(40)
async def test_a_server_that_is_killed_in_a_transfer() -> None:
    with running_command("server", "--listen", "127.0.0.1", "--allow-private") as server:
        port, user = await trio.to_thread.run_sync(_read_link, server)
        async with (
            start_source(MEBI, half_close=True) as small,
            start_source(256 * MEBI) as origin,
            start_client_node(ClientSpec(server_port=port, user_id=user)) as client,
        ):
            # From the first connection that ends, the client learns that this server says so.
            async with await open_socks_stream(client.port, small.host, small.port) as stream:
                await stream.send_all(b"x")
                await receive_exactly(stream, MEBI)
                assert await stream.receive_some() == b""
            await all_ended(client)
            async with await open_socks_stream(client.port, origin.host, origin.port) as stream:
                near = await only_connection(client)
                await stream.send_all(b"x")
                await receive_exactly(stream, MEBI)
                server.kill()
                with trio.fail_after(10), pytest.raises(trio.BrokenResourceError):
                    await receive_exactly(stream, 256 * MEBI)
            await all_ended(client)
            assert near.close_reason in {CloseReason.REMOTE_RESET, CloseReason.REMOTE_PROTOCOL}


def _read_link(server: "subprocess.Popen[str]") -> tuple[int, str]:
    """Return port and user of a server that has been started from flags."""
    assert server.stdout is not None
    for line in server.stdout:
        if match := re.search(r"link: +vmess://(\S+)", line):
            link = json.loads(base64.b64decode(match[1]))
            return int(link["port"]), link["id"]
    raise AssertionError("the server has printed no link")


async def test_a_server_that_never_answers() -> None:
    async with (
        start_silent() as silent,
        start_client_node(ClientSpec(server_port=silent.port), policy=IMPATIENT) as client,
        await open_socks_stream(client.port, "127.0.0.1", 80) as stream,
    ):
        near = await only_connection(client)
        await stream.send_all(b"hello")
        with trio.fail_after(5):
            await _see_the_end(stream)
        assert near.close_reason is CloseReason.IDLE


async def test_a_destination_that_never_answers() -> None:
    async with (
        start_silent() as silent,
        start_server_node(policy=IMPATIENT) as server,
        start_client_node(ClientSpec(server_port=server.port)) as client,
        await open_socks_stream(client.port, silent.host, silent.port) as stream,
    ):
        await stream.send_all(b"hello")
        far = await only_connection(server)
        with trio.fail_after(5):
            await _see_the_end(stream)
        assert far.close_reason is CloseReason.IDLE


async def _see_the_end(stream: trio.SocketStream) -> None:
    try:
        while await stream.receive_some():
            pass
    except trio.BrokenResourceError:
        pass


# Slow and stalled clients -------------------------------------------------------------------------

SLOW: Final = {
    "vmess": bytes(1000),
    "socks": b"\x05\xff" + bytes(1000),
    "http": b"GET http://127.0.0.1/ HTTP/1.1\r\nX-Long: " + b"x" * 1000,
}


@pytest.mark.parametrize("protocol", SLOW)
async def test_a_client_that_sends_a_byte_at_a_time(protocol: str) -> None:
    """The deadline is that of the whole handshake: a byte now and then does not extend it."""
    proxy = HttpInboundSettings() if protocol == "http" else None
    async with (
        start_server_node(policy=IMPATIENT)
        if protocol == "vmess"
        else start_client_node(ClientSpec(server_port=1), proxy=proxy, policy=IMPATIENT) as node,
        trio.open_nursery() as nursery,
    ):
        begin = trio.current_time()  # before the node can accept: they share a thread
        async with await trio.open_tcp_stream("127.0.0.1", node.port) as stream:

            @nursery.start_soon
            async def drip() -> None:
                try:
                    for byte in SLOW[protocol]:
                        await stream.send_all(bytes((byte,)))
                        await trio.sleep(0.05)
                except trio.BrokenResourceError:
                    pass

            await _see_the_end(stream)
            assert HANDSHAKE <= trio.current_time() - begin < HANDSHAKE + 3
            assert not node.node.connections
            nursery.cancel_scope.cancel()


async def test_stalled_readers_hold_no_more_than_the_kernel_does() -> None:
    """What a program does not read stays at its origin, not in the nodes' memory."""
    count, size = 30, 64 * MEBI
    async with (
        start_source(size) as origin,
        start_server_node() as server,
        start_client_node(ClientSpec(server_port=server.port)) as client,
    ):
        before = resident()
        streams = [
            await open_socks_stream(client.port, origin.host, origin.port) for _ in range(count)
        ]
        for stream in streams:
            await stream.send_all(b"x")
        await wait_until(lambda: len(server.node.connections) == count)
        # Until all that fits into the buffers is there.
        await trio.testing.wait_all_tasks_blocked(0.3)
        assert resident() - before < 2 * MEBI * count
        for stream in streams:
            await stream.aclose()
        await all_ended(client, server)


def resident() -> int:
    """Return the resident bytes of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096
