"""A node whose open files are limited: who is connected is served, the others wait."""

import contextlib
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import trio

from tests.kit.mux_client import MuxCaller, open_carrier
from tests.kit.origin import start_echo, start_udp_echo
from tests.kit.peer_specs import USER_ID
from tests.kit.ports import free_port
from tests.kit.socks_client import open_socks_stream, open_socks_udp, receive_exactly
from tests.kit.waiting import wait_until
from trio_vmess.core import Destination, parse_host
from trio_vmess.core.mux import End, Keep

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


VMESS: Final = """
[log]
level = "info"
access = "none"
error = "{error}"
[[inbounds]]
protocol = "vmess"
listen = "127.0.0.1"
port = {port}
users = [{{ id = "{user}" }}]
[[inbounds]]
protocol = "socks"
listen = "127.0.0.1"
port = {socks}
[[outbounds]]
protocol = "freedom"
allow_private = true
"""


async def test_sub_connections_of_a_carrier_leave_files_for_others(tmp_path: Path) -> None:
    config, error = tmp_path / "node.toml", tmp_path / "error.log"
    port, socks = free_port(), free_port()
    config.write_text(VMESS.format(error=error, port=port, socks=socks, user=USER_ID))
    node = start_node(config, limits="ulimit -n 128")
    try:
        async with start_echo() as origin, open_carrier(port) as client:
            target = Destination(host=parse_host(origin.host), port=origin.port)
            for _ in range(500):
                client.mux.open(target, data=b"hello")
            await client.flush()
            served, refused = set[int](), set[int]()
            while len(served) + len(refused) < 500:
                match await client.receive():
                    case Keep(number, b"hello"):
                        served.add(number)
                    case End(number, is_error=True):
                        refused.add(number)
                    case frame:
                        pytest.fail(f"unexpected: {frame}")
            assert 50 < len(served) < 0.8 * 128
            # Who is served goes on, and others are let in meanwhile.
            for _ in range(3):
                async with await open_socks_stream(socks, origin.host, origin.port) as stream:
                    await stream.send_all(b"hello")
                    assert await receive_exactly(stream, 5) == b"hello"
            for number in served:
                await client.send(number, b"again")
                assert await client.receive() == Keep(number, b"again")
            for number in served:
                await client.end(number)
            await _open_until_served(client, target)
        node.terminate()
        assert node.wait(timeout=10) == 0
    finally:
        node.kill()
        node.communicate()
    log = error.read_text()
    assert log.count("listen.refused") == 1
    assert re.search(r"reason='1 connections and \d+ sub-connections, \d+ of 128 files", log)
    assert "listen.paused" not in log
    assert "dispatch." not in log


async def _open_until_served(client: MuxCaller, target: Destination) -> None:
    """Open sub-connections until one is not refused: those that have ended need a moment."""
    with trio.fail_after(10):
        while True:
            number = await client.open(target, b"hello")
            frame = await client.receive()
            if frame == Keep(number, b"hello"):
                return
            assert frame == End(number, is_error=True)


SOCKS: Final = """
[log]
level = "debug"
access = "none"
error = "{error}"
[[inbounds]]
protocol = "socks"
listen = "127.0.0.1"
port = {port}
udp = true
[[outbounds]]
protocol = "freedom"
"""


FORWARDED: Final = """
[[inbounds]]
protocol = "dokodemo-door"
listen = "127.0.0.1"
port = {port}
target_address = "127.0.3.1"
target_port = 9
networks = ["udp"]
"""


async def test_datagrams_that_use_up_all_files_harm_no_connection(tmp_path: Path) -> None:
    """Each source at a port takes a file; the count of connections does not show it."""
    config, error, port = tmp_path / "node.toml", tmp_path / "error.log", free_port()
    datagrams = free_port()
    config.write_text(SOCKS.format(error=error, port=port) + FORWARDED.format(port=datagrams))
    node = start_node(config, limits="ulimit -n 64")
    try:
        async with (
            start_echo() as origin,
            start_udp_echo() as echo,
            await open_socks_stream(port, origin.host, origin.port) as stream,
        ):
            async with open_socks_udp(port) as association:
                await association.send_to(echo.host, echo.port, b"first")
                assert (await association.receive())[2] == b"first"
                for number in range(100):
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
                        source.bind((f"127.0.2.{number + 1}", 0))
                        source.sendto(b"x", ("127.0.0.1", datagrams))
                await wait_until(lambda: "dispatch.unreachable" in error.read_text())
                # Who has a file keeps it; who comes now waits.
                await association.send_to(echo.host, echo.port, b"second")
                assert (await association.receive())[2] == b"second"
                await stream.send_all(b"hello")
                assert await receive_exactly(stream, 5) == b"hello"
                late = await trio.open_tcp_stream("127.0.0.1", port)
                await wait_until(lambda: "listen.paused" in error.read_text())
            async with late, await open_socks_stream(port, origin.host, origin.port) as another:
                await late.send_all(b"\x05\x01\x00")
                assert await receive_exactly(late, 2) == b"\x05\x00"
                await another.send_all(b"hello")
                assert await receive_exactly(another, 5) == b"hello"
        node.terminate()
        assert node.wait(timeout=10) == 0
    finally:
        node.kill()
        node.communicate()
    log = error.read_text()
    assert "Too many open files" in log
    assert ".bug" not in log
