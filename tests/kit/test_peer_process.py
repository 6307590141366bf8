"""Processes are waited for, killed and their logs kept, whatever they do themselves."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.kit.names import IPV4_LOOPBACK
from tests.kit.peer_process import PeerError, RunningPeer, run_peer, take_finished_logs
from tests.kit.ports import free_port

LISTENING = """
import json, socket, sys
settings = json.load(open(sys.argv[1]))
print("listening on", settings["port"], flush=True)
listener = socket.create_server(("127.0.0.1", settings["port"]))
while True:
    connection, _ = listener.accept()
    connection.close()
"""
LEAVING_AFTER_TWO = LISTENING.replace("while True:", "for _ in range(2):")
LEAVING_AT_ONCE = "print('no, thanks'); raise SystemExit(3)"
DEAF = """
import json, os, pathlib, sys, time
pathlib.Path(json.load(open(sys.argv[1]))["pid_path"]).write_text(str(os.getpid()))
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _fresh_logs() -> Iterator[None]:
    take_finished_logs()
    yield
    take_finished_logs()


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def _read_pid(path: trio.Path) -> int:
    # Another process writes the file: there is no event to wait for.
    while not (await path.exists() and await path.read_text()):  # noqa: ASYNC110
        await trio.sleep(0.01)
    return int(await path.read_text())


async def _run(program: str, seen: list[RunningPeer], *, then_connect: bool) -> None:
    port = free_port()
    command = [sys.executable, "-c", program]
    async with run_peer("tested", command, {"port": port}, IPV4_LOOPBACK, port, {}) as peer:
        seen.append(peer)
        assert _is_running(peer.pid)
        assert peer.log() == f"listening on {port}\n"
        assert peer.configuration == f'{{\n "port": {port}\n}}'
        if then_connect:
            async with await trio.open_tcp_stream(peer.host, peer.port) as stream:
                assert await stream.receive_some() == b""
            await trio.to_thread.run_sync(os.waitid, os.P_PID, peer.pid, os.WEXITED | os.WNOWAIT)


async def test_process_lives_as_long_as_the_block_and_its_log_longer() -> None:
    seen: list[RunningPeer] = []
    await _run(LISTENING, seen, then_connect=False)
    assert not _is_running(seen[0].pid)
    assert take_finished_logs() == [("tested", f"listening on {seen[0].port}\n")]
    assert take_finished_logs() == []


async def test_process_that_ends_during_the_block_is_an_error() -> None:
    seen: list[RunningPeer] = []
    with pytest.raises(PeerError, match="ended early with status 0"):
        await _run(LEAVING_AFTER_TWO, seen, then_connect=True)
    assert not _is_running(seen[0].pid)


async def test_process_that_does_not_come_up_is_an_error_with_its_log() -> None:
    seen: list[RunningPeer] = []
    with pytest.raises(PeerError, match=r"(?s)exit status 3.*no, thanks"):
        await _run(LEAVING_AT_ONCE, seen, then_connect=False)
    assert seen == []


async def test_cancellation_while_starting_kills_the_process(tmp_path: Path) -> None:
    pid_path, port = tmp_path / "pid", free_port()
    configuration = {"port": port, "pid_path": str(pid_path)}
    command = [sys.executable, "-c", DEAF]

    async def start() -> None:
        async with run_peer("deaf", command, configuration, IPV4_LOOPBACK, port, {}):
            pytest.fail("a deaf process was taken for a ready one")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start)
        pid = await _read_pid(trio.Path(pid_path))
        assert _is_running(pid)
        nursery.cancel_scope.cancel()
    assert not _is_running(pid)


async def test_proxy_settings_are_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    program = LISTENING.replace(
        '"listening on", settings["port"]', '*sorted(__import__("os").environ)'
    )
    port = free_port()
    command = [sys.executable, "-c", program]
    environment = {"EXTRA_SETTING": "1"}
    async with run_peer("tested", command, {"port": port}, IPV4_LOOPBACK, port, environment) as run:
        names = run.log().split()
    assert "EXTRA_SETTING" in names
    assert "PATH" in names
    assert "HTTPS_PROXY" not in names
