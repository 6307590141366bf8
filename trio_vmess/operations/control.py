"""The control socket: a running node answers questions of the user it runs as.

A Unix socket that nobody else may open. One line of JSON asks, one line answers:

    {"command": "stats", "reset": false}     {"counters": {"user>>>…": 517}, "seconds": 3.2, …}
    {"command": "connections"}               {"connections": [{"user": "ann@example.com", …}]}
    anything else                            {"error": "…"}

A node without a path of its own puts its socket where `find_sockets` looks for it.
"""

import contextlib
import errno
import json
import logging
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import trio

from trio_vmess.contracts import Transport
from trio_vmess.listen import Listener, open_listener

log: Final = logging.getLogger("trio_vmess.operations.control")

LINE_MAX: Final = 4096
"""Bytes of a request."""

CONNECTIONS_MAX: Final = 16
"""More than these at a time are closed at once."""

IDLE_MAX: Final = 60.0
"""Seconds for a request to come, and for its answer to be taken."""

ANSWER_TIMEOUT: Final = 10.0
"""Seconds that a client waits for the node."""

ANSWER_MAX: Final = 64 << 20
"""Bytes of an answer that a client takes."""

NAMES_MAX: Final = 100
"""Nodes of one process that find a name for their socket."""

Values = Mapping[str, object]
Answerer = Callable[[Values], Values]
"""From a request to its answer; raises `ValueError` with a sentence about a bad one."""


# The node's side ----------------------------------------------------------------------------------


def open_control(path: str = "") -> Listener:
    """Open the socket, for this user alone.

    Args:
        path: empty for one that `find_sockets` finds.

    Raises:
        OSError: it cannot be done; the text says what to do.
    """
    _require_unix_sockets()
    if path:
        return _open(path)
    folder = default_folder()
    _make_private(folder)
    _remove_stale(folder)
    for number in range(1, NAMES_MAX + 1):
        name = f"{os.getpid()}.sock" if number == 1 else f"{os.getpid()}-{number}.sock"
        try:
            return _open(str(folder / name))
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
    raise _error(errno.EADDRINUSE, f"{folder}: this process has {NAMES_MAX} control sockets there")


def _open(path: str) -> Listener:
    if path.startswith("@"):
        raise _error(errno.EINVAL, f"{path}: a control socket needs a file, which has permissions")
    # Set before there is a file: between its making and a change, anybody could connect.
    before = os.umask(0o177)
    try:
        return open_listener(path)
    finally:
        os.umask(before)


