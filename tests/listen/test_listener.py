"""Listeners on real loopback sockets: addresses, accepting, shortages and closing."""

import contextlib
import errno
import gc
import ipaddress
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from tests.kit.cancel_sweep import Scenario, sweep_cancellations
from tests.kit.names import has_ipv6_loopback
from tests.kit.waiting import wait_until
from trio_vmess.contracts import Transport
from trio_vmess.core import Destination
from trio_vmess.listen import Listener, bind_datagram_socket, open_listener
from trio_vmess.listen.descriptors import SHORTAGE_END
from trio_vmess.listen.listener import ACCEPTS_PER_TURN, RESOURCE_PAUSE
from trio_vmess.listen.sockets import _explain
from trio_vmess.transport.tcp import SocketTransport

IPV4 = ipaddress.IPv4Address("127.0.0.1")
IPV6 = ipaddress.IPv6Address("::1")

needs_ipv6 = pytest.mark.skipif(not has_ipv6_loopback(), reason="no ::1 here")
needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
needs_abstract = pytest.mark.skipif(sys.platform != "linux", reason="Linux's own name space")


@attrs.define(eq=False)
class EchoOnce:
    """A handler that sends one read back and closes.

    Attributes:
        calls: source and local address of each connection, in order.
        running: how many are open now.
    """

    calls: list[tuple[str, Destination | None]] = attrs.field(factory=list)
    running: int = 0
    _waiting: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for a change after which something is so."""
        while not is_so():
            await self._waiting.park()

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        self.calls.append((source, transport.local))
        self.running += 1
        self._waiting.unpark_all()
        buffer = bytearray(64)
        try:
            size = await transport.receive_into(memoryview(buffer))
            await transport.send_all(buffer[:size])
        finally:
            self.running -= 1
            self._waiting.unpark_all()
            await transport.aclose()


@attrs.define(eq=False)
class Keeper:
    """A handler that keeps the connections as they are."""

    transports: list[SocketTransport] = attrs.field(factory=list)

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        self.transports.append(transport)


@asynccontextmanager
async def serving(listener: Listener, behind: EchoOnce | Keeper) -> AsyncIterator[None]:
    async def serve(task_status: trio.TaskStatus[None]) -> None:
        await listener.serve(
            behind.serve, connections=connections, handshake=60.0, task_status=task_status
        )

    async with trio.open_nursery() as connections, trio.open_nursery() as listeners:
        await listeners.start(serve)
        yield
        listeners.cancel_scope.cancel()
        connections.cancel_scope.cancel()
    assert not listener.is_open


@asynccontextmanager
async def accepted_by(
    listener: Listener,
) -> AsyncIterator[tuple[trio.SocketStream, list[SocketTransport]]]:
    """Connect to a listener; give that connection, and the list of those that were accepted."""
    keeper = Keeper()
    async with serving(listener, keeper), await connect(listener) as stream:
        yield stream, keeper.transports
    for transport in keeper.transports:
        await transport.aclose()


async def connect(listener: Listener) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", listener.port)


async def exchange(stream: trio.SocketStream, request: bytes = b"hello") -> bytes:
    await stream.send_all(request)
    answer = b""
    while piece := await stream.receive_some():
        answer += piece
    return answer


# Addresses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listen", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.2"),
        pytest.param("::1", "::1", marks=needs_ipv6),
        pytest.param("::", "::1", marks=needs_ipv6),
    ],
)
async def test_an_ip_address(listen: str, host: str) -> None:
    if host == "127.0.0.2" and sys.platform == "darwin":
        pytest.skip("one loopback address only")
    listener, echo = open_listener(ipaddress.ip_address(listen)), EchoOnce()
    assert listener.port
    async with serving(listener, echo):
        stream = await trio.open_tcp_stream(host, listener.port)
        async with stream:
            own = stream.socket.getsockname()
            assert await exchange(stream) == b"hello"
    source = f"[{host}]:{own[1]}" if ":" in host else f"{own[0]}:{own[1]}"
    local = Destination(host=ipaddress.ip_address(host), port=listener.port)
    assert echo.calls == [(source, local)]


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the option is Linux's own")


@pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("original", [None, Destination(host="a.b", port=443)])
async def test_connections_that_were_going_elsewhere(
    listen: str, original: Destination | None
) -> None:
    echo = EchoOnce()
    listener = open_listener(ipaddress.ip_address(listen), find_local=lambda _sock: original)
    async with serving(listener, echo), await connect(listener) as stream:
        assert await exchange(stream) == b"hello"
    ((_, local),) = echo.calls
    assert local == (original or Destination(host=IPV4, port=listener.port))


async def test_small_packets_are_not_held_back() -> None:
    async with accepted_by(open_listener(IPV4)) as (stream, transports):
        await stream.send_all(b"x")
        await wait_until(lambda: bool(transports))
        nodelay = transports[0].socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert nodelay


async def test_a_silent_client_is_accepted_like_any_other() -> None:
    """The kernel's own answers must not tell strangers what is listened for."""
    async with accepted_by(open_listener(IPV4, clients_speak_first=True)) as (stream, transports):
        await wait_until(lambda: bool(transports))
        await stream.send_all(b"hello")
        buffer = memoryview(bytearray(10))
        assert await transports[0].receive_into(buffer) == 5


