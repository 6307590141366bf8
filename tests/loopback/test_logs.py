"""Logs that cannot be written neither stop a node nor keep it from ending."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.ports import free_port

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")

CONFIG = """
[log]
level = "info"
access = "{access}"
error = "{error}"
[[inbounds]]
protocol = "dokodemo-door"
listen = "127.0.0.1"
port = {port}
target_address = "127.0.0.1"
target_port = {target}
[[inbounds]]
protocol = "vmess"
listen = "127.0.0.1"
port = {vmess}
users = [{{ id = "b831381d-6324-4d53-ad4f-8cda48b30811" }}]
[[outbounds]]
protocol = "freedom"
"""


class RunningNode:
    """A node of its own process, in front of a destination that closes every connection.

    Args:
        folder: for its configuration.
        access: where its access log goes.
        error: where its error log goes.
        stdout: a descriptor for its standard output; by default a pipe, whose start lines are read.
    """

    def __init__(
        self, folder: Path, *, access: str = "", error: str = "", stdout: int = subprocess.PIPE
    ) -> None:
        self._destination = socket.create_server(("127.0.0.1", 0), backlog=500)
        self._destination.settimeout(10)
        self.port, self.vmess = free_port(), free_port()
        config = folder / "node.toml"
        config.write_text(
            CONFIG.format(
                access=access,
                error=error,
                port=self.port,
                vmess=self.vmess,
                target=self._destination.getsockname()[1],
            )
        )
        config.chmod(0o600)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trio_vmess", "run", "--config", str(config)],
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        if self.process.stdout is None:
            wait_for_port(self.vmess)
            return
        while b"vmess on" not in (line := self.process.stdout.readline()):
            assert line, self.process.communicate()

    def use(self, times: int = 1) -> None:
        """Have connections served, one after the other."""
        for _ in range(times):
            with socket.create_connection(("127.0.0.1", self.port), timeout=10) as client:
                accepted, _ = self._destination.accept()
                accepted.sendall(b"x")
                accepted.close()
                assert client.recv(1) == b"x"
                assert client.recv(1) == b""

    def fail_dials(self, times: int) -> None:
        """Have connections refused by the destination, which is gone from now on."""
        self._destination.close()
        for _ in range(times):
            with socket.create_connection(("127.0.0.1", self.port), timeout=10) as client:
                assert client.recv(1) == b""

    def stop(self) -> float:
        """End it by SIGTERM; return the seconds that it took."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=10) == 0
        return time.monotonic() - begin

    def close(self) -> None:
        """Kill it if it still runs."""
        self.process.kill()
        self.process.communicate()
        self._destination.close()


@contextmanager
def running_node(
    folder: Path, *, access: str = "", error: str = "", stdout: int = subprocess.PIPE
) -> Generator[RunningNode]:
    node = RunningNode(folder, access=access, error=error, stdout=stdout)
    try:
        yield node
    finally:
        node.close()


