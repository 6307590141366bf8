"""Refused connections without tasks: how fast they are read, and how they end."""

import array
import contextlib
import errno
import fcntl
import selectors
import socket
import termios
from collections.abc import AsyncGenerator, Generator

import pytest
import trio
import trio.testing

from tests.kit.remote_ends import memory_pair
from tests.kit.sockets import close_sockets, reset, tcp_pair, transport_pair
from trio_vmess.inbound import silent_reader
from trio_vmess.inbound.refused import RefusedConnections
from trio_vmess.inbound.silent_reader import (
    FREE_SIZE,
    READ_PAUSE,
    READ_SIZE,
    RECEIVE_BUFFER_SIZE,
    Silenced,
    SilentReader,
)
from trio_vmess.transport import SocketTransport

SOURCE = "192.0.2.1:5000"
DEADLINE = 60.0
MORE_THAN_A_PAUSE = READ_PAUSE * 1.2


@pytest.fixture(autouse=True)
def _sockets() -> Generator[None]:  # pyright: ignore[reportUnusedFunction]
    yield
    close_sockets()


@contextlib.asynccontextmanager
async def running(refused: RefusedConnections) -> AsyncGenerator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(refused.run)
        yield
        nursery.cancel_scope.cancel()


def take_over(
    refused: RefusedConnections, *, source: str = SOURCE, after: float = DEADLINE
) -> tuple[socket.socket, socket.socket]:
    """Have a connection taken over; return its socket and that of its peer."""
    ours, theirs = transport_pair()
    sock = ours.socket
    assert refused.take_over(ours, source, trio.current_time() + after)
    return sock, theirs.socket


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked(0.01)


def unread(sock: socket.socket) -> int:
    """Return how many bytes have arrived and were not read."""
    count = array.array("i", [0])
    fcntl.ioctl(sock, termios.FIONREAD, count)
    return count[0]


def is_closed(peer: socket.socket) -> bool:
    """Tell whether the other end was closed, without a byte in answer."""
    try:
        assert peer.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        # Closed with bytes that nobody has read.
        return True
    return True


async def test_the_first_bytes_are_read_at_once_and_the_rest_slowly(
    mock_clock: trio.testing.MockClock,
) -> None:
    refused = RefusedConnections()
    async with running(refused):
        sock, peer = take_over(refused)
        peer.sendall(bytes(FREE_SIZE + 1 + 3 * READ_SIZE))
        peer.shutdown(socket.SHUT_WR)
        for left in (3, 2, 1, 0):
            await settle()
            assert unread(sock) == left * READ_SIZE
            assert not is_closed(peer)
            mock_clock.jump(MORE_THAN_A_PAUSE)
        await settle()
        assert is_closed(peer)
        assert len(refused) == 0


async def test_an_end_behind_few_bytes_is_seen_at_once(mock_clock: trio.testing.MockClock) -> None:
    refused = RefusedConnections()
    async with running(refused):
        _, peer = take_over(refused)
        for _ in range(4):
            peer.sendall(bytes(4000))
            await settle()
            assert not is_closed(peer)
        peer.shutdown(socket.SHUT_WR)
        await settle()
        assert is_closed(peer)


async def test_a_slow_stranger_that_falls_silent_is_waited_for(
    mock_clock: trio.testing.MockClock,
) -> None:
    refused = RefusedConnections()
    async with running(refused):
        sock, peer = take_over(refused)
        peer.sendall(bytes(FREE_SIZE + 1))
        await settle()
        mock_clock.jump(MORE_THAN_A_PAUSE)
        await settle()
        peer.sendall(b"more")
        await settle()
        assert unread(sock) == 0
        peer.shutdown(socket.SHUT_WR)
        await settle()
        assert not is_closed(peer)
        mock_clock.jump(MORE_THAN_A_PAUSE)
        await settle()
        assert is_closed(peer)


async def test_each_is_closed_at_its_deadline(mock_clock: trio.testing.MockClock) -> None:
    refused = RefusedConnections()
    async with running(refused):
        _, late = take_over(refused, after=9)
        await settle()
        _, early = take_over(refused, after=5)
        late.sendall(bytes(FREE_SIZE + READ_SIZE))
        mock_clock.jump(4.9)
        await settle()
        assert not is_closed(early)
        mock_clock.jump(0.1)
        await settle()
        assert is_closed(early)
        assert not is_closed(late)
        mock_clock.jump(4)
        await settle()
        assert is_closed(late)
        assert len(refused) == 0


async def test_a_reset_ends_it(mock_clock: trio.testing.MockClock) -> None:
    refused = RefusedConnections()
    async with running(refused):
        sock, peer = tcp_pair()
        assert refused.take_over(SocketTransport(sock), SOURCE, DEADLINE)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) <= 2 * RECEIVE_BUFFER_SIZE
        reset(peer)
        await settle()
        assert sock.fileno() < 0
        assert len(refused) == 0


async def test_beyond_the_bounds_the_oldest_goes(mock_clock: trio.testing.MockClock) -> None:
    refused = RefusedConnections(held_max=3, held_per_source_max=2)
    async with running(refused):
        first, second, third = [take_over(refused)[1] for _ in range(3)]
        assert [is_closed(each) for each in (first, second, third)] == [True, False, False]
        for number in (2, 3):
            take_over(refused, source=f"192.0.2.{number}:1")
        assert [is_closed(each) for each in (second, third)] == [True, False]
        assert len(refused) == 3
    assert is_closed(third)
    assert not refused._by_source


async def test_its_task_sees_a_closed_transport(mock_clock: trio.testing.MockClock) -> None:
    refused = RefusedConnections()
    async with running(refused):
        ours, theirs = transport_pair()
        assert refused.take_over(ours, SOURCE, DEADLINE)
        await ours.aclose()
        await settle()
        assert not is_closed(theirs.socket)


async def test_only_sockets_are_taken_over_and_only_while_it_runs() -> None:
    refused = RefusedConnections()
    ours, _ = transport_pair()
    assert not refused.take_over(ours, SOURCE, DEADLINE)
    async with running(refused):
        memory, _ = memory_pair()
        assert not refused.take_over(memory, SOURCE, DEADLINE)
    assert not refused.take_over(ours, SOURCE, DEADLINE)
    assert len(refused) == 0


async def test_without_a_descriptor_for_the_selector_it_is_left_to_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(silent_reader.selectors, "DefaultSelector", selectors.SelectSelector)
    reader = SilentReader(lambda _connection: None)
    async with trio.open_nursery() as nursery:
        await nursery.start(reader.run)
    assert not reader.is_running


async def test_a_connection_that_cannot_be_watched_ends_alone() -> None:
    class Full(selectors.DefaultSelector):
        def register(self, *_: object) -> selectors.SelectorKey:
            raise OSError(errno.ENOSPC, "too many watches")

    ended: list[Silenced] = []
    reader = SilentReader(ended.append)
    transport, peer = transport_pair()
    with Full() as reader._selector:
        reader.add(Silenced(transport, SOURCE, DEADLINE))
    assert [each.transport for each in ended] == [transport]
    assert is_closed(peer.socket)
