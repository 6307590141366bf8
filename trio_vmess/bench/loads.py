"""The loads that a generator runs, through a proxy or directly: each returns its figures.

A load is cheap: blocking sockets or a selector, reads and writes of 1 MiB, and nothing of the
payload is examined but its end. Each load is bounded in time or in count; if it hangs all the same,
its caller kills the process.
"""

import contextlib
import selectors
import socket
import statistics
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import attrs

from trio_vmess.bench.origin import BLOCK_SIZE, COUNT, MARK, REQUEST, Tail

Figures = dict[str, float]

TRIP_SIZE: Final = 64
"""Bytes of a round trip, in each direction."""

WINDOW: Final = 32
"""Datagrams in flight."""

_GREETING: Final = b"\x05\x01\x00"
_CHOICE: Final = b"\x05\x00"
_CONNECT: Final = 1
_ASSOCIATE: Final = 3
_DATAGRAM_SIZE_MAX: Final = 65_535
_LOSS_LIMIT: Final = 0.25
"""Seconds after which datagrams that were not echoed count as lost."""
_SILENCE_LIMIT: Final = 3.0
"""Seconds without any data on all new connections, after which they count as failed."""
_FAILED_SHARE_MAX: Final = 0.02
_SILENCE_PAUSE: Final = 0.5
_REFUSAL_PAUSE: Final = 0.02

_PING: Final = bytes(TRIP_SIZE)
_buffer: Final = memoryview(bytearray(BLOCK_SIZE))
_block: Final = memoryview(bytes(BLOCK_SIZE))


class LoadError(Exception):
    """The proxy or the origin did not do what the load needs."""


@attrs.frozen(kw_only=True)
class Target:
    """Where a load connects to.

    Attributes:
        origin: the origin's port on 127.0.0.1.
        proxy: the port of a SOCKS5 proxy on 127.0.0.1; None connects directly to the origin.
    """

    origin: int
    proxy: int | None = None


# Connecting ---------------------------------------------------------------------------------------


def _socks_request(command: int, host: str, port: int) -> bytes:
    return b"\x05%c\x00\x01" % command + socket.inet_aton(host) + struct.pack(">H", port)


def _reply_size(start: bytes) -> int:
    """Return the size of a SOCKS5 reply from its first 5 bytes.

    Raises:
        LoadError: the proxy refuses.
    """
    if start[0] != 5 or start[1] != 0:
        raise LoadError(f"the proxy answered {start[:5].hex()}")
    return {1: 10, 3: 7 + start[4], 4: 22}[start[3]]


def _open(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    return sock


def _receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise LoadError(f"the connection ended after {len(data)} of {size} bytes")
        data += more
    return data


def _ask_proxy(sock: socket.socket, command: int, port: int) -> bytes:
    """Do the SOCKS5 handshake on a blocking socket; return the reply."""
    sock.sendall(_GREETING)
    if (choice := _receive(sock, 2)) != _CHOICE:
        raise LoadError(f"the proxy chose {choice.hex()}")
    host = "127.0.0.1" if command == _CONNECT else "0.0.0.0"
    sock.sendall(_socks_request(command, host, port))
    start = _receive(sock, 5)
    return start + _receive(sock, _reply_size(start) - len(start))


def connect(target: Target, kind: bytes, number: int = 0) -> socket.socket:
    """Return a blocking socket to the origin, with the request sent.

    Raises:
        LoadError: the proxy refused.
        OSError: proxy or origin could not be reached.
    """
    sock = _open(target.origin if target.proxy is None else target.proxy)
    try:
        if target.proxy is not None:
            _ask_proxy(sock, _CONNECT, target.origin)
        sock.sendall(REQUEST.pack(kind, number))
    except BaseException:
        sock.close()
        raise
    return sock


# Bulk ---------------------------------------------------------------------------------------------


def download(target: Target, *, streams: int, seconds: float) -> Figures:
    """Receive what the origin sends in `seconds`, on `streams` connections at once."""
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        start = time.perf_counter()
        for _ in range(streams):
            sock = stack.enter_context(connect(target, b"d", int(seconds * 1000)))
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ, (sock.recv_into, Tail()))
        total = 0
        while selector.get_map():
            for key, _ in selector.select():
                receive_into, tail = key.data
                size = receive_into(_buffer)
                if not size:
                    raise LoadError("a download ended early")
                total += size
                if tail.ends(_buffer[:size]):
                    selector.unregister(key.fileobj)
        elapsed = time.perf_counter() - start
    return {"bytes": total, "seconds": elapsed}


