"""Dialling Unix sockets: their names, and what is said when one cannot be reached."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.kit.rights import IS_ROOT, without_rights
from trio_vmess.errors import DialError, DialFailure
from trio_vmess.transport.dial import DIAL_TIMEOUT
from trio_vmess.transport.unix import abstract_name, dial_unix, unix_address

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
needs_abstract = pytest.mark.skipif(sys.platform != "linux", reason="Linux's own name space")


def listen(name: str, *, backlog: int = 8) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(unix_address(name))
    sock.listen(backlog)
    return sock


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "server.sock")


@pytest.fixture
def full(path: str) -> Iterator[socket.socket]:
    """Give a listener on the path whose queue takes no further connection."""
    with listen(path, backlog=0) as listener, socket.socket(socket.AF_UNIX) as filler:
        filler.connect(path)
        yield listener


async def check_echo(name: str) -> None:
    with listen(name) as listener:
        transport = await dial_unix(name)
        with listener.accept()[0] as peer:
            await transport.send_all(b"hello")
            assert peer.recv(10) == b"hello"
            assert transport.remote is None
        await transport.aclose()


async def test_a_path(path: str) -> None:
    await check_echo(path)


@needs_abstract
@pytest.mark.parametrize("prefix", ["@", "@@"])
async def test_an_abstract_name(prefix: str) -> None:
    name = f"{prefix}trio-vmess-dial-{os.getpid()}"
    address = unix_address(name)
    assert isinstance(address, bytes)
    assert len(address) == (len(name) if prefix == "@" else 108)
    assert abstract_name(address) == name
    await check_echo(name)


@pytest.mark.parametrize(
    ("name", "complaint", "reason"),
    [
        ("absent", "there is no such socket; does the server run", DialFailure.REFUSED),
        ("stale", "nobody listens there; does the server run?", DialFailure.REFUSED),
        ("file", "nobody listens there", DialFailure.REFUSED),
        ("datagrams", "a socket for datagrams", DialFailure.HOST_UNREACHABLE),
        ("x" * 200, "the name is too long", DialFailure.HOST_UNREACHABLE),
    ],
)
async def test_a_server_that_cannot_be_reached(
    tmp_path: Path, name: str, complaint: str, reason: DialFailure
) -> None:
    (tmp_path / "file").write_text("")
    for bound, kind in (("stale", socket.SOCK_STREAM), ("datagrams", socket.SOCK_DGRAM)):
        if name == bound:
            with socket.socket(socket.AF_UNIX, kind) as sock:
                sock.bind(str(tmp_path / bound))
                if bound == "datagrams":
                    await check_refused(tmp_path / name, complaint, reason)
                    return
    await check_refused(tmp_path / name, complaint, reason)


async def check_refused(path: Path, complaint: str, reason: DialFailure) -> None:
    with pytest.raises(DialError) as caught:
        await dial_unix(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert complaint in str(caught.value)
    assert caught.value.reason is reason


@pytest.mark.skipif(not IS_ROOT, reason="takes two users")
async def test_a_socket_that_we_may_not_write_to() -> None:
    with without_rights() as folder:
        path = str(folder / "server.sock")
        os.seteuid(0)
        with listen(path):
            os.chmod(path, 0o600)
            os.seteuid(65_534)
            with pytest.raises(DialError, match="permission denied; the user of this") as caught:
                await dial_unix(path)
    assert caught.value.reason is DialFailure.FORBIDDEN


async def test_a_full_queue_is_waited_for(
    path: str, full: socket.socket, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:

        async def make_room() -> None:
            await trio.sleep(1)
            full.accept()[0].close()

        nursery.start_soon(make_room)
        transport = await dial_unix(path)
        assert trio.current_time() >= 1
        await transport.aclose()


async def test_a_queue_that_stays_full(
    path: str, full: socket.socket, autojump_clock: MockClock
) -> None:
    with pytest.raises(DialError, match="does not take the connections that wait") as caught:
        await dial_unix(path)
    assert caught.value.reason is DialFailure.TIMED_OUT
    assert trio.current_time() >= DIAL_TIMEOUT


async def test_a_cancelled_dial_leaves_nothing_open(
    path: str, full: socket.socket, autojump_clock: MockClock
) -> None:
    with trio.move_on_after(1) as scope:
        await dial_unix(path)
    assert scope.cancelled_caught