@linux_only
async def test_accepts_are_not_deferred() -> None:
    """`TCP_DEFER_ACCEPT` shows: a second SYN-ACK comes after a second of silence."""
    with contextlib.closing(open_listener(IPV4, clients_speak_first=True)) as listener:
        sock = listener._socket
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) == 0


@needs_ipv6
async def test_both_families_share_a_port() -> None:
    # `::` alone would take IPv4, too, if that is the system's default.
    with_ipv6 = open_listener(ipaddress.IPv6Address("::"))
    with_ipv4 = open_listener(ipaddress.IPv4Address("0.0.0.0"), with_ipv6.port)
    with_ipv6.close()
    with_ipv4.close()


async def test_a_port_is_free_again_at_once() -> None:
    listener, echo = open_listener(IPV4), EchoOnce()
    async with serving(listener, echo), await connect(listener) as stream:
        assert await exchange(stream) == b"hello"
    again = open_listener(IPV4, listener.port)
    assert again.port == listener.port
    again.close()


def test_a_listener_prints_its_address() -> None:
    listener = open_listener(IPV4)
    assert str(listener) == f"127.0.0.1:{listener.port}"
    listener.close()
    listener.close()
    assert repr(listener) == f"<Listener 127.0.0.1:{listener.port}>"


def test_a_busy_port() -> None:
    listener = open_listener(IPV4)
    with pytest.raises(OSError, match="another program listens there") as caught:
        open_listener(IPV4, listener.port)
    listener.close()
    assert caught.value.errno == errno.EADDRINUSE
    assert caught.value.strerror == (
        f"cannot listen on 127.0.0.1:{listener.port}: "
        "another program listens there; stop it, or choose another port"
    )


def test_an_address_of_another_machine() -> None:
    with pytest.raises(OSError, match=r"192\.0\.2\.1:0: this machine does not have that address"):
        open_listener(ipaddress.IPv4Address("192.0.2.1"))


def test_a_privileged_port() -> None:
    exc = _explain(PermissionError(errno.EACCES, "Permission denied"), IPV6, 80)
    assert exc.errno == errno.EACCES
    assert str(exc.strerror).startswith(
        "cannot listen on [::1]:80: permission denied; choose a port above 1023"
    )


def test_an_error_without_advice_keeps_the_systems_message() -> None:
    exc = _explain(OSError(errno.EMFILE, "Too many open files"), IPV4, 80)
    assert exc.strerror == "cannot listen on 127.0.0.1:80: Too many open files"


# Unix sockets -----------------------------------------------------------------------------------


@needs_unix
async def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "node.sock")
    listener, echo = open_listener(path), EchoOnce()
    assert (str(listener), listener.port) == (path, 0)
    async with serving(listener, echo), await trio.open_unix_socket(path) as stream:
        assert await exchange(stream) == b"hello"
    assert echo.calls == [("", None)]
    assert not await trio.Path(path).exists()