def upload(target: Target, *, streams: int, seconds: float) -> Figures:
    """Send for `seconds`, on `streams` connections at once, until the origin has confirmed it."""
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        start = time.perf_counter()
        socks = [stack.enter_context(connect(target, b"u")) for _ in range(streams)]
        for sock in socks:
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_WRITE, sock.send)
        sent, end = 0, start + seconds
        while not sent or time.perf_counter() < end:
            for key, _ in selector.select(0.1):
                sent += key.data(_block)
        for sock in socks:
            sock.setblocking(True)
            sock.sendall(MARK)
        arrived = sum(COUNT.unpack(_receive(sock, COUNT.size))[0] for sock in socks)
        elapsed = time.perf_counter() - start
    sent += len(MARK) * streams
    if arrived != sent:
        raise LoadError(f"{sent} bytes were sent, {arrived} arrived")
    return {"bytes": sent, "seconds": elapsed}


# Round trips and connections ----------------------------------------------------------------------


def round_trips(target: Target, *, seconds: float) -> Figures:
    """Send 64 bytes and wait for their echo, repeatedly, on one connection."""
    times: list[float] = []
    with connect(target, b"e") as sock:
        end = time.perf_counter() + seconds
        now = time.perf_counter()
        while now < end:
            sock.sendall(_PING)
            if sock.recv_into(_buffer, TRIP_SIZE) != TRIP_SIZE:
                raise LoadError("an echo arrived in pieces, or not at all")
            last, now = now, time.perf_counter()
            times.append(now - last)
    return {"count": len(times), "seconds": sum(times), **percentiles(times)}


