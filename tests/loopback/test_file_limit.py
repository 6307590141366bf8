"""A node whose open files are limited: who is connected is served, the others wait."""

import contextlib
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.ports import free_port

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no limits to set")

CONFIG = """
[log]
level = "info"
access = "none"
error = "{error}"
[[inbounds]]
protocol = "dokodemo-door"
listen = "127.0.0.1"
port = {port}
target_address = "127.0.0.1"
target_port = {target}
[[outbounds]]
protocol = "freedom"
"""


def start_node(config: Path, *, limits: str) -> "subprocess.Popen[bytes]":
    command = f'{limits} && exec "$0" -m trio_vmess run --config "$1"'
    node = subprocess.Popen(
        ["/bin/sh", "-c", command, sys.executable, str(config)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert node.stdout is not None
    assert b"listening" in node.stdout.readline()
    return node


def answer(destination: socket.socket) -> socket.socket:
    accepted, _ = destination.accept()
    accepted.sendall(b"x")
    return accepted


def test_a_node_near_its_limit_lets_others_wait_and_fails_no_dial(tmp_path: Path) -> None:
    config, error, port = tmp_path / "node.toml", tmp_path / "error.log", free_port()
    with socket.create_server(("127.0.0.1", 0), backlog=100) as destination:
        target = destination.getsockname()[1]
        config.write_text(CONFIG.format(error=error, port=port, target=target))
        node = start_node(config, limits="ulimit -Sn 40 && ulimit -Hn 64")
        clients: list[socket.socket] = []
        accepted: list[socket.socket] = []
        try:
            clients = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(60)]
            destination.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                while True:
                    accepted.append(answer(destination))
            # Two files each; with those that are open anyway 64 are not exceeded.
            served = len(accepted)
            assert 15 < served < 30
            # Those who are connected do not notice.
            for client, remote in zip(clients, accepted, strict=False):
                assert client.recv(1) == b"x"
                remote.sendall(b"y")
                assert client.recv(1) == b"y"
            # The others are served as soon as there is room.
            destination.settimeout(10)
            for number in range(served, 60):
                clients[number - served].close()
                accepted[number - served].close()
                accepted.append(answer(destination))
                assert clients[number].recv(1) == b"x"
            node.terminate()
            for each in (*clients, *accepted):
                each.close()
            assert node.wait(timeout=10) == 0
        finally:
            node.kill()
            node.communicate()
            for each in (*clients, *accepted):
                each.close()
    log = error.read_text()
    assert re.search(r"node\.started listening=1 files=64\n", log)
    assert log.count("listen.paused") == 1
    assert re.search(r"reason='\d+ connections, \d+ of 64 files in use'", log)
    assert "dispatch." not in log
