"""TLS over a transport: bytes, ends, cuts, memory, and two tasks that send."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from tests.kit.certificates import authority, issue
from tests.kit.pattern import pattern
from tests.kit.remote_ends import memory_pair
from tests.kit.sockets import transport_pair
from trio_vmess.contracts import Transport
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.transport.layer import TransportLayer
from trio_vmess.transport.tls import PIECE, TlsBuffers, TlsTransport

BUFFERS = TlsBuffers()
NAME = "server.example"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issue(NAME).configure_cert(context)
    return context


def client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    return context


def tls_pair(
    below: tuple[Transport, Transport], version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> tuple[TlsTransport, TlsTransport]:
    context = client_context()
    context.maximum_version = version
    client = TlsTransport(below[0], context, server_name=NAME, buffers=BUFFERS)
    return client, TlsTransport(below[1], server_context(), buffers=BUFFERS)


@asynccontextmanager
async def open_pair(
    below: tuple[Transport, Transport], version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> AsyncIterator[tuple[TlsTransport, TlsTransport]]:
    client, server = tls_pair(below, version)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.handshake)
        nursery.start_soon(server.handshake)
    yield client, server
    await client.aclose()
    await server.aclose()


class CountingTransport(TransportLayer):
    """Another transport, with how often something was sent, and how much was asked for."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self.count = 0
        self.asked: list[int] = []

    async def receive_into(self, buffer: memoryview, /) -> int:
        self.asked.append(len(buffer))
        return await super().receive_into(buffer)

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        self.count += 1
        await super().send_all(data)


async def receive(transport: Transport, size: int = 65_536) -> bytes:
    buffer = memoryview(bytearray(size))
    return bytes(buffer[: await transport.receive_into(buffer)])


async def receive_all(transport: Transport, size: int = 65_536) -> bytes:
    received = bytearray()
    while data := await receive(transport, size):
        received += data
    return bytes(received)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("read_size", [1000, 65_536, 524_288])
async def test_bytes_arrive_in_both_directions(version: ssl.TLSVersion, read_size: int) -> None:
    data = pattern(1_500_000)
    async with open_pair(transport_pair(), version) as pair:
        assert pair[0].tls.version() == {VERSIONS[0]: "TLSv1.2", VERSIONS[1]: "TLSv1.3"}[version]
        async with trio.open_nursery() as nursery:

            async def send(transport: Transport) -> None:
                for start in range(0, len(data), 500_000):
                    await transport.send_all(memoryview(data)[start : start + 500_000])
                await transport.send_eof()

            for each in pair:
                nursery.start_soon(send, each)
            for each in pair:
                assert await receive_all(each, read_size) == data


@pytest.mark.parametrize(("sends_next", "sends"), [(False, 3), (True, 2)])
async def test_the_end_of_a_handshake_may_share_a_packet_with_data(
    sends_next: bool, sends: int
) -> None:
    ours, theirs = memory_pair()
    counted = CountingTransport(ours)
    client, server = tls_pair((counted, theirs))

    async def shake_and_send() -> None:
        await client.handshake(sends_next=sends_next)
        await client.send_all(b"hello")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shake_and_send)
        await server.handshake()
        assert await receive(server) == b"hello"
    assert counted.count == sends
    await client.aclose()
    await server.aclose()


async def test_the_end_of_a_handshake_does_not_wait_for_data_that_never_comes() -> None:
    client, server = tls_pair(memory_pair())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.handshake)
        await client.handshake(sends_next=True)
        nursery.start_soon(receive, client)
        await trio.testing.wait_all_tasks_blocked()
        await server.send_all(b"hello")
    await client.aclose()
    await server.aclose()


async def test_the_end_is_announced_once() -> None:
    ours, theirs = memory_pair()
    counted = CountingTransport(ours)
    async with open_pair((counted, theirs)) as (client, _):
        before = counted.count
        await client.aclose()
        await client.aclose()
        assert counted.count == before + 1


async def test_more_than_the_shared_buffer_at_once() -> None:
    data = pattern(len(BUFFERS.sealed))
    async with open_pair(memory_pair()) as (client, server):
        await client.send_all(data)
        await client.send_eof()
        assert await receive_all(server, 524_288) == data


