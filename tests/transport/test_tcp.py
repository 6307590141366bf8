"""Transports over sockets: partial sends, half-close, resets, closing, fairness."""

import socket
import sys
from collections.abc import Callable

import pytest
import trio
import trio.testing

from tests.kit.pattern import pattern
from tests.kit.sockets import reset, tcp_pair, transport_pair
from tests.kit.waiting import wait_until
from trio_vmess.transport.tcp import SocketTransport


def loopback_pair() -> tuple[SocketTransport, SocketTransport]:
    sock, peer = tcp_pair()
    return SocketTransport(sock), SocketTransport(peer)


Make = Callable[[], tuple[SocketTransport, SocketTransport]]
both_kinds = pytest.mark.parametrize("make", [loopback_pair, transport_pair])


async def receive_all(transport: SocketTransport) -> bytes:
    buffer = memoryview(bytearray(65_536))
    received = bytearray()
    while size := await transport.receive_into(buffer):
        received += buffer[:size]
    return bytes(received)


@both_kinds
@pytest.mark.parametrize("size", [None, 1000, 100], ids=["whole", "pieces", "many pieces"])
async def test_what_does_not_fit_at_once_is_sent_in_parts(make: Make, size: int | None) -> None:
    transport, peer = make()
    transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    data = bytearray(pattern(400_000))
    received = b""

    async def receive() -> None:
        nonlocal received
        received = await receive_all(peer)

    async def send() -> None:
        view = memoryview(data)
        if size is None:
            await transport.send_all(view)
        else:
            await transport.send_pieces([view[at : at + size] for at in range(0, len(view), size)])
        await transport.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        # The buffer is the caller's again after the first checkpoint.
        data[:] = bytes(len(data))
        nursery.start_soon(receive)
    assert received == pattern(400_000)


@both_kinds
async def test_pieces_arrive_behind_each_other(make: Make) -> None:
    transport, peer = make()
    await transport.send_pieces([])
    await transport.send_pieces([b"a", memoryview(b"bcd")[1:], b"", b"e"])
    await transport.send_eof()
    assert await receive_all(peer) == b"acde"


@both_kinds
async def test_the_end_of_one_direction_leaves_the_other(make: Make) -> None:
    transport, peer = make()
    await transport.send_eof()
    assert await receive_all(peer) == b""
    assert await receive_all(peer) == b""
    await peer.send_all(b"still")
    await peer.send_all(b"")
    await peer.send_eof()
    assert await receive_all(transport) == b"still"


async def test_a_reset_breaks_both_directions() -> None:
    sock, peer = tcp_pair()
    transport = SocketTransport(sock)
    buffer = memoryview(bytearray(10))
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def wait() -> None:
            with pytest.raises(trio.BrokenResourceError, match="receiving"):
                await transport.receive_into(buffer)

        await trio.testing.wait_all_tasks_blocked()
        reset(peer)
    with pytest.raises(trio.BrokenResourceError, match="sending"):
        await transport.send_all(b"x")
    with pytest.raises(trio.BrokenResourceError, match="sending"):
        await transport.send_pieces([b"x", b"y"])
    with pytest.raises(trio.BrokenResourceError, match="half-closing"):
        await transport.send_eof()


@pytest.mark.skipif(sys.platform == "win32", reason="the system does not tell")
async def test_a_reset_shows_behind_bytes_that_nobody_reads() -> None:
    ours, theirs = loopback_pair()
    await theirs.send_all(b"unread")
    assert not ours.is_reset
    await theirs.abort()
    await wait_until(lambda: ours.is_reset)
    await ours.aclose()
    assert not ours.is_reset


async def test_an_end_is_no_reset() -> None:
    ours, theirs = loopback_pair()
    await theirs.send_all(b"unread")
    await theirs.aclose()
    await ours.receive_into(memoryview(bytearray(6)))
    assert not ours.is_reset
    await ours.aclose()


