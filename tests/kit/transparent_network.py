"""A transparent proxy and its clients, for a network namespace of their own.

    unshare --net python -m tests.kit.transparent_network policy|tproxy|redirect

Clients ask for addresses that nobody has. `policy` lets the kernel deliver the packets of sockets
with a mark to this machine, whatever their address, so they reach a transparent socket on the same
port. `tproxy` and `redirect` load rules of `docs/running.md` with `nft`, and use another port.

Each conversation is a line on standard output: the network, the address that was asked for, what
answered, and for datagrams from where.
"""

import json
import logging
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from tests.kit.nodes import start_node
from tests.kit.ports import free_port
from trio_vmess.config import parse_config

ONE: Final = ("203.0.113.1", "2001:db8:1::1")
"""Rules send it to the origin `one`, and everything else to `two`."""

FAR: Final = ("203.0.113.3", "2001:db8:1::3")
"""Rules send it straight on, with the mark of the node's own connections, which are refused."""

OTHER: Final = ("203.0.113.2", "2001:db8:1::2")
LOOPBACK: Final = ("127.0.0.1", "::1")
NAMED_REQUEST: Final = b"GET / HTTP/1.1\r\nHost: one.example\r\n\r\n"

_MANUAL: Final = Path(__file__).parents[2] / "docs" / "running.md"
_PORT: Final = 12345
"""The port in the manual."""

_MARK: Final = 1
_LIMIT: Final = 20.0

_CONFIG: Final = """
[[inbounds]]
tag = "four"
listen = "0.0.0.0"
{common}

[[inbounds]]
tag = "six"
listen = "::"
{common}

[[outbounds]]
tag = "two"
protocol = "freedom"
redirect = "127.0.0.1:{two}"

[[outbounds]]
tag = "one"
protocol = "freedom"
redirect = "127.0.0.1:{one}"

[[routing.rules]]
ips = {ips}
outbound_tag = "one"

[[outbounds]]
tag = "marked"
protocol = "freedom"
socket = {{ mark = 255 }}

[[routing.rules]]
ips = {far}
outbound_tag = "marked"

[[routing.rules]]
domains = ["full:one.example"]
outbound_tag = "one"
"""

_COMMON: Final = """
protocol = "dokodemo-door"
port = {port}
follow_redirect = true
networks = {networks}
socket = {{ tproxy = "{tproxy}" }}
sniffing = {{ enabled = true, dest_override = ["http"] }}
"""


def _run(command: str) -> None:
    subprocess.run(command.split(), check=True, timeout=10)


def _set_up(kind: str) -> None:
    _run("ip link set lo up")
    for family in ("-4", "-6"):
        # Else nobody has a way to these addresses.
        _run(f"ip {family} route add default dev lo")
        _run(f"ip {family} rule add fwmark 255 lookup 200")
        _run(f"ip {family} route add unreachable default table 200")
    if kind == "policy":
        commands = _shell_commands()
    else:
        commands = _shell_commands() if kind == "tproxy" else []
        rules = re.search(rf"```\n(table inet {kind}_example .*?)```", _manual(), re.DOTALL)
        assert rules is not None
        subprocess.run(["nft", "-f", "-"], check=True, timeout=10, input=rules[1], text=True)
    for command in commands:
        _run(command)


def _manual() -> str:
    return _MANUAL.read_text("utf-8")


def _shell_commands() -> Sequence[str]:
    """Return the manual's commands that have marked packets delivered here."""
    commands = re.findall(r"^ip .*(?:lookup|table) 100$", _manual(), re.MULTILINE)
    assert len(commands) == 4
    return commands


@asynccontextmanager
async def _start_origin(name: str) -> AsyncIterator[int]:
    """Put a name before all that comes, by TCP and UDP on one port."""
    port, prefix = free_port(), f"{name}:".encode()

    async def answer(stream: trio.SocketStream) -> None:
        async for data in stream:
            await stream.send_all(prefix + data)

    async def answer_datagrams() -> None:
        while True:
            data, client = await datagrams.recvfrom(4096)
            await datagrams.sendto(prefix + data, client)

    datagrams = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with datagrams:
        await datagrams.bind(("127.0.0.1", port))
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_datagrams)
            await nursery.start(trio.serve_listeners, answer, listeners)
            yield port
            nursery.cancel_scope.cancel()


class _Clients:
    """Clients of one address family.

    Args:
        source: their address.
        is_marked: whether they have the mark of packets that are delivered here.
    """

    def __init__(self, source: str, *, is_marked: bool) -> None:
        self._source = source
        self._is_marked = is_marked

    async def _open(self, kind: socket.SocketKind) -> trio.socket.SocketType:
        family = socket.AF_INET6 if ":" in self._source else socket.AF_INET
        sock = trio.socket.socket(family, kind)
        if self._is_marked:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, _MARK)
        await sock.bind((self._source, 0))
        return sock

    async def ask(self, address: str, port: int, request: bytes) -> None:
        """Send a request by TCP and print the beginning of its answer."""
        with await self._open(socket.SOCK_STREAM) as sock:
            await sock.connect((address, port))
            await sock.send(request)
            try:
                answer = await sock.recv(4096)
            except ConnectionResetError:
                answer = b""
            _print("tcp", address, answer)

    async def ask_in_datagrams(self, addresses: Sequence[str], port: int, rounds: int) -> None:
        """Send datagrams from one socket to all addresses in turn, each after the last answer."""
        with await self._open(socket.SOCK_DGRAM) as sock:
            for number in range(rounds):
                for address in addresses:
                    await sock.sendto(str(number).encode(), (address, port))
                    answer, sender = await sock.recvfrom(4096)
                    assert sender[1] == port
                    _print("udp", address, answer, "from", sender[0])


def _print(network: str, address: str, answer: bytes, *more: str) -> None:
    line = answer.partition(b"\r")[0].decode()
    sys.stdout.write(" ".join([network, address, line or "nothing", *more]) + "\n")


async def converse(kind: str) -> None:
    """Run a node, and clients that were going somewhere else."""
    _set_up(kind)
    is_redirect = kind == "redirect"
    common = _COMMON.format(
        port=_PORT,
        networks='["tcp"]' if is_redirect else '["tcp", "udp"]',
        tproxy="redirect" if is_redirect else "tproxy",
    )
    port = _PORT if kind == "policy" else 443
    with trio.fail_after(_LIMIT):
        async with (
            _start_origin("one") as one,
            _start_origin("two") as two,
            start_node(
                parse_config(
                    _CONFIG.format(
                        common=common, one=one, two=two, ips=json.dumps(ONE), far=json.dumps(FAR)
                    ),
                    format="toml",
                )
            ),
        ):
            for own, first, second, far in zip(LOOPBACK, ONE, OTHER, FAR, strict=True):
                clients = _Clients(own, is_marked=kind == "policy")
                await clients.ask(first, port, b"x")
                await clients.ask(second, port, b"x")
                await clients.ask(second, port, NAMED_REQUEST)
                if not is_redirect:
                    await clients.ask_in_datagrams([first, second], port, rounds=2)
                await clients.ask(far, port, b"x")
                await _Clients(own, is_marked=False).ask(own, _PORT, b"x")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    trio.run(converse, sys.argv[1])