async def test_data_is_not_looked_at_after_the_first_checkpoint() -> None:
    async with open_pair(transport_pair(buffer_size=4096)) as (client, server):
        data = bytearray(pattern(300_000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, data)
            await trio.testing.wait_all_tasks_blocked()
            data[:] = bytes(len(data))
            received = bytearray()
            while len(received) < len(data):
                received += await receive(server)
        assert received == pattern(300_000)


@pytest.mark.parametrize("version", VERSIONS)
async def test_one_direction_ends_and_the_other_goes_on(version: ssl.TLSVersion) -> None:
    async with open_pair(memory_pair(), version) as (client, server):
        await client.send_eof()
        assert await receive(server) == b""
        assert await receive(server) == b""
        await server.send_all(b"still here")
        assert await receive(client) == b"still here"


async def test_last_bytes_are_an_end_of_their_own() -> None:
    # A web server on the way would close both directions for a close_notify.
    below = memory_pair()
    async with open_pair(below) as (client, server):
        await client.send_eof(b"bye")
        assert await receive(server) == b"bye"
        with trio.move_on_after(0) as waiting:
            await trio.testing.wait_all_tasks_blocked()
            await receive(server)
        assert waiting.cancelled_caught


async def test_closing_announces_the_end() -> None:
    async with open_pair(memory_pair()) as (client, server):
        await server.aclose()
        assert await receive(client) == b""


async def test_closing_does_not_wait_for_a_peer_that_does_not_read() -> None:
    client, server = tls_pair(transport_pair(buffer_size=4096))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.handshake)
        nursery.start_soon(server.handshake)
    with trio.move_on_after(0.01):
        await client.send_all(bytes(1 << 20))
    await client.aclose()
    await server.aclose()


async def test_an_end_without_close_notify_is_an_end() -> None:
    below = memory_pair()
    async with open_pair(below) as (client, server):
        await client.send_all(b"last words")
        await below[0].aclose()
        assert await receive_all(server) == b"last words"


async def test_a_damaged_record_is_an_error_once_and_an_end_then() -> None:
    below = memory_pair()
    async with open_pair(below) as (_, server):
        await below[0].send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(RemoteProtocolError, match="TLS: "):
            await receive(server)
        assert await receive(server) == b""


async def test_what_came_before_a_damaged_record_is_delivered() -> None:
    below = memory_pair()
    async with open_pair(below) as (client, server):
        await client.send_all(b"good")
        await below[0].send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
        assert await receive(server) == b"good"


async def test_the_first_data_may_come_with_the_last_of_the_handshake() -> None:
    client, server = tls_pair(memory_pair())
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def speak_first() -> None:
            await client.handshake()
            await client.send_all(b"at once")

        await server.handshake()
    assert await receive(server) == b"at once"
    await client.aclose()
    await server.aclose()


async def test_the_end_of_the_connection_in_the_handshake() -> None:
    below = memory_pair()
    _, server = tls_pair(below)
    await below[0].send_all(b"\x16\x03\x01")
    await below[0].send_eof()
    with pytest.raises(trio.BrokenResourceError, match="handshake"):
        await server.handshake()


async def test_a_stranger_gets_an_alert() -> None:
    below = memory_pair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody
    client = TlsTransport(below[0], context, server_name=NAME, buffers=BUFFERS)
    server = TlsTransport(below[1], server_context(), buffers=BUFFERS)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def refuse() -> None:
            with pytest.raises(ssl.SSLCertVerificationError):
                await client.handshake()

        with pytest.raises(ssl.SSLError, match="unknown ca"):
            await server.handshake()


async def test_a_read_that_is_cancelled_loses_nothing() -> None:
    below = memory_pair()
    async with open_pair(below) as (client, server):
        with trio.move_on_after(0):
            await receive(server)
        await client.send_all(b"later")
        assert await receive(server) == b"later"


async def test_busy_connections_do_not_hold_what_they_have_moved() -> None:
    """OpenSSL's buffers never shrink; a read of the largest size must not go through them whole."""
    async with open_pair(memory_pair()) as (client, server):
        largest = 0
        incoming = server._incoming

        class Spy:
            def write(self, data: memoryview) -> int:
                nonlocal largest
                largest = max(largest, len(data))
                return incoming.write(data)

        server._incoming = Spy()  # type: ignore[assignment]
        await client.send_all(pattern(500_000))
        await client.send_eof()
        assert len(await receive_all(server, 524_288)) == 500_000
        assert largest == PIECE


async def test_no_more_is_read_below_than_is_asked_for() -> None:
    """So a relay that reads little beside keystrokes does so over TLS, too."""
    ours, theirs = memory_pair()
    below = CountingTransport(ours)
    async with open_pair((below, theirs)) as (client, server):
        await server.send_all(bytes(600_000))
        for size in (400_000, 60_000):
            below.asked.clear()
            received = await client.receive_into(memoryview(bytearray(size)))
            assert below.asked == [size]
            assert received > size / 2