@contextmanager
def full_pipe() -> Generator[int]:
    """Yield the end of a pipe that takes nothing, and that nobody reads."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for size in (65536, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(size))
    os.set_blocking(writer, True)
    try:
        yield writer
    finally:
        os.close(reader)
        os.close(writer)


def wait_for_port(port: int) -> None:
    limit = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < limit
            time.sleep(0.02)
        else:
            return


def wait_for_line(path: Path, pattern: str) -> None:
    limit = time.monotonic() + 5
    while not (path.exists() and re.search(pattern, path.read_text())):
        assert time.monotonic() < limit, path.exists() and path.read_text()
        time.sleep(0.01)


def test_pipes_that_nobody_reads_stop_nothing(tmp_path: Path) -> None:
    with running_node(tmp_path) as node:
        # Two lines each, of about 150 bytes: more than a pipe holds.
        node.use(400)
        assert node.stop() < 4


@pytest.mark.parametrize("access", ["", "none"])
def test_a_full_pipe_that_nobody_reads_does_not_hold_up_the_start(
    tmp_path: Path, access: str
) -> None:
    with full_pipe() as stdout, running_node(tmp_path, access=access, stdout=stdout) as node:
        node.use(20)
        assert node.stop() < 4


@pytest.mark.parametrize(
    ("arguments", "nodes"), [(["server", "--listen", "127.0.0.1"], 1), (["demo"], 2)]
)
def test_a_full_pipe_holds_up_neither_the_link_nor_the_demo(
    arguments: Sequence[str], nodes: int
) -> None:
    """What comes after the lines is seen: a signal ends the process as it should."""
    with (
        full_pipe() as stdout,
        subprocess.Popen(
            [sys.executable, "-m", "trio_vmess", *arguments, "--log-level", "info"],
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        ) as process,
    ):
        assert process.stderr is not None
        try:
            for _ in range(nodes):
                while b"node.started" not in (line := process.stderr.readline()):
                    assert line
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
        finally:
            process.kill()


def test_pipes_without_a_reader_stop_nothing(tmp_path: Path) -> None:
    with running_node(tmp_path) as node:
        assert node.process.stdout is not None
        assert node.process.stderr is not None
        node.process.stdout.close()
        node.process.stderr.close()
        node.use(50)
        begin = time.monotonic()
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(timeout=10) == 0
        assert time.monotonic() - begin < 4
        node.process.stdout = node.process.stderr = None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_full_disk_stops_nothing_and_is_told_once(tmp_path: Path) -> None:
    with running_node(tmp_path, access="/dev/full", error="/dev/full") as node:
        node.use(50)
        assert node.stop() < 4
        assert node.process.stderr is not None
        err = node.process.stderr.read().decode()
    assert err == (
        "warning: cannot write the error log '/dev/full': No space left on device; its lines are "
        "dropped and counted until it can be written again\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_the_error_log_tells_of_an_access_log_that_fails(tmp_path: Path) -> None:
    error = tmp_path / "error.log"
    with running_node(tmp_path, access="/dev/full", error=str(error)) as node:
        node.use(50)
        wait_for_line(error, "log.failed")
        assert node.stop() < 4
    text = error.read_text()
    assert "log.failed log=access reason='No space left on device'" in text
    assert text.count("log.failed") == 1


def test_twenty_thousand_refusals_are_a_few_lines(tmp_path: Path) -> None:
    error = tmp_path / "error.log"
    with running_node(tmp_path, access="none", error=str(error)) as node:
        for _ in range(100):
            strangers = [
                socket.create_connection(("127.0.0.1", node.vmess), timeout=10) for _ in range(200)
            ]
            for stranger in strangers:
                stranger.sendall(bytes(64))
                stranger.shutdown(socket.SHUT_WR)
            for stranger in strangers:
                stranger.recv(1)
                stranger.close()
        assert node.stop() < 10
    text = error.read_text()
    assert len(text) < 20_000
    counted = sum(map(int, re.findall(r"vmess\.refused .*repeated=(\d+)", text)))
    written = len(re.findall(r"vmess\.refused source=[\d.]+:(?!.*repeated=)", text))
    assert counted + written == 20_000


def test_two_thousand_failed_dials_are_a_few_lines_and_all_in_the_access_log(
    tmp_path: Path,
) -> None:
    access, error = tmp_path / "access.log", tmp_path / "error.log"
    with running_node(tmp_path, access=str(access), error=str(error)) as node:
        node.fail_dials(2000)
        assert node.stop() < 10
    assert access.read_text().count("rejected ") == 2000
    text = error.read_text()
    assert len(text) < 5000
    counted = sum(map(int, re.findall(r"dispatch\.unreachable .*repeated=(\d+)", text)))
    written = len(re.findall(r"dispatch\.unreachable source=.* detail='.*refused", text))
    assert counted + written == 2000
    assert re.search(r":\d+ reason='connection refused' user=- repeated=1995\n", text)


def test_files_are_rotated_by_renaming_with_and_without_a_signal(tmp_path: Path) -> None:
    access, error = tmp_path / "access.log", tmp_path / "error.log"
    with running_node(tmp_path, access=str(access), error=str(error)) as node:
        node.use()
        wait_for_line(access, "closed ")
        access.rename(tmp_path / "access.log.1")
        error.rename(tmp_path / "error.log.1")
        node.process.send_signal(signal.SIGHUP)
        wait_for_line(access, "^$")
        wait_for_line(error, "^$")
        node.use()
        wait_for_line(access, "closed ")
        access.rename(tmp_path / "access.log.2")
        time.sleep(1.1)
        node.use()
        wait_for_line(access, "closed ")
        assert node.stop() < 4
    for name in ("access.log.1", "access.log.2", "access.log"):
        assert (tmp_path / name).read_text().count("closed ") == 1
