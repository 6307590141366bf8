"""How a relay ends after a fault, and to which side it attributes the fault."""

import contextlib
from collections.abc import Callable

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.kit.remote_ends import (
    plain_side,
    vmess_client_side,
    vmess_server_side,
)
from tests.kit.sockets import reset, tcp_pair
from tests.relay.running import running
from trio_vmess.contracts import StreamSide
from trio_vmess.core.vmess import Security
from trio_vmess.relay import CloseReason
from trio_vmess.transport.tcp import SocketTransport


@pytest.mark.parametrize("who", ["client", "origin"])
@pytest.mark.parametrize("doing", ["receiving", "sending"])
async def test_a_reset_is_attributed_to_the_side_that_sent_it(who: str, doing: str) -> None:
    client_side_socket, client = tcp_pair()
    remote_side_socket, origin = tcp_pair()
    client_side = StreamSide(transport=SocketTransport(client_side_socket))
    remote_side = StreamSide(transport=SocketTransport(remote_side_socket))
    async with running(client_side, remote_side) as relay:
        # Earlier successful reads and sends must not affect the result.
        for speaker, listener in ((client, origin), (origin, client)):
            speaker.sendall(b"hello")
            await trio.lowlevel.wait_readable(listener)
            assert listener.recv(10) == b"hello"
        if doing == "receiving":
            reset(client if who == "client" else origin)
        else:
            # The relay is sending to the side that resets, so the send fails.
            victim, other = (client, origin) if who == "client" else (origin, client)
            other_end = SocketTransport(other)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send_until_broken, other_end)
                await trio.testing.wait_all_tasks_blocked(0.01)
                reset(victim)
        await relay.ended.wait()
    for sock in (client, origin):
        sock.close()
    assert relay.result == (
        CloseReason.CLIENT_RESET if who == "client" else CloseReason.REMOTE_RESET,
        "",
    )


async def send_until_broken(transport: SocketTransport) -> None:
    """Send without end to somebody who does not read; the connection breaks in the end."""
    with contextlib.suppress(trio.BrokenResourceError):
        while True:
            await transport.send_all(bytes(1 << 20))


class SilentBrokenTransport:
    """Receives nothing, and fails when it sends."""

    async def receive_into(self, buffer: memoryview, /) -> int:
        """Wait for ever."""
        await trio.sleep_forever()
        return 0

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """Break."""
        await trio.lowlevel.checkpoint()
        raise trio.BrokenResourceError("reset")

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        """Break."""
        raise trio.BrokenResourceError("reset")

    async def aclose(self) -> None:
        """Do nothing."""
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("early", [b"", b"payload"])
async def test_a_remote_reset_while_sending_the_header(
    early: bytes, autojump_clock: MockClock
) -> None:
    client_side, _client = plain_side()
    remote_side, _server = vmess_client_side()
    client_side.early = early
    remote_side.transport = SilentBrokenTransport()
    async with running(client_side, remote_side) as relay:
        await relay.ended.wait()
    assert relay.result == (CloseReason.REMOTE_RESET, "")


async def test_a_client_reset_while_sending_the_end(
    autojump_clock: MockClock,
) -> None:
    client_side, _client = plain_side()
    remote_side, origin = plain_side()
    client_side.transport = SilentBrokenTransport()
    await origin.send_eof()
    async with running(client_side, remote_side) as relay:
        await relay.ended.wait()
    assert relay.result == (CloseReason.CLIENT_RESET, "")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda wire: wire[:-1] + bytes([wire[-1] ^ 1]), "wrong checksum"),
        (lambda wire: wire[:-1], "cut off inside a chunk"),
    ],
    ids=["flipped", "truncated"],
)
async def test_a_client_that_breaks_the_protocol(
    damage: Callable[[bytes], bytes], sentence: str, autojump_clock: MockClock
) -> None:
    # Security none has no padding, CFB has a checksum in front: the last byte is payload.
    client_side, client = vmess_server_side(Security.AES_128_CFB)
    remote_side, origin = plain_side()
    async with running(client_side, remote_side) as relay:
        await client.transport.send_all(damage(client.seal(b"payload")))
        await client.transport.send_eof()
        await relay.ended.wait()
        assert await origin.receive_all() == b""
    assert relay.result is not None
    assert relay.result[0] is CloseReason.CLIENT_PROTOCOL
    assert sentence in relay.result[1]


async def test_a_server_that_breaks_the_protocol(autojump_clock: MockClock) -> None:
    client_side, client = plain_side()
    remote_side, server = vmess_client_side()
    async with running(client_side, remote_side) as relay:
        await client.send(b"hello")
        await server.receive_exactly(5)
        await server.transport.send_all(bytes(100))
        await relay.ended.wait()
        assert await client.receive_all() == b""
    assert relay.result is not None
    assert relay.result[0] is CloseReason.REMOTE_PROTOCOL
    assert relay.result[1]


async def test_a_server_that_closes_without_a_response_broke_the_protocol(
    autojump_clock: MockClock,
) -> None:
    client_side, client = plain_side()
    remote_side, server = vmess_client_side()
    async with running(client_side, remote_side) as relay:
        await client.send(b"hello")
        await server.transport.send_eof()
        await relay.ended.wait()
    assert relay.result is not None
    assert relay.result[0] is CloseReason.REMOTE_PROTOCOL
    assert "closed the connection without an answer" in relay.result[1]


async def test_exceptions_that_are_not_the_peers_fault_are_raised(
    autojump_clock: MockClock,
) -> None:
    class Bug(SilentBrokenTransport):
        async def receive_into(self, buffer: memoryview, /) -> int:
            raise RuntimeError("a bug")

    client_side, _ = plain_side()
    remote_side, _ = plain_side()
    remote_side.transport = Bug()
    with pytest.raises(ExceptionGroup) as caught:
        async with running(client_side, remote_side):
            await trio.sleep_forever()
    assert caught.value.split(RuntimeError)[1] is None
