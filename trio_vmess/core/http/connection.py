"""An h11 connection with bounds: on a head, and on what waits unparsed.

h11 bounds only a head that is incomplete; a large one that arrives in one read would pass. So h11
is fed from a buffer of ours, never with more than one head's worth.
"""

from typing import Final

import h11

from trio_vmess.core.buffer import NEED_DATA, NeedData, ReceiveBuffer
from trio_vmess.errors import RemoteProtocolError

HEAD_SIZE_MAX: Final = 64 * 1024
"""Bytes of a request line or status line with its headers, the empty line included."""

RECEIVE_LIMIT: Final = 1 << 20
"""Bytes that may wait unparsed: one large read and what a client sends ahead of its turn."""


class BoundedConnection:
    """One side of one HTTP/1.1 connection.

    Args:
        role: `h11.SERVER` or `h11.CLIENT`: what we are.
    """

    def __init__(self, role: type[h11.SERVER] | type[h11.CLIENT]) -> None:
        self._role = role
        self._h11 = _connection(role)
        self._buffer = ReceiveBuffer(RECEIVE_LIMIT)
        self._head_begun = False

    @property
    def ended(self) -> bool:
        """True once the peer has ended its stream."""
        return self._buffer.ended

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Store what the peer sent; no bytes mean the same as `receive_eof`.

        Raises:
            RemoteProtocolError: more than `RECEIVE_LIMIT` bytes wait.
            LocalProtocolError: the stream has ended before.
        """
        # What h11 holds is counted too, so that all of it fits when a new request begins.
        waiting = len(self._h11.trailing_data[0]) + len(self._buffer)
        if waiting + len(data) > RECEIVE_LIMIT:
            raise RemoteProtocolError(
                f"{waiting + len(data)} unparsed bytes; the limit is {RECEIVE_LIMIT}"
            )
        self._buffer.append(data)

    def receive_eof(self) -> None:
        """Note that the peer has ended its stream."""
        self._buffer.append_eof()

    def next_event(self) -> h11.Event | NeedData:
        """Parse the next event.

        Raises:
            h11.RemoteProtocolError: the peer broke the protocol.
        """
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as exc:
                # It was raised from a frame that refers to it, and so to us: a cycle.
                exc.__traceback__ = None
                raise
            if isinstance(event, h11.Event):
                return event
            if event is h11.PAUSED:
                return NEED_DATA
            if not (self._head_begun or self._skip_empty_lines() or self.ended):
                return NEED_DATA
            if self._buffer:
                self._head_begun = True
                room = HEAD_SIZE_MAX - len(self._h11.trailing_data[0])
                self._h11.receive_data(self._buffer.take(min(room, len(self._buffer))))
            elif self.ended:
                self._h11.receive_data(b"")
                # h11 answers an end with an event or an error, so this does not go round again.
            else:
                return NEED_DATA

    def send(self, *events: h11.Event) -> bytes:
        """Serialise events.

        Raises:
            h11.LocalProtocolError: one of them is not legal now.
        """
        return b"".join(self._h11.send(event) or b"" for event in events)

    def start_next_cycle(self) -> None:
        """Get ready for the next request.

        Raises:
            h11.LocalProtocolError: `reusable` is False.
        """
        self._h11.start_next_cycle()
        ahead, ended = self.unparsed, self.ended
        self._h11 = _connection(self._role)
        self._buffer = ReceiveBuffer(RECEIVE_LIMIT)
        if ahead:
            self._buffer.append(ahead)
        if ended:
            self._buffer.append_eof()
        self._head_begun = False

    def _skip_empty_lines(self) -> bool:
        """Drop empty lines before a request, as RFC 9112 section 2.2 asks of servers.

        Returns:
            True if there is something else.
        """
        while self._role is h11.SERVER:
            start = self._buffer.peek(2)
            if start.startswith(b"\n"):
                self._buffer.take(1)
            elif start == b"\r\n":
                self._buffer.take(2)
            else:
                return start not in (b"", b"\r")
        return len(self._buffer) > 0

    @property
    def first_byte(self) -> bytes:
        """The first byte that is not yet parsed, as long as nothing is."""
        return self._buffer.peek(1)

    @property
    def unparsed(self) -> bytes:
        """Everything received and not parsed."""
        return self._h11.trailing_data[0] + self._buffer.peek()

    @property
    def may_respond(self) -> bool:
        """True if a response can still be begun."""
        return self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE)

    @property
    def must_close(self) -> bool:
        """True if what we have sent rules another request out."""
        return self._h11.our_state is h11.MUST_CLOSE

    @property
    def reusable(self) -> bool:
        """True if both sides are done and neither asked for a close."""
        return self._h11.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}


def _connection(role: type[h11.SERVER] | type[h11.CLIENT]) -> h11.Connection:
    return h11.Connection(role, max_incomplete_event_size=HEAD_SIZE_MAX - 1)
