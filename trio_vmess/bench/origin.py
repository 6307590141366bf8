"""The destination of measured connections: one process that sends, discards or echoes bytes.

A connection begins with a request of `REQUEST_SIZE` bytes: a letter and a number (big-endian).

    d   download: send bytes for that many milliseconds, then `MARK`
    u   upload: read until `MARK`; then send the number of bytes, mark included, in 8 bytes
    e   echo everything that follows

A mark ends a transfer because not every proxy passes on the end of a stream. Only the last bytes of
each read are compared with it. Datagrams are echoed on the UDP port of the same number.
"""

import contextlib
import selectors
import socket
import struct
import sys
import time
from typing import Final, NoReturn, Self

from trio_vmess.bench.processes import BenchError, Child, python_command

REQUEST: Final = struct.Struct(">cQ")
REQUEST_SIZE: Final = REQUEST.size
COUNT: Final = struct.Struct(">Q")
"""The answer to an upload."""

MARK: Final = b"the transfer's end"

BLOCK_SIZE: Final = 1024 * 1024
"""Bytes per system call, at most."""

_DATAGRAMS_PER_TURN: Final = 64
_DATAGRAM_SIZE_MAX: Final = 65_535

_buffer: Final = memoryview(bytearray(BLOCK_SIZE))
_block: Final = memoryview(bytes(BLOCK_SIZE))


class Origin:
    """A listener, its connections, and an echo for datagrams.

    Args:
        listener: a TCP socket that listens.
        datagrams: a UDP socket that is bound.
    """

    def __init__(self, listener: socket.socket, datagrams: socket.socket) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = listener
        self._datagrams = datagrams
        for sock, callback in ((listener, self._accept), (datagrams, self._echo_datagrams)):
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, callback)

    def serve(self) -> NoReturn:
        """Serve until the process is ended."""
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:  # the client has closed it already
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        connection = _Connection(sock, self._selector)
        self._selector.register(sock, selectors.EVENT_READ, connection.on_ready)

    def _echo_datagrams(self) -> None:
        sock = self._datagrams
        # Datagrams that do not fit the kernel's buffers are lost; the generator counts them.
        with contextlib.suppress(OSError):
            for _ in range(_DATAGRAMS_PER_TURN):
                data, sender = sock.recvfrom(_DATAGRAM_SIZE_MAX)
                sock.sendto(data, sender)


class Tail:
    """The last bytes that were received."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept = b""

    def ends(self, data: memoryview) -> bool:
        """Tell whether everything received so far, `data` included, ends with `MARK`."""
        last = bytes(data[-len(MARK) :])
        if len(last) < len(MARK):
            last = (self._kept + last)[-len(MARK) :]
        self._kept = last
        return last == MARK


class _Connection:
    """One connection, as a step function that changes with its state."""

    def __init__(self, sock: socket.socket, selector: selectors.BaseSelector) -> None:
        self._sock = sock
        self._selector = selector
        self._request = b""
        self._step = self._read_request
        self._end = 0.0
        self._count = 0
        self._tail = Tail()

    def on_ready(self) -> None:
        """Take one step; close the connection after the last one."""
        try:
            is_over = self._step()
        except BlockingIOError:
            return
        except OSError:
            is_over = True
        if is_over:
            self._selector.unregister(self._sock)
            self._sock.close()

    def _read_request(self) -> bool:
        data = self._sock.recv(BLOCK_SIZE)
        if not data:
            return True
        self._request += data
        if len(self._request) < REQUEST_SIZE:
            return False
        kind, number = REQUEST.unpack_from(self._request)
        rest = self._request[REQUEST_SIZE:]
        if kind == b"d":
            self._end = time.perf_counter() + number / 1000
            self._step = self._send
            self._selector.modify(self._sock, selectors.EVENT_WRITE, self.on_ready)
        elif kind == b"u":
            self._step = self._discard
            if rest and self._tail.ends(memoryview(rest)):
                raise OSError("an upload ended with its request")
            self._count = len(rest)
        elif kind == b"e":
            self._step = self._echo
            if rest:
                self._sock.sendall(rest)
        else:
            return True
        return False

    def _send(self) -> bool:
        if time.perf_counter() < self._end:
            self._sock.send(_block)
            return False
        # The socket is writable, so it takes a few bytes.
        self._sock.sendall(MARK)
        self._step = self._await_end
        self._selector.modify(self._sock, selectors.EVENT_READ, self.on_ready)
        return False

    def _discard(self) -> bool:
        size = self._sock.recv_into(_buffer)
        if not size:
            return True
        self._count += size
        if self._tail.ends(_buffer[:size]):
            self._sock.sendall(COUNT.pack(self._count))
            self._step = self._await_end
        return False

    def _echo(self) -> bool:
        size = self._sock.recv_into(_buffer)
        if not size:
            return True
        self._sock.sendall(_buffer[:size])
        return False

    def _await_end(self) -> bool:
        return not self._sock.recv_into(_buffer)


def run_origin() -> NoReturn:
    """Serve on a free port of loopback; its number is printed first."""
    while True:
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            datagrams.bind(listener.getsockname())
        except OSError:  # the UDP port of that number is taken
            listener.close()
            datagrams.close()
            continue
        break
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    Origin(listener, datagrams).serve()


class OriginProcess:
    """`run_origin` in a process of its own: a context manager."""

    def __init__(self) -> None:
        self._child = Child("origin", python_command("origin"), has_pipes=True)
        try:
            line = self._child.read_line()
            if not line:
                raise BenchError(self._child.explain("did not start"))
            self.port = int(line)
        except BaseException:
            self._child.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._child.pid
