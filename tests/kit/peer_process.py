"""Run a peer's process for the length of a block, and keep its log.

The log goes to a file, not to a pipe: nobody has to read it for the peer to go on.
A finished peer's last lines are kept until `take_finished_logs` is called; the tests' conftest
does that after each test and attaches them to its report, which pytest shows on failure.
"""

import collections
import json
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import attrs
import trio

from trio_vmess.transport import unix_address

START_LIMIT: Final = 15.0
"""Seconds a peer may take until its port accepts."""

_POLL_PAUSE: Final = 0.02
_LOG_TAIL_SIZE: Final = 16_384
_KEPT_VARIABLES: Final = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TMPDIR")

_finished_logs: collections.deque[tuple[str, str]] = collections.deque(maxlen=16)


class PeerError(Exception):
    """A peer did not come up or did not stay up; the message carries its log."""


@attrs.frozen(kw_only=True)
class RunningPeer:
    """A peer that accepts connections.

    Attributes:
        name: peer and role.
        host: address it listens on.
        port: port it listens on: VMess for servers and chains, SOCKS for clients; unused if it
            listens on a Unix socket.
        pid: its process id.
        configuration: the text it was started with.
    """

    name: str
    host: str
    port: int
    pid: int
    configuration: str = attrs.field(repr=False)
    _log_path: Path = attrs.field(repr=False)
    _process: trio.Process = attrs.field(repr=False)
    _killed: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)

    def log(self) -> str:
        """Return the last 16 KiB of what it has logged."""
        return _tail(self._log_path)

    @property
    def was_killed(self) -> bool:
        """Whether a test has ended it."""
        return self._killed.is_set()

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        self._killed.set()
        self._process.kill()
        await self._process.wait()


def take_finished_logs() -> list[tuple[str, str]]:
    """Return and forget (name, log tail) of the peers that ended since the last call."""
    taken = list(_finished_logs)
    _finished_logs.clear()
    return taken


def _tail(path: Path) -> str:
    with path.open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(0, size - _LOG_TAIL_SIZE))
        return log.read().decode(errors="replace")


@contextmanager
def _workspace(configuration: str) -> Iterator[tuple[Path, Path, BinaryIO]]:
    """Give a directory's configuration file and log, the latter also open for writing."""
    with tempfile.TemporaryDirectory(prefix="trio-vmess-peer-") as directory:
        configuration_path, log_path = Path(directory, "config.json"), Path(directory, "log")
        configuration_path.write_text(configuration)
        with log_path.open("wb") as log:
            yield configuration_path, log_path, log


async def _wait_until_accepting(
    process: trio.Process, host: str, port: int, unix_socket: str
) -> bool:
    with trio.move_on_after(START_LIMIT):
        while process.poll() is None:
            try:
                stream = (
                    await trio.open_unix_socket(unix_address(unix_socket))
                    if unix_socket
                    else await trio.open_tcp_stream(host, port)
                )
            except OSError:
                await trio.sleep(_POLL_PAUSE)
                continue
            await stream.aclose()
            # Another program may hold the port; then the peer is about to end.
            return process.poll() is None
    return False


@asynccontextmanager
async def run_peer(
    name: str,
    command: Sequence[str],
    configuration: Mapping[str, object] | str,
    host: str,
    port: int,
    environment: Mapping[str, str],
    *,
    unix_socket: str = "",
) -> AsyncIterator[RunningPeer]:
    """Start a peer, wait until it accepts, and kill it at the end of the block.

    Args:
        name: for logs and messages.
        command: program and arguments; the path of the configuration file is appended.
        configuration: written to that file, as JSON if it is not text already.
        host: address to wait for.
        port: port to wait for.
        environment: variables added to a small inherited set; proxy settings are not inherited.
        unix_socket: wait for this instead of the address and port: a path, `@name` or `@@name`;
            empty for these.

    Raises:
        PeerError: it ended, or did not accept within `START_LIMIT` seconds.
    """
    text = configuration if isinstance(configuration, str) else json.dumps(configuration, indent=1)
    with _workspace(text) as (configuration_path, log_path, log):
        process = await trio.lowlevel.open_process(
            [*command, str(configuration_path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=configuration_path.parent,
            env={
                **{key: os.environ[key] for key in _KEPT_VARIABLES if key in os.environ},
                **environment,
            },
        )
        try:
            if not await _wait_until_accepting(process, host, port, unix_socket):
                where = unix_socket or f"{host}:{port}"
                raise PeerError(
                    f"{name} does not accept on {where} (exit status "
                    f"{process.returncode})\n{_tail(log_path)}\n{text}"
                )
            running = RunningPeer(
                name=name,
                host=host,
                port=port,
                pid=process.pid,
                configuration=text,
                log_path=log_path,
                process=process,
            )
            yield running
            if process.poll() is not None and not running.was_killed:
                raise PeerError(
                    f"{name} ended early with status {process.returncode}\n{_tail(log_path)}"
                )
        finally:
            # Peers may ask for patience on SIGTERM, and the Xray binding ignores it.
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
            _finished_logs.append((name, _tail(log_path)))
