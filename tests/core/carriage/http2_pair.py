"""A client and a server of HTTP/2 joined by function calls."""

from collections.abc import Callable

from trio_vmess.core.carriage.http2 import (
    DEFAULT_LIMITS,
    Event,
    Http2Connection,
    Limits,
    Request,
    RequestReceived,
    Response,
    Stream,
)

REQUEST = Request(method="PUT", scheme="https", authority="node.example", path="/tunnel")
OK = Response(status=200)


class Pair:
    """Both ends; `settle` moves bytes until neither has any to send."""

    def __init__(
        self, *, server_limits: Limits = DEFAULT_LIMITS, client_limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self.client = Http2Connection(is_client=True, limits=client_limits)
        self.server = Http2Connection(is_client=False, limits=server_limits)
        self.now = 0.0

    def settle(self) -> tuple[list[Event], list[Event]]:
        """Return what the client and the server have seen."""
        seen: tuple[list[Event], list[Event]] = ([], [])
        while self.client.queued_size or self.server.queued_size:
            seen[1].extend(receive(self.server, self.client.data_to_send(), now=self.now))
            seen[0].extend(receive(self.client, self.server.data_to_send(), now=self.now))
        return seen

    def open(self) -> tuple[Stream, Stream]:
        """Return both ends of a new stream that the server has answered."""
        ours = self.client.open_stream(REQUEST)
        theirs = next(
            event.stream for event in self.settle()[1] if isinstance(event, RequestReceived)
        )
        self.server.respond(theirs, OK)
        self.settle()
        return ours, theirs


def receive(
    connection: Http2Connection, data: bytes, *, step: int | None = None, now: float = 0.0
) -> list[Event]:
    """Give bytes to a connection, some at a time; return what has happened."""
    events: list[Event] = []
    for start in range(0, len(data), step or max(1, len(data))):
        piece = data[start : start + step] if step else data
        events += connection.receive_data(memoryview(piece), now)
    return events


def read_all(connection: Http2Connection, stream: Stream, size: int = 65_536) -> bytes:
    """Read what has come on a stream."""
    buffer, read = memoryview(bytearray(size)), bytearray()
    while count := connection.read_into(stream, buffer):
        read += buffer[:count]
    return bytes(read)


def send_while_possible(
    connection: Http2Connection, stream: Stream, data: bytes, settle: Callable[[], object]
) -> int:
    """Send as much as the windows take, without anybody reading; return how much that was."""
    view, sent = memoryview(data), 0
    while sent < len(data) and (size := connection.sendable_size(stream)):
        part = view[sent : sent + size]
        connection.send_data(stream, part)
        sent += len(part)
        settle()
    return sent
