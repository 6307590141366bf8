"""What only the kernel brings about: its timers, which take a second, and its limits."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.kit.sockets import clogged_listener
from trio_vmess.core import parse_host
from trio_vmess.transport.dial import dial


async def test_an_address_that_accepts_late_is_reached() -> None:
    with clogged_listener() as clogged:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def make_room() -> None:
                await trio.testing.wait_all_tasks_blocked(0.05)
                clogged.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        clogged.accept()[0].close()

            transport = await dial(parse_host("127.0.0.1"), clogged.getsockname()[1])
        assert transport.socket.getpeername() == clogged.getsockname()
        await transport.aclose()


@pytest.mark.skipif(sys.platform != "linux", reason="the option is Linux's own")
async def test_a_connection_whose_peer_takes_nothing_is_reset_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transport = await dial(parse_host("127.0.0.1"), listener.getsockname()[1], patience=0.5)
        peer, _ = listener.accept()
        with peer, trio.fail_after(5), pytest.raises(trio.BrokenResourceError):
            await transport.send_all(bytes(1 << 25))
        await transport.aclose()


_CROWDED = """
import ipaddress, logging, resource, trio
from tests.listen.test_listener import EchoOnce
from trio_vmess.listen import open_listener

async def main() -> None:
    listener = open_listener(ipaddress.ip_address("127.0.0.1"))
    print(listener.port, flush=True)
    async with trio.open_nursery() as connections:
        await listener.serve(EchoOnce().serve, connections=connections, handshake=60.0)

logging.basicConfig()
resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))
trio.run(main)
"""


def run_crowded(check: Callable[[int], None]) -> str:
    """Run a server that may open 24 files; return what it logged."""
    root = Path(__file__).parent.parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", _CROWDED],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            check(int(process.stdout.readline()))
            assert process.poll() is None
        finally:
            process.kill()
        return process.communicate()[1]


@pytest.mark.skipif(sys.platform == "win32", reason="no limits to set")
def test_after_a_shortage_of_file_descriptors_all_clients_are_served() -> None:
    def check(port: int) -> None:
        clients = [socket.create_connection(("127.0.0.1", port), timeout=8.0) for _ in range(40)]
        for number, client in enumerate(clients):
            client.sendall(bytes((number,)))
        for number, client in enumerate(clients):
            assert client.recv(10) == bytes((number,))
            client.close()

    log = run_crowded(check)
    assert "listen.paused" in log
    assert "Traceback" not in log