def percentiles(times: Sequence[float]) -> Figures:
    """Return the 50th and 99th percentile, in the unit of the input."""
    ordered = sorted(times)
    return {"p50": ordered[len(ordered) // 2], "p99": ordered[len(ordered) * 99 // 100]}


Script = Iterator[tuple[bytes, Callable[[bytes], bool]]]
"""What to send, and a function that tells whether the answer is complete."""


def _script(target: Target) -> Script:
    if target.proxy is not None:
        yield _GREETING, lambda answer: len(answer) >= len(_CHOICE)
        yield (
            _socks_request(_CONNECT, "127.0.0.1", target.origin),
            lambda answer: len(answer) >= 5 and len(answer) >= _reply_size(answer),
        )
    yield REQUEST.pack(b"e", 0) + _PING, lambda answer: len(answer) >= TRIP_SIZE


class _EchoConnection:
    """A non-blocking connection from its opening to the first echo.

    Attributes:
        has_echo: whether the echo has arrived; final when `on_readable` has returned True.
    """

    def __init__(self, target: Target) -> None:
        self.start = time.perf_counter()
        self.has_echo = False
        self.sock = _open(target.origin if target.proxy is None else target.proxy)
        self.sock.setblocking(False)
        self._script = _script(target)
        self._answer = b""
        self._send_next()

    def _send_next(self) -> None:
        for data, is_complete in self._script:
            self.sock.send(data)
            self._is_complete = is_complete
            return
        self.has_echo = True

    def on_readable(self) -> bool:
        """Read, and send what comes next; tell whether this is over, with an echo or without."""
        try:
            data = self.sock.recv(4096)
            self._answer += data
            if data and self._is_complete(self._answer):
                self._answer = b""
                self._send_next()
        except (LoadError, OSError):
            return True
        return self.has_echo or not data


def first_bytes(target: Target, *, count: int, pause: float) -> Figures:
    """Ask for an echo on new connections, one after the other; note when its first byte comes.

    Args:
        target: where to.
        count: how many.
        pause: seconds between the end of one and the beginning of the next.

    Returns:
        Medians of the seconds from the beginning of a connection: `reply` until the proxy has
        answered, `first` until the first byte of the echo.
    """
    replies: list[float] = []
    firsts: list[float] = []
    for _ in range(count):
        start = time.perf_counter()
        with _open(target.origin if target.proxy is None else target.proxy) as sock:
            if target.proxy is not None:
                _ask_proxy(sock, _CONNECT, target.origin)
            replies.append(time.perf_counter() - start)
            sock.sendall(REQUEST.pack(b"e", 0) + _PING)
            _receive(sock, 1)
            firsts.append(time.perf_counter() - start)
            _receive(sock, TRIP_SIZE - 1)
        time.sleep(pause)
    return {
        "count": count,
        "seconds": sum(firsts),
        "reply": statistics.median(replies),
        "first": statistics.median(firsts),
    }


def connections(target: Target, *, count: int, in_flight: int) -> Figures:
    """Open, use and close connections, `in_flight` at a time.

    A few may fail: V2Ray's replay filter rejects some new requests.

    Raises:
        LoadError: more than a few did.
        OSError: the proxy could not be reached.
    """
    times: list[float] = []
    failed, left = 0, count
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
        start = time.perf_counter()
        while left or selector.get_map():
            while left and len(selector.get_map()) < in_flight:
                left -= 1
                connection = _EchoConnection(target)
                stack.callback(connection.sock.close)
                selector.register(connection.sock, selectors.EVENT_READ, connection)
            ready: list[_EchoConnection] = [key.data for key, _ in selector.select(_SILENCE_LIMIT)]
            silent = [] if ready else [key.data for key in selector.get_map().values()]
            for connection in (*silent, *filter(_EchoConnection.on_readable, ready)):
                selector.unregister(connection.sock)
                connection.sock.close()
                if connection.has_echo:
                    times.append(time.perf_counter() - connection.start)
                else:
                    failed += 1
            if failed > count * _FAILED_SHARE_MAX:
                raise LoadError(f"{failed} of {count - left} new connections failed")
        elapsed = time.perf_counter() - start
    return {"count": len(times), "failed": failed, "seconds": elapsed, **percentiles(times)}


def first_connection(target: Target, *, seconds: float) -> Figures:
    """Open connections until one gets its echo: at once after a refusal, and beside silent ones.

    Raises:
        LoadError: none got its echo in time.
    """
    start = next_try = time.perf_counter()
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
        while (now := time.perf_counter()) < start + seconds:
            if now >= next_try:
                next_try = now + _SILENCE_PAUSE
                with contextlib.suppress(OSError):
                    connection = _EchoConnection(target)
                    stack.callback(connection.sock.close)
                    selector.register(connection.sock, selectors.EVENT_READ, connection)
            for key, _ in selector.select(max(0.0, next_try - now)):
                if key.data.on_readable():
                    if key.data.has_echo:
                        return {"seconds": time.perf_counter() - start}
                    selector.unregister(key.fileobj)
                    next_try = now + _REFUSAL_PAUSE
    raise LoadError(f"no connection was served within {seconds:g} s")


_held: Final[list[socket.socket]] = []


def hold(target: Target, *, count: int) -> Figures:
    """Open connections, use each one once, and keep them until `release`.

    Raises:
        LoadError: more than a few failed.
        OSError: the proxy could not be reached.
    """
    failed = 0
    while len(_held) < count:
        sock = connect(target, b"e")
        try:
            sock.sendall(_PING)
            _receive(sock, TRIP_SIZE)
        except (LoadError, OSError):
            sock.close()
            failed += 1
            if failed > count * _FAILED_SHARE_MAX:
                raise
        else:
            _held.append(sock)
    return {"count": count, "failed": failed}


def release(_target: Target) -> Figures:
    """Close the connections that `hold` has opened."""
    for sock in _held:
        sock.close()
    count = len(_held)
    _held.clear()
    return {"count": count}


def datagrams(target: Target, *, size: int, seconds: float) -> Figures:
    """Send datagrams to the echo, with `WINDOW` in flight; count the echoes."""
    payload = bytes(size)
    with contextlib.ExitStack() as stack:
        port, header = target.origin, b""
        if target.proxy is not None:
            control = stack.enter_context(_open(target.proxy))
            reply = _ask_proxy(control, _ASSOCIATE, 0)
            port = struct.unpack(">H", reply[-2:])[0]
            request = _socks_request(_CONNECT, "127.0.0.1", target.origin)
            header = b"\x00\x00\x00" + request[3:]
        sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.connect(("127.0.0.1", port))
        sock.settimeout(_LOSS_LIMIT)
        packet, echoed, lost, in_flight = header + payload, 0, 0, 0
        start = now = time.perf_counter()
        while now < start + seconds:
            while in_flight < WINDOW:
                sock.send(packet)
                in_flight += 1
            try:
                if sock.recv_into(_buffer, _DATAGRAM_SIZE_MAX) != len(packet):
                    raise LoadError("an echo has the wrong size")
                echoed += 1
                in_flight -= 1
            except TimeoutError:
                lost += in_flight
                in_flight = 0
            now = time.perf_counter()
    return {"count": echoed, "lost": lost, "seconds": now - start}


LOADS: Final[Mapping[str, Callable[..., Figures]]] = {
    load.__name__: load
    for load in (
        *(download, upload, round_trips, first_bytes, connections, first_connection),
        *(hold, release, datagrams),
    )
}
"""By name, as in the requests to a generator."""