@needs_abstract
async def test_an_abstract_socket() -> None:
    name = f"@trio-vmess-test-{os.getpid()}"
    listener, echo = open_listener(name), EchoOnce()
    assert str(listener) == name
    with pytest.raises(OSError, match=f"cannot listen on {name}: another program listens there"):
        open_listener(name)
    async with serving(listener, echo):
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            await client.connect("\0" + name[1:])
            assert await exchange(trio.SocketStream(client)) == b"hello"
    assert echo.calls == [("", None)]
    open_listener(name).close()


@needs_unix
def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "node.sock")
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(path)
    assert os.path.exists(path)
    open_listener(path).close()
    assert not os.path.exists(path)


@needs_unix
def test_a_socket_in_use_is_not_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "node.sock")
    first = open_listener(path)
    with pytest.raises(OSError, match="another program listens there") as caught:
        open_listener(path)
    assert caught.value.errno == errno.EADDRINUSE
    assert os.path.exists(path)
    first.close()


@needs_unix
def test_a_file_replaced_by_another_listener_is_kept(tmp_path: Path) -> None:
    path = str(tmp_path / "node.sock")
    first = open_listener(path)
    os.rename(path, tmp_path / "old.sock")
    second = open_listener(path)
    first.close()
    assert os.path.exists(path)
    second.close()
    assert not os.path.exists(path)


@needs_unix
@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("file", "a file that is not a socket exists there"),
        ("absent/node.sock", "the folder does not exist"),
        ("file/node.sock", "a part of the path is not a folder"),
        ("x" * 200, "the path is too long for a Unix socket"),
    ],
)
def test_an_impossible_path(tmp_path: Path, name: str, complaint: str) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(OSError, match=complaint):
        open_listener(str(tmp_path / name))
    assert (tmp_path / "file").read_text() == "precious"