async def test_a_reset_breaks_a_send_that_waits() -> None:
    sock, peer = tcp_pair()
    transport = SocketTransport(sock)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            with pytest.raises(trio.BrokenResourceError, match="sending"):
                await transport.send_all(bytes(50_000_000))

        await trio.testing.wait_all_tasks_blocked()
        reset(peer)


@both_kinds
@pytest.mark.parametrize("doing", ["receiving", "sending"])
async def test_closing_wakes_who_waits(doing: str, make: Make) -> None:
    transport, _peer = make()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def wait() -> None:
            buffer = bytearray(50_000_000)
            operation = transport.send_all if doing == "sending" else transport.receive_into
            with pytest.raises(trio.ClosedResourceError):
                await operation(memoryview(buffer))

        await trio.testing.wait_all_tasks_blocked()
        await transport.aclose()


@both_kinds
async def test_a_closed_transport_raises_closed_resource_error(make: Make) -> None:
    transport, peer = make()
    buffer = memoryview(bytearray(10))
    await peer.send_all(b"ab")
    await trio.testing.wait_all_tasks_blocked()
    assert await transport.receive_into(buffer[:1]) == 1
    for _ in range(2):
        await transport.aclose()
    # Every call raises it, not only the first one.
    for _ in range(2):
        with pytest.raises(trio.ClosedResourceError):
            await transport.receive_into(buffer)
    with pytest.raises(trio.ClosedResourceError):
        await transport.send_all(b"x")
    with pytest.raises(trio.ClosedResourceError):
        await transport.send_eof()


@both_kinds
async def test_closing_works_under_cancellation(make: Make) -> None:
    transport, peer = make()
    with trio.CancelScope() as scope:
        scope.cancel()
        await transport.aclose()
    assert transport.socket.fileno() == -1
    assert await receive_all(peer) == b""


@both_kinds
async def test_cancelling_a_read_loses_nothing(make: Make) -> None:
    transport, peer = make()
    buffer = memoryview(bytearray(100))
    for number in range(20):
        with trio.CancelScope() as scope:
            if number % 2:
                scope.cancel()
            else:
                scope.deadline = trio.current_time() + 0.002
            await transport.receive_into(buffer)
            raise AssertionError("there was nothing to read")
    await peer.send_all(b"all of it")
    await peer.send_eof()
    assert await receive_all(transport) == b"all of it"


@both_kinds
async def test_a_busy_connection_lets_others_run(make: Make) -> None:
    transport, peer = make()
    turns = reads = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    buffer = memoryview(bytearray(100))
    await peer.send_all(bytes(20_000))
    await trio.testing.wait_all_tasks_blocked(0.01)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        for _ in range(200):
            # There is always something to read: nothing here has to wait.
            assert await transport.receive_into(buffer) == 100
            reads += 1
        nursery.cancel_scope.cancel()
    assert turns >= reads * 0.45


@both_kinds
async def test_the_last_bytes_come_with_the_end(make: Make) -> None:
    transport, peer = make()
    await transport.send_all(b"first ")
    await transport.send_eof(memoryview(b"last"))
    assert await receive_all(peer) == b"first last"
    with pytest.raises(trio.BrokenResourceError, match="sending"):
        await transport.send_all(b"x")


@both_kinds
async def test_last_bytes_that_do_not_fit_at_once(make: Make) -> None:
    transport, peer = make()
    transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    received = b""

    async def receive() -> None:
        nonlocal received
        received = await receive_all(peer)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.send_eof, memoryview(pattern(400_000)))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(receive)
    assert received == pattern(400_000)


async def test_bytes_already_received_are_read_without_waiting() -> None:
    sock, peer = tcp_pair()
    peer.sendall(b"early")
    transport = SocketTransport(sock, is_readable=True)
    buffer = memoryview(bytearray(10))
    with trio.testing.assert_no_checkpoints():
        assert await transport.receive_into(buffer) == 5
    with trio.move_on_after(0) as scope:
        await transport.receive_into(buffer)
    assert scope.cancelled_caught