class ControlServer:
    """Answers requests on a control socket; a node runs it as a service.

    Args:
        answer: answers one of them.
        path: where the socket is to be; empty for the usual place, which the node can do without.
    """

    def __init__(self, answer: Answerer, *, path: str = "") -> None:
        self._answer = answer
        self._wanted = path
        self._path = ""
        self._sessions = trio.CapacityLimiter(CONNECTIONS_MAX)

    @property
    def path(self) -> str:
        """Where the socket is; empty if there is none."""
        return self._path

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until it is cancelled; then the socket and all connections are closed.

        Args:
            task_status: is told when it listens, or will not.

        Raises:
            OSError: the socket cannot be where it is wanted.
        """
        try:
            listener = open_control(self._wanted)
        except OSError as exc:
            if self._wanted:
                raise
            # Nobody asked for it by name: a node should not fail where it has no folder to write.
            log.warning("control.unavailable reason=%r", exc.strerror or str(exc))
            task_status.started()
            return
        self._path = str(listener)
        try:
            async with trio.open_nursery() as nursery:
                await listener.serve(
                    self.serve,
                    connections=nursery,
                    handshake=IDLE_MAX,
                    task_status=task_status,
                )
        finally:
            listener.close()

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        """Serve one connection to its end, and close it; see `Handler`."""
        try:
            self._sessions.acquire_on_behalf_of_nowait(transport)
        except trio.WouldBlock:
            await transport.aclose()
            return
        try:
            await _answer_lines(self._answer, transport)
        except trio.BrokenResourceError:
            return
        finally:
            self._sessions.release_on_behalf_of(transport)
            await transport.aclose()


async def _answer_lines(answer: Answerer, transport: Transport) -> None:
    """Answer line after line, until the client ends, dawdles, or has too much to say."""
    buffer = memoryview(bytearray(LINE_MAX))
    received = bytearray()
    while True:
        with trio.move_on_after(IDLE_MAX) as limit:
            while b"\n" not in received and len(received) <= LINE_MAX:
                size = await transport.receive_into(buffer)
                if not size:
                    return
                received += buffer[:size]
            line, newline, rest = received.partition(b"\n")
            received = bytearray(rest)
            reply = _answer_line(answer, bytes(line)) if newline else _refusal("too long a line")
            await transport.send_all(json.dumps(reply).encode("ascii") + b"\n")
            if not newline:
                return
        if limit.cancelled_caught:
            return


def _answer_line(answer: Answerer, line: bytes) -> Values:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return _refusal("expected one JSON object on a line")
    if not isinstance(request, dict):
        return _refusal("expected one JSON object on a line")
    try:
        return answer(cast("dict[str, object]", request))
    except ValueError as exc:
        return _refusal(str(exc))


def _refusal(text: str) -> Values:
    return {"error": text}


# The asking side ----------------------------------------------------------------------------------


def ask(path: str, request: Values) -> dict[str, object]:
    """Ask a running node.

    Args:
        path: of its control socket.
        request: see the module.

    Raises:
        OSError: no node answers there.
        ValueError: the node refuses the request, or the path is not a control socket.
    """
    _require_unix_sockets()
    received = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(ANSWER_TIMEOUT)
        try:
            client.connect(path)
            client.sendall(json.dumps(request).encode("ascii") + b"\n")
            while not received.endswith(b"\n") and len(received) <= ANSWER_MAX:
                data = client.recv(1 << 16)
                if not data:
                    break
                received += data
        except OSError as exc:
            why = exc.strerror or str(exc)
            raise _error(exc.errno, f"cannot reach a node at {path}: {why}") from None
    try:
        answer = json.loads(received)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise ValueError(f"{path} is not a trio-vmess control socket")
    if "error" in answer:
        raise ValueError(f"the node answers: {answer['error']}")
    return cast("dict[str, object]", answer)


def find_socket() -> str:
    """Return the socket of the one node that this user runs.

    Raises:
        OSError: there is none, or more than one.
    """
    _require_unix_sockets()
    folder = default_folder()
    found = find_sockets(folder)
    if not found:
        raise _error(
            errno.ENOENT,
            f"no running node was found in {folder}; start one with stats switched on, "
            "or name its socket with --socket",
        )
    if len(found) > 1:
        raise _error(
            errno.EEXIST, f"several nodes are running; choose one with --socket: {', '.join(found)}"
        )
    return found[0]


def find_sockets(folder: Path) -> Sequence[str]:
    """Return the sockets in a folder that a node listens on."""
    if not _is_private(folder):
        return []
    return [str(path) for path in sorted(folder.glob("*.sock")) if _is_alive(str(path))]


def _is_alive(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) in (0, errno.EAGAIN)


# Places -------------------------------------------------------------------------------------------


def has_unix_sockets() -> bool:
    """Tell whether this system can have control sockets at all."""
    return hasattr(socket, "AF_UNIX") and hasattr(os, "getuid")


def _require_unix_sockets() -> None:
    if not has_unix_sockets():
        raise _error(
            errno.EAFNOSUPPORT, "this system has no Unix sockets, so nodes have no control socket"
        )


def default_folder() -> Path:
    """Return the folder for sockets of this user's nodes; it need not be there."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):
        return Path(runtime) / "trio-vmess"
    return Path(tempfile.gettempdir()) / f"trio-vmess-{os.getuid()}"


def _make_private(folder: Path) -> None:
    """Make the folder, for this user alone.

    Raises:
        OSError: it cannot be made, or belongs to somebody else: in a folder that all may write
            to, anybody can be there first.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if not _is_private(folder):
        raise _error(errno.EPERM, f"{folder} is not a folder of this user alone; remove it")


def _remove_stale(folder: Path) -> None:
    """Remove what nodes have left that were killed."""
    for path in folder.glob("*.sock"):
        pid = path.stem.partition("-")[0]
        if pid.isascii() and pid.isdigit() and not _is_running(int(pid)):
            with contextlib.suppress(OSError):
                path.unlink()


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _is_private(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _error(number: int | None, text: str) -> OSError:
    return OSError(number, text)