# UDP --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_a_datagram_socket(host: str) -> None:
    address = ipaddress.ip_address(host)
    with bind_datagram_socket(address, 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(BlockingIOError):
            sock.recv(10)
        # Two programs on one UDP port would steal from each other.
        with pytest.raises(OSError, match="another program listens there"):
            bind_datagram_socket(address, port)
        with socket.socket(sock.family, socket.SOCK_DGRAM) as client:
            client.sendto(b"ping", (host, port))
        sock.settimeout(5.0)
        assert sock.recv(10) == b"ping"


# Accepting --------------------------------------------------------------------------------------


async def test_more_connections_than_one_turn_accepts() -> None:
    listener, echo = open_listener(IPV4), EchoOnce()
    count = 2 * ACCEPTS_PER_TURN + 5
    clients = [socket.socket() for _ in range(count)]
    for client in clients:
        client.connect(("127.0.0.1", listener.port))
    async with serving(listener, echo):
        await echo.until(lambda: len(echo.calls) == count)
        for client in clients:
            client.sendall(b"x")
        await echo.until(lambda: not echo.running)
    assert len({source for source, _ in echo.calls}) == count
    for client in clients:
        assert client.recv(10) == b"x"
        client.close()


async def test_connections_outlive_the_listener() -> None:
    listener, echo = open_listener(IPV4), EchoOnce()
    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as listeners:

            async def serve() -> None:
                await listener.serve(echo.serve, connections=connections, handshake=60.0)

            listeners.start_soon(serve)
            stream = await connect(listener)
            await echo.until(lambda: bool(echo.running))
            listeners.cancel_scope.cancel()
        assert not listener.is_open
        with pytest.raises(OSError, match="connect"):
            await connect(listener)
        async with stream:
            assert await exchange(stream) == b"hello"


async def test_a_bug_ends_only_its_own_connection(caplog: pytest.LogCaptureFixture) -> None:
    listener, echo = open_listener(IPV4), EchoOnce()

    async def forgetful(transport: Transport, *, source: str, deadline: float) -> None:
        if echo.calls:
            raise ZeroDivisionError
        await echo.serve(transport, source=source, deadline=deadline)

    async with trio.open_nursery() as connections:

        async def serve() -> None:
            await listener.serve(forgetful, connections=connections, handshake=60.0)

        connections.start_soon(serve)
        async with await connect(listener) as good:
            await echo.until(lambda: bool(echo.running))
            async with await connect(listener) as bad:
                assert await bad.receive_some() == b""
            assert await exchange(good) == b"hello"
        connections.cancel_scope.cancel()
    (record,) = caplog.records
    assert record.getMessage().startswith("listen.bug source=127.0.0.1:")
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


async def test_a_peer_that_has_already_disconnected() -> None:
    listener, echo = open_listener(IPV4), EchoOnce()
    for _ in range(5):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.connect(("127.0.0.1", listener.port))
    async with trio.open_nursery() as connections:

        async def handler(transport: Transport, *, source: str, deadline: float) -> None:
            try:
                await echo.serve(transport, source=source, deadline=deadline)
            except trio.BrokenResourceError:
                await transport.aclose()

        async def serve() -> None:
            await listener.serve(handler, connections=connections, handshake=60.0)

        connections.start_soon(serve)
        async with await connect(listener) as stream:
            assert await exchange(stream) == b"hello"
        connections.cancel_scope.cancel()


def build_one_conversation() -> Scenario:
    listener, echo = open_listener(IPV4), EchoOnce()

    async def run() -> None:
        async with serving(listener, echo), await connect(listener) as stream:
            assert await exchange(stream) == b"hello"

    def check() -> None:
        # Cancelled before it began to serve, a listener still belongs to its opener.
        listener.close()
        # A transport that stayed open would be a ResourceWarning now, and those are errors.
        gc.collect()
        assert not echo.running

    return Scenario(run=run, check=check)


def test_a_cancellation_at_any_step_leaves_no_socket_behind() -> None:
    assert sweep_cancellations(build_one_conversation, autojump=False) > 10


# Errors of accepting ----------------------------------------------------------------------------


class FailingSocket(socket.socket):
    """A socket that accepts nothing before it has raised some errors."""

    errors: list[int]

    def accept(self) -> tuple[socket.socket, object]:
        if self.errors:
            code = self.errors.pop(0)
            raise OSError(code, os.strerror(code))
        return super().accept()


def make_failing(*errors: int) -> Listener:
    plain = open_listener(IPV4)._socket
    sock = FailingSocket(plain.family, plain.type, plain.proto, fileno=plain.detach())
    sock.setblocking(False)
    sock.errors = list(errors)
    return Listener(sock)


async def connect_and_ask(listener: Listener) -> float:
    """Return how many seconds a connection took."""
    before = trio.current_time()
    async with serving(listener, EchoOnce()), await connect(listener) as stream:
        assert await exchange(stream) == b"hello"
    return trio.current_time() - before


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EPROTO, errno.EPERM])
async def test_an_error_of_a_connection_does_not_end_the_listener(
    code: int, slow_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    listener = make_failing(code, code)
    assert await connect_and_ask(listener) < RESOURCE_PAUSE
    assert caplog.messages == []


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
async def test_a_shortage_is_waited_out(
    code: int, fast_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    listener = make_failing(code, code)
    assert await connect_and_ask(listener) >= 2 * RESOURCE_PAUSE
    (message,) = caplog.messages
    assert message.startswith(f"listen.paused listener={listener} reason={os.strerror(code)!r}")


@pytest.mark.parametrize(("quiet", "reports"), [(0.0, 1), (SHORTAGE_END, 3)])
async def test_every_shortage_is_reported_once(
    quiet: float,
    reports: int,
    fast_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Room for one connection now and then does not end it."""
    listener = make_failing(errno.EMFILE)
    async with serving(listener, EchoOnce()):
        for _ in range(3):
            async with await connect(listener) as stream:
                assert await exchange(stream) == b"hello"
            fast_clock.jump(quiet)
            sock = listener._socket
            assert isinstance(sock, FailingSocket)
            sock.errors += [errno.EMFILE] * 2
    assert len(caplog.messages) == reports


async def test_an_error_of_the_listener_is_raised() -> None:
    listener = make_failing(errno.EBADF)
    client = socket.create_connection(("127.0.0.1", listener.port))
    with client, pytest.RaisesGroup(OSError, flatten_subgroups=True):
        async with trio.open_nursery() as connections:
            await listener.serve(EchoOnce().serve, connections=connections, handshake=60.0)
    assert not listener.is_open