async def test_bytes_not_yet_received_are_waited_for() -> None:
    sock, peer = tcp_pair()
    transport = SocketTransport(sock, is_readable=True)
    buffer = memoryview(bytearray(10))
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive() -> None:
            assert await transport.receive_into(buffer) == 4

        await trio.testing.wait_all_tasks_blocked()
        peer.sendall(b"late")


async def test_the_socket_does_not_block() -> None:
    transport, _ = loopback_pair()
    assert not transport.socket.getblocking()


async def test_the_local_address() -> None:
    transport, _ = loopback_pair()
    local = transport.local
    assert local is not None
    assert (str(local.host), local.port) == transport.socket.getsockname()
    await transport.aclose()
    assert transport.local is None
    unix, _ = transport_pair()
    assert unix.local is None


async def test_a_limit_of_the_receive_buffer_that_is_lifted_leaves_no_trace() -> None:
    def held(sock: socket.socket) -> int:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    sock, peer = tcp_pair()
    transport, sender = SocketTransport(sock), SocketTransport(peer)
    free = held(sock)
    transport.limit_receive_buffer(4096)
    assert held(sock) <= 4 * 4096
    # A small buffer that overflows has Linux lower the window for good.
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.send_all, pattern(8_000_000))
        await trio.testing.wait_all_tasks_blocked(0.05)
        transport.limit_receive_buffer(None)
        assert held(sock) >= free
        received = 0
        buffer = memoryview(bytearray(65_536))
        while received < 8_000_000:
            received += await transport.receive_into(buffer)
    if hasattr(socket, "TCP_WINDOW_CLAMP"):
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP) > 100_000
    await transport.aclose()
    await sender.aclose()


async def sendable_size(*, limit: int | None) -> int:
    """Return how much is taken for a peer that reads nothing."""
    sock, peer = tcp_pair()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    transport = SocketTransport(sock)
    if limit is not None:
        transport.limit_unsent(limit)
    size = 0
    with trio.move_on_after(0.05):
        while True:
            await transport.send_all(bytes(4096))
            size += 4096
    await transport.abort()
    peer.close()
    return size


@pytest.mark.skipif(sys.platform != "linux", reason="others count differently")
async def test_what_is_not_sent_yet_can_be_limited() -> None:
    free = await sendable_size(limit=None)
    assert await sendable_size(limit=16_384) < free / 4


@both_kinds
async def test_a_closed_transport_has_nothing_to_limit(make: Make) -> None:
    transport, peer = make()
    await transport.aclose()
    transport.limit_unsent(4096)
    transport.limit_receive_buffer(4096)
    transport.limit_receive_buffer(None)
    await peer.aclose()


@both_kinds
async def test_what_has_arrived_is_received_without_waiting(make: Make) -> None:
    transport, peer = make()
    buffer = memoryview(bytearray(10))
    with trio.testing.assert_no_checkpoints():
        assert transport.receive_now(buffer) is None
        peer.socket.sendall(b"data")
        peer.socket.shutdown(socket.SHUT_WR)
        assert transport.receive_now(buffer) == 4
        assert transport.receive_now(buffer) == 0
    transport.close()
    with pytest.raises(trio.ClosedResourceError):
        transport.receive_now(buffer)


async def test_a_reset_breaks_receiving_without_waiting() -> None:
    sock, peer = tcp_pair()
    reset(peer)
    with pytest.raises(trio.BrokenResourceError, match="receiving"):
        SocketTransport(sock).receive_now(memoryview(bytearray(10)))


@both_kinds
async def test_a_detached_socket_goes_on_in_another_transport(make: Make) -> None:
    transport, peer = make()
    local = transport.local
    taken = transport.detach()
    await transport.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await transport.send_all(b"lost")
    await taken.send_all(b"kept")
    await taken.send_eof()
    assert await receive_all(peer) == b"kept"
    assert taken.local == local


async def test_a_close_is_told_once_by_the_last_owner() -> None:
    sock, _ = tcp_pair()
    told: list[str] = []
    transport = SocketTransport(sock, on_close=lambda: told.append("closed"))
    taken = transport.detach()
    await transport.aclose()
    assert told == []
    taken.close()
    await taken.aclose()
    assert told == ["closed"]
