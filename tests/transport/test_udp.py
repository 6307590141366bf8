"""A UDP socket that is read in batches, over loopback."""

import socket
from collections.abc import Iterator

import pytest
import trio

from trio_vmess.transport.udp import BATCH_COUNT, DatagramSocket


def bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with bound() as sock:
        sock.settimeout(5)
        yield sock


async def test_batches_keep_order_and_senders(peer: socket.socket) -> None:
    datagrams = DatagramSocket(bound())
    address = datagrams.socket.getsockname()
    for number in range(BATCH_COUNT + 10):
        peer.sendto(b"%d" % number, address)
    first = await datagrams.receive()
    second = await datagrams.receive()
    assert (len(first), len(second)) == (BATCH_COUNT, 10)
    sender = peer.getsockname()
    assert first + second == [(b"%d" % number, sender) for number in range(BATCH_COUNT + 10)]
    datagrams.close()


async def test_empty_and_large_datagrams(peer: socket.socket) -> None:
    datagrams = DatagramSocket(bound())
    address = datagrams.socket.getsockname()
    large = bytes(65_507)
    assert datagrams.send([large], peer.getsockname()) == 0
    assert peer.recvfrom(70_000) == (large, address)
    peer.sendto(b"", address)
    assert await datagrams.receive() == [(b"", peer.getsockname())]
    too_large = [b"a", bytes(65_508), b"b"]
    assert datagrams.send(too_large, peer.getsockname()) == 1
    assert (peer.recv(10), peer.recv(10)) == (b"a", b"b")
    datagrams.close()


async def test_a_connected_socket_sends_and_receives_in_batches(peer: socket.socket) -> None:
    datagrams = DatagramSocket(bound())
    datagrams.socket.connect(peer.getsockname())
    assert datagrams.send([b"one", b"", b"two"]) == 0
    assert [peer.recv(10) for _ in range(3)] == [b"one", b"", b"two"]
    for number in range(BATCH_COUNT + 1):
        peer.sendto(b"%d" % number, datagrams.socket.getsockname())
    received = await datagrams.receive_connected() + await datagrams.receive_connected()
    assert received == [b"%d" % number for number in range(BATCH_COUNT + 1)]
    datagrams.close()


async def test_receive_waits_for_a_datagram(peer: socket.socket) -> None:
    datagrams = DatagramSocket(bound())
    with trio.move_on_after(0.02) as scope:
        await datagrams.receive()
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send_later() -> None:
            await trio.sleep(0.01)
            peer.sendto(b"late", datagrams.socket.getsockname())

        assert await datagrams.receive() == [(b"late", peer.getsockname())]
    datagrams.close()


async def test_a_port_where_nobody_listens_breaks_nothing() -> None:
    with bound() as gone:
        address = gone.getsockname()
    datagrams = DatagramSocket(bound())
    datagrams.socket.connect(address)
    # The system reports it while we wait.
    assert datagrams.send([b"one"]) == 0
    with trio.move_on_after(0.02):
        await datagrams.receive()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
        back.bind(address)
        back.sendto(b"here", datagrams.socket.getsockname())
        assert await datagrams.receive() == [(b"here", address)]
    datagrams.close()


async def test_closing_wakes_who_waits() -> None:
    datagrams = DatagramSocket(bound())
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def close_later() -> None:
            await trio.sleep(0.01)
            datagrams.close()

        with pytest.raises(trio.ClosedResourceError):
            await datagrams.receive()
    datagrams.close()
    with pytest.raises(trio.ClosedResourceError):
        await datagrams.receive()
    with pytest.raises(trio.BrokenResourceError):
        datagrams.send([b"x"])
    with pytest.raises(trio.BrokenResourceError):
        datagrams.send([b"x"], ("127.0.0.1", 9))
