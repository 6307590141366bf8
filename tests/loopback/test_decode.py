"""Traffic of real nodes, captured on loopback while it passes, and decoded."""

import contextlib
import ctypes
import io
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import pytest

from tests.kit.commands import run_command, run_python
from tests.kit.exchanges import check_echo
from tests.kit.nodes import start_client_node, start_server_node
from tests.kit.origin import start_echo
from tests.kit.packets import write_pcap
from tests.kit.peer_specs import USER_ID, ClientSpec, ServerSpec
from tests.kit.rights import IS_ROOT
from tests.kit.waiting import wait_until
from trio_vmess.core.dissection import (
    ChunkFound,
    DirectionEnd,
    EndedBy,
    Finding,
    FrameFound,
    RequestFound,
    ResponseFound,
)
from trio_vmess.core.mux import Keep, New
from trio_vmess.core.vmess import TIMESTAMP_JITTER, Account, Command, parse_user_id
from trio_vmess.diagnosis.decode import Entry, Reading, Record, Summary, decode

_LOOPBACK: Final = "lo"
_ETHERNET_HEADER: Final = 14
_ALL_PROTOCOLS: Final = 0x0003
_SO_ATTACH_FILTER: Final = 26
_BUFFER: Final = 4 * 1024 * 1024

_ECHOED: Final = 1 + 14 + 20_000
"""Bytes that `check_echo` sends, and gets back."""

_CLOCK_SLACK: Final = 10
"""Seconds between a header and its capture on a busy machine."""

_Finding = TypeVar("_Finding", bound=Finding)


Capture: TypeAlias = Callable[[], bytes]
"""Returns what was captured so far, as a file of tcpdump."""

Recorder: TypeAlias = Callable[[int, Path], AbstractContextManager[Capture]]
"""Captures a port for the length of a block; the folder is its own."""


@contextlib.contextmanager
def by_tcpdump(port: int, folder: Path) -> Iterator[Capture]:
    program = shutil.which("tcpdump", path=os.pathsep.join((os.environ["PATH"], "/usr/sbin")))
    if program is None:
        pytest.skip("tcpdump is not installed")
    rights = ["-Z", "root"] if IS_ROOT else []
    options = ["-i", _LOOPBACK, "-U", "--immediate-mode", "-w", "-", "tcp", "port", str(port)]
    file = folder / "lo.pcap"
    with (
        file.open("wb") as written,
        subprocess.Popen(
            [program, *rights, *options], stdout=written, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        try:
            assert process.stderr is not None
            if not any("listening on" in line for line in process.stderr):
                pytest.skip("tcpdump may not capture here")
            yield file.read_bytes
        finally:
            process.send_signal(signal.SIGINT)


def _take_only(raw: socket.socket, port: int) -> None:
    """Let the kernel drop what other programs send on loopback, which may be much."""
    load, jump, end = 0x28, 0x15, 0x06
    source = _ETHERNET_HEADER + 20
    program = [
        (load, 0, 0, source),
        (jump, 2, 0, port),
        (load, 0, 0, source + 2),
        (jump, 0, 1, port),
        (end, 0, 0, 0xFFFF),
        (end, 0, 0, 0),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in program))
    raw.setsockopt(
        socket.SOL_SOCKET,
        _SO_ATTACH_FILTER,
        struct.pack("HP", len(program), ctypes.addressof(code)),
    )


@contextlib.contextmanager
def by_packet_socket(port: int, _folder: Path) -> Iterator[Capture]:
    """Every packet is seen twice: as it leaves, and as it arrives."""
    family = getattr(socket, "AF_PACKET", None)
    if family is None:
        pytest.skip("there are no packet sockets here")
    try:
        raw = socket.socket(family, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
    except PermissionError:
        pytest.skip("packet sockets need CAP_NET_RAW")
    wanted = struct.pack(">H", port)
    packets: list[tuple[float, bytes]] = []

    def capture() -> bytes:
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = raw.recv(0x10000)[_ETHERNET_HEADER:]
                if packet[:1] == b"\x45" and wanted in (packet[20:22], packet[22:24]):
                    packets.append((time.time(), packet))
        return write_pcap(packets, link="raw")

    with raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        _take_only(raw, port)
        raw.bind((_LOOPBACK, 0))
        raw.setblocking(False)
        yield capture


def read(capture: bytes, account: Account) -> list[Entry]:
    if not capture:
        return []
    return list(decode(io.BytesIO(capture), Reading(account=account, now=0)))


def findings(entries: list[Entry], kind: type[_Finding]) -> list[_Finding]:
    return [
        each.finding
        for each in entries
        if isinstance(each, Record) and isinstance(each.finding, kind)
    ]


@pytest.mark.parametrize("recorder", [by_tcpdump, by_packet_socket])
@pytest.mark.parametrize(("alter_id", "mux"), [(0, False), (4, False), (0, True)])
async def test_what_nodes_send_is_read_from_a_capture(
    recorder: Recorder, alter_id: int, mux: bool, tmp_path: Path
) -> None:
    account = Account(user_id=parse_user_id(USER_ID), alter_id_count=alter_id)
    entries: list[Entry] = []

    def is_complete() -> bool:
        entries[:] = read(capture(), account)
        causes = [each.by for each in findings(entries, DirectionEnd)]
        return len(causes) == 2 and EndedBy.INPUT not in causes

    async with start_echo() as origin, start_server_node(ServerSpec(alter_id=alter_id)) as server:
        with recorder(server.port, tmp_path) as capture:
            spec = ClientSpec(server_port=server.port, alter_id=alter_id, mux=mux)
            async with start_client_node(spec) as client:
                await check_echo(client.port, origin)
            await wait_until(is_complete)
    summary = entries[-1]
    assert isinstance(summary, Summary)
    assert (summary.connections, summary.recognised) == (1, 1)
    (request,) = findings(entries, RequestFound)
    assert (request.alter_id is None) is (alter_id == 0)
    assert abs(request.timestamp - request.now) <= TIMESTAMP_JITTER + _CLOCK_SLACK
    assert (request.header.command is Command.MUX) is mux
    assert len(findings(entries, ResponseFound)) == 1
    payload = sum(len(each.payload) for each in findings(entries, ChunkFound))
    frames = [each.frame for each in findings(entries, FrameFound)]
    if mux:
        data = [each.data or b"" for each in frames if isinstance(each, New | Keep)]
        assert sum(map(len, data)) == 2 * _ECHOED
    else:
        assert request.header.destination.port == origin.port
        assert (payload, frames) == (2 * _ECHOED, [])


def test_the_command_is_a_program(tmp_path: Path) -> None:
    file = tmp_path / "stranger.hex"
    file.write_text("16030100010100000000000000000000000000\n", "ascii")
    code, out, err = run_command("decode", "--id", USER_ID, str(file))
    assert code == 1
    assert "this is a TLS ClientHello, not VMess" in out
    assert err.startswith("error: no connection of this user was found")


@pytest.mark.parametrize("module", ["dpkt", "trio_vmess.core.dissection", "trio_vmess.cli.decode"])
def test_nodes_do_not_load_what_only_decode_needs(module: str) -> None:
    code = (
        "import sys, trio_vmess, trio_vmess.cli, trio_vmess.diagnosis; "
        f"sys.exit({module!r} in sys.modules)"
    )
    done = run_python("-c", code, limit=30)
    assert (done.returncode, done.stderr) == (0, "")
