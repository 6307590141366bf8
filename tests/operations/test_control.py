"""The control socket: who may open it, what it answers, and what it does not put up with."""

# ruff: noqa: ASYNC240  (the files of these tests are there at once)

import errno
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from trio_vmess.config import parse_config
from trio_vmess.errors import ConfigError
from trio_vmess.operations import control
from trio_vmess.operations.control import (
    ControlServer,
    find_socket,
    find_sockets,
    open_control,
    send_request,
)

pytestmark = pytest.mark.skipif(
    not control.has_unix_sockets(), reason="there are no Unix sockets here"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where sockets without a path of their own go."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "trio-vmess"


def answer(request: Mapping[str, object]) -> Mapping[str, object]:
    if request.get("command") == "large":
        return {"text": "x" * 3_000_000}
    if request.get("command") != "echo":
        raise ValueError("not that")
    return {"request": request}


@asynccontextmanager
async def serving(path: str = "") -> AsyncIterator[str]:
    server = ControlServer(answer, path=path)
    assert server.path == ""
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        yield server.path
        nursery.cancel_scope.cancel()


async def request(path: str, request: Mapping[str, object]) -> dict[str, object]:
    return await trio.to_thread.run_sync(partial(send_request, path, request))


# Server ----------------------------------------------------------------------------------------


async def test_a_request_and_its_response(tmp_path: Path) -> None:
    path = str(tmp_path / "node.sock")
    async with serving(path) as place:
        assert place == path
        assert await request(path, {"command": "echo"}) == {"request": {"command": "echo"}}
    assert not os.path.exists(path)


async def test_a_large_response(tmp_path: Path) -> None:
    async with serving() as path:
        assert len(str((await request(path, {"command": "large"}))["text"])) == 3_000_000


async def test_the_socket_is_accessible_to_its_user_only(folder: Path) -> None:
    before = os.umask(0)
    try:
        async with serving() as path:
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert Path(path) == folder / f"{os.getpid()}.sock"
        assert os.umask(0) == 0
    finally:
        os.umask(before)


async def test_a_folder_that_others_can_access_is_not_used(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(OSError, match="not accessible to this user only"):
        open_control()
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="not accessible to this user only"):
        open_control()


async def test_two_nodes_of_one_process(folder: Path) -> None:
    async with serving() as first, serving() as second:
        assert find_sockets(folder) == [second, first]
        with pytest.raises(OSError, match="several nodes"):
            find_socket()
        assert await request(first, {"command": "echo"}) == await request(
            second, {"command": "echo"}
        )
    assert find_sockets(folder) == []


async def test_sockets_of_killed_nodes_are_removed(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    left, other = folder / "99999999.sock", folder / "other.sock"
    for path in (left, other):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
    async with serving() as path:
        assert not left.exists()
        assert other.exists()
        assert find_socket() == path


def test_a_path_without_permissions_is_refused() -> None:
    with pytest.raises(OSError, match="needs a file"):
        open_control("@node")


async def test_a_path_in_use(tmp_path: Path) -> None:
    async with serving(str(tmp_path / "node.sock")) as path:
        with pytest.raises(OSError, match="another program listens there"):
            open_control(path)


async def talk(path: str, *pieces: bytes) -> list[bytes]:
    async with await trio.open_unix_socket(path) as stream:
        for piece in pieces:
            await stream.send_all(piece)
            await trio.testing.wait_all_tasks_blocked(0.01)
        await stream.send_eof()
        received = b""
        async for data in stream:
            received += data
    return received.splitlines()


async def test_several_lines_on_one_connection_in_any_pieces() -> None:
    async with serving() as path:
        lines = await talk(
            path, b'{"comm', b'and": "echo"}\n{"command": "echo"}\n{"command"', b": 1}\n"
        )
        assert [json.loads(line) for line in lines] == [
            {"request": {"command": "echo"}},
            {"request": {"command": "echo"}},
            {"error": "not that"},
        ]


@pytest.mark.parametrize("line", [b"", b"nonsense", b"[]", b'"stats"', b"\xff", b"[" * 3000])
async def test_a_malformed_request(line: bytes) -> None:
    async with serving() as path:
        (reply,) = await talk(path, line + b"\n")
        assert json.loads(reply) == {"error": "expected one JSON object on a line"}


async def test_a_line_that_is_too_long() -> None:
    async with serving() as path:
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(b"x" * (control.LINE_MAX + 1))
            received = b""
            async for data in stream:
                received += data
        assert json.loads(received) == {"error": "expected a line of at most 4096 bytes"}
        assert await request(path, {"command": "echo"})


async def test_too_many_connections() -> None:
    async with serving() as path:
        streams = [await trio.open_unix_socket(path) for _ in range(control.CONNECTIONS_MAX)]
        for stream in streams:
            await stream.send_all(b'{"command": "echo"}\n')
            assert await stream.receive_some()
        with pytest.raises((OSError, ValueError), match="node"):
            await request(path, {"command": "echo"})
        for stream in streams:
            await stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert await request(path, {"command": "echo"})


async def test_an_idle_client_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "IDLE_MAX", 0.05)
    async with serving() as path, await trio.open_unix_socket(path) as stream:
        assert await stream.receive_some() == b""


def test_the_path_can_be_set_in_toml_only() -> None:
    outbound = '[[outbounds]]\nprotocol = "freedom"\n'
    assert parse_config(f'control = "/run/x.sock"\n{outbound}').control == "/run/x.sock"
    with pytest.raises(ConfigError, match="use a path"):
        parse_config(f'control = "@x"\n{outbound}')
    with pytest.raises(ConfigError, match="unknown key"):
        parse_config('{"control": "/run/x.sock", "outbounds": [{"protocol": "freedom"}]}')


# Client ------------------------------------------------------------------------------------------


async def test_an_error_response_is_raised() -> None:
    async with serving() as path:
        with pytest.raises(ValueError, match="the node reports: not that"):
            await request(path, {"command": "other"})


def test_no_node_is_running(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(OSError, match=r"cannot reach a node at .*missing\.sock: No such file"):
        send_request(str(tmp_path / "missing.sock"), {})
    with pytest.raises(OSError, match="no running node was found"):
        find_socket()


async def test_a_socket_of_another_program(tmp_path: Path) -> None:
    path = str(tmp_path / "other.sock")

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    sock = trio.socket.socket(trio.socket.AF_UNIX)
    await sock.bind(path)
    sock.listen()
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, [trio.SocketListener(sock)])
        with pytest.raises(ValueError, match=r"other\.sock is not a trio-vmess control socket"):
            await request(path, {})
        nursery.cancel_scope.cancel()


def test_without_a_runtime_folder_the_temporary_one_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(control.tempfile, "gettempdir", lambda: str(tmp_path))
    assert control.default_folder() == tmp_path / f"trio-vmess-{os.getuid()}"


def test_systems_without_unix_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    for attempt in (open_control, find_socket, partial(send_request, "x", {})):
        with pytest.raises(OSError, match="no Unix sockets") as caught:
            attempt()
        assert caught.value.errno == errno.EAFNOSUPPORT
