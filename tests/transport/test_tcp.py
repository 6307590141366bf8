"""What a transport over a socket owes its callers: partial sends, ends, resets, closing, turns."""

import socket
from collections.abc import Callable

import pytest
import trio
import trio.testing

from tests.kit.pattern import pattern
from tests.kit.sockets import reset, tcp_pair, transport_pair
from trio_vmess.transport.tcp import SocketTransport


def loopback_pair() -> tuple[SocketTransport, SocketTransport]:
    near, far = tcp_pair()
    return SocketTransport(near), SocketTransport(far)


Make = Callable[[], tuple[SocketTransport, SocketTransport]]
both_kinds = pytest.mark.parametrize("make", [loopback_pair, transport_pair])


async def receive_all(transport: SocketTransport) -> bytes:
    buffer = memoryview(bytearray(65_536))
    received = bytearray()
    while size := await transport.receive_into(buffer):
        received += buffer[:size]
    return bytes(received)


@both_kinds
async def test_what_does_not_fit_at_once_is_sent_in_parts(make: Make) -> None:
    near, far = make()
    near.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    data = bytearray(pattern(400_000))
    received = b""

    async def receive() -> None:
        nonlocal received
        received = await receive_all(far)

    async def send() -> None:
        await near.send_all(memoryview(data))
        await near.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        # The buffer is the caller's again after the first checkpoint.
        data[:] = bytes(len(data))
        nursery.start_soon(receive)
    assert received == pattern(400_000)


@both_kinds
async def test_the_end_of_one_direction_leaves_the_other(make: Make) -> None:
    near, far = make()
    await near.send_eof()
    assert await receive_all(far) == b""
    assert await receive_all(far) == b""
    await far.send_all(b"still")
    await far.send_all(b"")
    await far.send_eof()
    assert await receive_all(near) == b"still"


async def test_a_reset_breaks_both_directions() -> None:
    near, far = tcp_pair()
    transport = SocketTransport(near)
    buffer = memoryview(bytearray(10))
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def wait() -> None:
            with pytest.raises(trio.BrokenResourceError, match="receiving"):
                await transport.receive_into(buffer)

        await trio.testing.wait_all_tasks_blocked()
        reset(far)
    with pytest.raises(trio.BrokenResourceError, match="sending"):
        await transport.send_all(b"x")
    with pytest.raises(trio.BrokenResourceError, match="half-closing"):
        await transport.send_eof()


async def test_a_reset_breaks_a_send_that_waits() -> None:
    near, far = tcp_pair()
    transport = SocketTransport(near)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            with pytest.raises(trio.BrokenResourceError, match="sending"):
                await transport.send_all(bytes(50_000_000))

        await trio.testing.wait_all_tasks_blocked()
        reset(far)


@both_kinds
@pytest.mark.parametrize("doing", ["receiving", "sending"])
async def test_closing_wakes_who_waits(doing: str, make: Make) -> None:
    near, _far = make()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def wait() -> None:
            buffer = bytearray(50_000_000)
            operation = near.send_all if doing == "sending" else near.receive_into
            with pytest.raises(trio.ClosedResourceError):
                await operation(memoryview(buffer))

        await trio.testing.wait_all_tasks_blocked()
        await near.aclose()


@both_kinds
async def test_a_closed_transport_says_so(make: Make) -> None:
    near, far = make()
    buffer = memoryview(bytearray(10))
    await far.send_all(b"ab")
    await trio.testing.wait_all_tasks_blocked()
    assert await near.receive_into(buffer[:1]) == 1
    for _ in range(2):
        await near.aclose()
    # Once as after a read that waited, and once more: the two ways through.
    for _ in range(2):
        with pytest.raises(trio.ClosedResourceError):
            await near.receive_into(buffer)
    with pytest.raises(trio.ClosedResourceError):
        await near.send_all(b"x")
    with pytest.raises(trio.ClosedResourceError):
        await near.send_eof()


@both_kinds
async def test_closing_works_under_cancellation(make: Make) -> None:
    near, far = make()
    with trio.CancelScope() as scope:
        scope.cancel()
        await near.aclose()
    assert near.socket.fileno() == -1
    assert await receive_all(far) == b""


@both_kinds
async def test_cancelling_a_read_loses_nothing(make: Make) -> None:
    near, far = make()
    buffer = memoryview(bytearray(100))
    for number in range(20):
        with trio.CancelScope() as scope:
            if number % 2:
                scope.cancel()
            else:
                scope.deadline = trio.current_time() + 0.002
            await near.receive_into(buffer)
            raise AssertionError("there was nothing to read")
    await far.send_all(b"all of it")
    await far.send_eof()
    assert await receive_all(near) == b"all of it"


@both_kinds
async def test_a_busy_connection_lets_others_run(make: Make) -> None:
    near, far = make()
    turns = reads = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    buffer = memoryview(bytearray(100))
    await far.send_all(bytes(20_000))
    await trio.testing.wait_all_tasks_blocked(0.01)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        for _ in range(200):
            # There is always something to read: nothing here has to wait.
            assert await near.receive_into(buffer) == 100
            reads += 1
        nursery.cancel_scope.cancel()
    assert turns >= reads * 0.45


@both_kinds
async def test_the_last_bytes_come_with_the_end(make: Make) -> None:
    near, far = make()
    await near.send_all(b"first ")
    await near.send_eof(memoryview(b"last"))
    assert await receive_all(far) == b"first last"
    with pytest.raises(trio.BrokenResourceError, match="sending"):
        await near.send_all(b"x")


@both_kinds
async def test_last_bytes_that_do_not_fit_at_once(make: Make) -> None:
    near, far = make()
    near.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    received = b""

    async def receive() -> None:
        nonlocal received
        received = await receive_all(far)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.send_eof, memoryview(pattern(400_000)))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(receive)
    assert received == pattern(400_000)


async def test_what_has_come_before_is_read_at_once() -> None:
    near, far = tcp_pair()
    far.sendall(b"early")
    transport = SocketTransport(near, is_readable=True)
    buffer = memoryview(bytearray(10))
    with trio.testing.assert_no_checkpoints():
        assert await transport.receive_into(buffer) == 5
    with trio.move_on_after(0) as scope:
        await transport.receive_into(buffer)
    assert scope.cancelled_caught


async def test_what_has_not_come_yet_is_waited_for() -> None:
    near, far = tcp_pair()
    transport = SocketTransport(near, is_readable=True)
    buffer = memoryview(bytearray(10))
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive() -> None:
            assert await transport.receive_into(buffer) == 4

        await trio.testing.wait_all_tasks_blocked()
        far.sendall(b"late")


async def test_the_socket_does_not_block() -> None:
    near, _ = loopback_pair()
    assert not near.socket.getblocking()


async def test_the_address_on_our_side() -> None:
    near, _ = loopback_pair()
    local = near.local
    assert local is not None
    assert (str(local.host), local.port) == near.socket.getsockname()
    await near.aclose()
    assert near.local is None
    unix, _ = transport_pair()
    assert unix.local is None
