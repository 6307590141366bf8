"""The control socket: a running node answers requests of the user that it runs as.

It is a Unix socket that no other user can open. Requests and responses are JSON, one line each:

    {"command": "stats", "reset": false}     {"counters": {"user>>>…": 517}, "seconds": 3.2, …}
    {"command": "connections"}               {"connections": [{"user": "ann@example.com", …}]}
    anything else                            {"error": "…"}

Without a configured path, the socket is created where `find_sockets` looks for it.
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
"""Maximum size of a request in bytes."""

CONNECTIONS_MAX: Final = 16
"""Maximum number of connections at a time; further ones are closed at once."""

IDLE_MAX: Final = 60.0
"""Seconds to receive a request and send its response."""

RESPONSE_TIMEOUT: Final = 10.0
"""Seconds that a client waits for the node."""

RESPONSE_MAX: Final = 64 << 20
"""Maximum size of a response in bytes."""

NAMES_MAX: Final = 100
"""Maximum number of default sockets of one process."""

Values = Mapping[str, object]
HandleRequest = Callable[[Values], Values]
"""Returns the response to a request; raises `ValueError` with the error to report."""


# Server ----------------------------------------------------------------------------------------


def open_control(path: str = "") -> Listener:
    """Open the control socket, accessible to this user only.

    Args:
        path: empty for a default path that `find_sockets` finds.

    Raises:
        OSError: the socket cannot be opened; the text is a message for the operator.
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
    raise _error(
        errno.EADDRINUSE, f"{folder}: this process already has {NAMES_MAX} control sockets there"
    )


def _open(path: str) -> Listener:
    if path.startswith("@"):
        raise _error(
            errno.EINVAL,
            f"{path}: a control socket needs a file, because an abstract socket has no permissions",
        )
    # Set before the file exists: with a later chmod, others could connect in between.
    before = os.umask(0o177)
    try:
        return open_listener(path)
    finally:
        os.umask(before)


class ControlServer:
    """Answers requests on a control socket; a node runs it as a service.

    Args:
        handle: returns the response to a request.
        path: the configured path; empty for the default path, whose failure is only logged.
    """

    def __init__(self, handle: HandleRequest, *, path: str = "") -> None:
        self._handle = handle
        self._configured_path = path
        self._path = ""
        self._sessions = trio.CapacityLimiter(CONNECTIONS_MAX)

    @property
    def path(self) -> str:
        """The path of the socket; empty if there is none."""
        return self._path

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; then the socket and all connections are closed.

        Args:
            task_status: `started` is called when it listens, or when the default path failed.

        Raises:
            OSError: the socket cannot be opened at the configured path.
        """
        try:
            listener = open_control(self._configured_path)
        except OSError as exc:
            if self._configured_path:
                raise
            # Nobody has configured it, so a read-only file system must not stop the node.
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
        """Serve one connection until it ends, and close it; see `Handler`."""
        try:
            self._sessions.acquire_on_behalf_of_nowait(transport)
        except trio.WouldBlock:
            await transport.aclose()
            return
        try:
            await _serve_requests(self._handle, transport)
        except trio.BrokenResourceError:
            return
        finally:
            self._sessions.release_on_behalf_of(transport)
            await transport.aclose()


async def _serve_requests(handle: HandleRequest, transport: Transport) -> None:
    """Answer requests until the client closes, is idle for too long, or sends too long a line."""
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
            response = (
                _respond(handle, bytes(line))
                if newline
                else _error_response(f"expected a line of at most {LINE_MAX} bytes")
            )
            await transport.send_all(json.dumps(response).encode("ascii") + b"\n")
            if not newline:
                return
        if limit.cancelled_caught:
            return


def _respond(handle: HandleRequest, line: bytes) -> Values:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return _error_response("expected one JSON object on a line")
    if not isinstance(request, dict):
        return _error_response("expected one JSON object on a line")
    try:
        return handle(cast("dict[str, object]", request))
    except ValueError as exc:
        return _error_response(str(exc))


def _error_response(text: str) -> Values:
    return {"error": text}


# Client ------------------------------------------------------------------------------------------


def send_request(path: str, request: Values) -> dict[str, object]:
    """Send a request to a running node and return its response.

    Args:
        path: the node's control socket.
        request: see the module.

    Raises:
        OSError: no node can be reached there.
        ValueError: the node reports an error, or the path is not a control socket.
    """
    _require_unix_sockets()
    received = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(RESPONSE_TIMEOUT)
        try:
            client.connect(path)
            client.sendall(json.dumps(request).encode("ascii") + b"\n")
            while not received.endswith(b"\n") and len(received) <= RESPONSE_MAX:
                data = client.recv(1 << 16)
                if not data:
                    break
                received += data
        except OSError as exc:
            reason = exc.strerror or str(exc)
            raise _error(exc.errno, f"cannot reach a node at {path}: {reason}") from None
    try:
        response = json.loads(received)
    except (ValueError, RecursionError):
        response = None
    if not isinstance(response, dict):
        raise ValueError(f"{path} is not a trio-vmess control socket")
    if "error" in response:
        raise ValueError(f"the node reports: {response['error']}")
    return cast("dict[str, object]", response)


def find_socket() -> str:
    """Return the control socket of the only node that this user runs.

    Raises:
        OSError: no node or several nodes are running.
    """
    _require_unix_sockets()
    folder = default_folder()
    found = find_sockets(folder)
    if not found:
        raise _error(
            errno.ENOENT,
            f"no running node was found in {folder}; start one with stats enabled, "
            "or name its socket with --socket",
        )
    if len(found) > 1:
        raise _error(
            errno.EEXIST, f"several nodes are running; choose one with --socket: {', '.join(found)}"
        )
    return found[0]


def find_sockets(folder: Path) -> Sequence[str]:
    """Return the sockets in a folder that a process listens on."""
    if not _is_private(folder):
        return []
    return [str(path) for path in sorted(folder.glob("*.sock")) if _is_alive(str(path))]


def _is_alive(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) in (0, errno.EAGAIN)


# Paths --------------------------------------------------------------------------------------------


def has_unix_sockets() -> bool:
    """Return whether this system supports control sockets."""
    return hasattr(socket, "AF_UNIX") and hasattr(os, "getuid")


def _require_unix_sockets() -> None:
    if not has_unix_sockets():
        raise _error(
            errno.EAFNOSUPPORT, "this system has no Unix sockets, so nodes have no control socket"
        )


def default_folder() -> Path:
    """Return the folder for the sockets of this user's nodes; it may not exist yet."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):
        return Path(runtime) / "trio-vmess"
    return Path(tempfile.gettempdir()) / f"trio-vmess-{os.getuid()}"


def _make_private(folder: Path) -> None:
    """Create the folder, accessible to this user only.

    Raises:
        OSError: it cannot be created, or others have access: in a world-writable folder such as
            `/tmp`, another user may have created it first.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if not _is_private(folder):
        raise _error(errno.EPERM, f"{folder} is not accessible to this user only; remove it")


def _remove_stale(folder: Path) -> None:
    """Remove the sockets of processes that no longer run."""
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
