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


class Clients:
    """Many clients of one port, each of which sends its number and waits for an answer."""

    def __init__(self, port: int, count: int) -> None:
        self.waiting = dict[int, socket.socket]()
        self.served = dict[int, tuple[socket.socket, socket.socket]]()
        for number in range(count):
            client = socket.create_connection(("127.0.0.1", port), timeout=10)
            client.sendall(bytes((number,)))
            self.waiting[number] = client

    def accept(self, destination: socket.socket) -> None:
        """Answer whoever arrives next: dials may overtake each other."""
        remote, _ = destination.accept()
        remote.settimeout(10)
        number = remote.recv(1)[0]
        client = self.waiting.pop(number)
        self.served[number] = client, remote
        self.exchange(number)

    def exchange(self, number: int) -> None:
        client, remote = self.served[number]
        remote.sendall(bytes((number,)))
        assert client.recv(2) == bytes((number,))

    def leave(self) -> None:
        """Have one of those who are served leave."""
        for each in self.served.pop(next(iter(self.served))):
            each.close()

    def close(self) -> None:
        while self.served:
            self.leave()
        for client in self.waiting.values():
            client.close()


def test_a_node_near_its_limit_lets_others_wait_and_fails_no_dial(tmp_path: Path) -> None:
    config, error, port = tmp_path / "node.toml", tmp_path / "error.log", free_port()
    with socket.create_server(("127.0.0.1", 0), backlog=100) as destination:
        target = destination.getsockname()[1]
        config.write_text(CONFIG.format(error=error, port=port, target=target))
        node = start_node(config, limits="ulimit -Sn 40 && ulimit -Hn 64")
        try:
            with contextlib.closing(Clients(port, 60)) as clients:
                destination.settimeout(1)
                with contextlib.suppress(TimeoutError):
                    while True:
                        clients.accept(destination)
                # Two files each: with those that are open anyway, 64 are not exceeded.
                assert 15 < len(clients.served) < 30
                for number in clients.served:
                    clients.exchange(number)
                destination.settimeout(10)
                while clients.waiting:
                    clients.leave()
                    clients.accept(destination)
            node.terminate()
            assert node.wait(timeout=10) == 0
        finally:
            node.kill()
            node.communicate()
    log = error.read_text()
    assert re.search(r"node\.started listening=1 files=64\n", log)
    assert log.count("listen.paused") == 1
    assert re.search(r"reason='\d+ connections, \d+ of 64 files in use'", log)
    assert "dispatch." not in log
