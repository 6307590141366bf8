"""A UDP socket that is read and written in batches, over loopback."""

import errno
import socket
import sys
from collections.abc import Iterator, Sequence

import hypothesis.strategies as st
import pytest
import trio
from hypothesis import given

from tests.kit.names import IPV4_LOOPBACK, has_ipv6_loopback, loopback_addresses
from tests.kit.run_socket import RunSocket
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


ADDRESSES = [
    *loopback_addresses(),
    # A socket for both families.
    *(["::ffff:127.0.0.1"] if has_ipv6_loopback() else []),
]

needs_runs = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has runs")


END = b"the end"


def batch_of(sizes: Sequence[int]) -> list[bytes]:
    """Return datagrams that differ from their neighbours."""
    return [bytes([number % 256]) * size for number, size in enumerate(sizes)]


async def receive_until_end(datagrams: DatagramSocket) -> list[bytes]:
    """Return what comes before `END`, without it: what is missing is not waited for."""
    received: list[bytes] = []
    while END not in received:
        received += [datagram for datagram, _ in await datagrams.receive()]
    return received[:-1]


async def exchange(
    sock: RunSocket,
    *batches: Sequence[int],
    address: str = IPV4_LOOPBACK,
    is_connected: bool = True,
) -> list[list[str]]:
    """Send batches of these sizes, see them arrive, and return what became of runs in each."""
    outcomes: list[list[str]] = []
    peer = DatagramSocket(socket.socket(sock.family, socket.SOCK_DGRAM))
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    if sock.family == socket.AF_INET6:
        peer.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    peer.socket.bind((address, 0))
    datagrams = DatagramSocket(sock)
    try:
        if is_connected:
            sock.connect(peer.socket.getsockname())
        for sizes in batches:
            batch = batch_of(sizes)
            to = None if is_connected else peer.socket.getsockname()
            assert datagrams.send(batch, to) == 0
            sock.sendto(END, peer.socket.getsockname())
            assert await receive_until_end(peer) == batch
            outcomes.append(sock.take_outcomes())
    finally:
        datagrams.close()
        peer.close()
    return outcomes


@needs_runs
@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("is_connected", [True, False])
@pytest.mark.parametrize(
    ("sizes", "run_count"),
    [
        ([100] * 64, 1),
        ([100] * 65, 1),
        ([100] * 130, 2),
        ([1] * 3, 1),
        ([1200] * 40 + [7], 1),
        ([1200] * 9 + [7, 0] + [1200] * 9, 2),
        ([1, 2, 3, 4, 5], 0),
        ([1300] * 50, 1),
        ([21_666] * 3, 1),
        ([9000] * 7 + [2000], 1),
        ([60_000, 1, 1, 1, 60_000], 1),
        ([0, 0, 0], 0),
    ],
    ids=lambda value: f"{len(value)} of up to {max(value)}" if isinstance(value, list) else None,
)
async def test_runs_arrive_as_single_datagrams(
    address: str, sizes: list[int], run_count: int, *, is_connected: bool
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    outcomes = await exchange(RunSocket(family), sizes, address=address, is_connected=is_connected)
    assert outcomes == [["sent"] * run_count]


@given(
    groups=st.lists(
        st.tuples(st.integers(0, 3) | st.integers(0, 1500), st.integers(1, 20)), max_size=10
    )
)
def test_any_batch_arrives_in_its_order(groups: list[tuple[int, int]]) -> None:
    sizes = [size for size, count in groups for _ in range(count)][:100]

    async def send_and_receive() -> None:
        with trio.fail_after(5):
            await exchange(RunSocket(), sizes)

    trio.run(send_and_receive)


@needs_runs
@pytest.mark.parametrize("number", [errno.EIO, errno.EOPNOTSUPP])
async def test_a_socket_that_can_send_no_runs_is_not_asked_again(number: int) -> None:
    sock = RunSocket(refuse=lambda _: number)
    outcomes = await exchange(sock, [1, 2] + [100] * 5 + [200] * 5, [100] * 5, [1] * 5)
    assert outcomes == [[errno.errorcode[number]], [], []]


@needs_runs
@pytest.mark.parametrize("number", [errno.EMSGSIZE, errno.EINVAL])
async def test_a_size_that_is_too_large_for_runs_is_not_tried_again(number: int) -> None:
    sock = RunSocket(refuse=lambda size: number if size > 1000 else 0)
    outcomes = await exchange(
        sock,
        [100] * 5 + [1400] * 5 + [100] * 5,
        [1400] * 5 + [100] * 5 + [1399] * 5,
        [1399] * 5 + [1000] * 5,
    )
    name = errno.errorcode[number]
    assert outcomes == [["sent", name], ["sent", name], ["sent"]]


@needs_runs
@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOBUFS, errno.ECONNREFUSED, errno.EPERM])
async def test_other_errors_leave_later_batches_their_runs(number: int) -> None:
    numbers = [number]
    sock = RunSocket(refuse=lambda _: numbers.pop() if numbers else 0)
    outcomes = await exchange(sock, [100] * 5, [100] * 5)
    assert outcomes == [[errno.errorcode[number]], ["sent"]]


async def test_a_system_without_runs_sends_singly() -> None:
    assert await exchange(RunSocket(knows_runs=False), [100] * 70, [100] * 3) == [[], []]


@needs_runs
async def test_the_report_of_an_earlier_loss_costs_no_run(peer: socket.socket) -> None:
    address = peer.getsockname()
    sock = RunSocket()
    datagrams = DatagramSocket(sock)
    sock.connect(address)
    peer.close()
    assert datagrams.send([b"lost"]) == 0
    await trio.lowlevel.wait_readable(sock)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
        back.bind(address)
        back.settimeout(5)
        batch = batch_of([10] * 5)
        assert datagrams.send(batch) == 0
        assert [back.recv(100) for _ in batch] == batch
    assert sock.take_outcomes() == ["ECONNREFUSED"]
    datagrams.close()


async def test_a_run_for_a_closed_socket(peer: socket.socket) -> None:
    sock = RunSocket()
    datagrams = DatagramSocket(sock)
    assert datagrams.send([b"x"] * 3, peer.getsockname()) == 0
    datagrams.close()
    with pytest.raises(trio.BrokenResourceError):
        datagrams.send([b"x"] * 3, peer.getsockname())
    never_used = DatagramSocket(bound())
    never_used.close()
    with pytest.raises(trio.BrokenResourceError):
        never_used.send([b"x"] * 3, peer.getsockname())
