"""Both ends of a carrier: which sessions are open, what has come, and what is to be sent."""

from typing import Final, assert_never

from trio_vmess.core.destination import Destination
from trio_vmess.core.mux.frame import (
    SESSION_ID_MAX,
    STREAM_FRAME_SIZE,
    End,
    Frame,
    Keep,
    KeepAlive,
    New,
    encode_frame,
    encode_keep_head,
)
from trio_vmess.core.mux.reader import FrameReader
from trio_vmess.errors import LocalProtocolError, RemoteProtocolError

SESSION_COUNT_MAX: Final = 1024
"""Sessions that a client may have open at a time."""


class _MuxConnection:
    """What both ends have in common."""

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._reader = FrameReader()
        self._queued = bytearray()
        self._last_ended: int | None = None

    @property
    def open_sessions(self) -> frozenset[int]:
        """The ids of the sessions that neither end has ended."""
        return frozenset(self._open)

    @property
    def session_count(self) -> int:
        """How many sessions are open."""
        return len(self._open)

    @property
    def queued_size(self) -> int:
        """How many bytes `data_to_send` would return."""
        return len(self._queued)

    def is_open(self, session_id: int) -> bool:
        """Whether neither end has ended the session."""
        return session_id in self._open

    def data_to_send(self) -> bytearray:
        """Return what is queued, and forget it."""
        data, self._queued = self._queued, bytearray()
        return data

    def send_data(self, session_id: int, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes of a stream, in as many frames as they need.

        Raises:
            LocalProtocolError: the session is not open.
        """
        self._check(session_id)
        queued = self._queued
        with memoryview(data) as view:
            for start in range(0, len(view), STREAM_FRAME_SIZE):
                piece = view[start : start + STREAM_FRAME_SIZE]
                queued += encode_keep_head(session_id, len(piece))
                queued += piece

    def send_datagram(
        self, session_id: int, datagram: bytes, peer: Destination | None = None
    ) -> None:
        """Queue a datagram.

        Args:
            session_id: of a session for UDP.
            datagram: of `PACKET_SIZE` bytes at most, or `XUDP_PACKET_SIZE` to those who speak that.
            peer: a client's destination, a server's source; only XUDP has it.

        Raises:
            LocalProtocolError: the session is not open, or the name cannot be written.
        """
        self._check(session_id)
        self._queued += encode_frame(Keep(session_id, datagram, peer))

    def send_keep_alive(self) -> None:
        """Queue a frame that means nothing."""
        self._queued += encode_frame(KeepAlive())

    def end(self, session_id: int, *, is_error: bool = False) -> None:
        """End a session in both directions, behind what is queued; nothing if it has ended."""
        if session_id in self._open:
            self._open.remove(session_id)
            self._queue_end(session_id, is_error=is_error)

    def receive_data(self, data: bytes | bytearray | memoryview) -> list[Frame]:
        """Take what the peer has sent.

        Args:
            data: not looked at any more afterwards.

        Returns:
            What it means: frames of open sessions, in their order.

        Raises:
            RemoteProtocolError: the bytes are no frames, or not those of such a peer. The carrier
                cannot be used any more.
        """
        frames: list[Frame] = []
        for frame in self._reader.receive_data(data):
            match frame:
                case Keep(session_id):
                    if session_id in self._open:
                        frames.append(frame)
                    elif session_id != self._last_ended:
                        # Whoever has ended it a moment ago need not say so for every frame that was
                        # on its way.
                        self._queue_end(session_id)
                case End(session_id):
                    if session_id in self._open:
                        self._open.remove(session_id)
                        frames.append(frame)
                case New():
                    self._receive_new(frame, frames)
                case KeepAlive():
                    pass
                case _:
                    assert_never(frame)
        return frames

    def _receive_new(self, frame: New, frames: list[Frame]) -> None:
        raise NotImplementedError

    def _check(self, session_id: int) -> None:
        if session_id not in self._open:
            raise LocalProtocolError(f"mux: session {session_id} is not open")

    def _queue_end(self, session_id: int, *, is_error: bool = False) -> None:
        self._last_ended = session_id
        self._queued += encode_frame(End(session_id, is_error))


class MuxClient(_MuxConnection):
    """The client's end of a carrier: opens sessions."""

    def __init__(self) -> None:
        super().__init__()
        self._next_id = 1

    @property
    def can_open(self) -> bool:
        """Whether a session id is left."""
        return self._next_id <= SESSION_ID_MAX

    def open(
        self,
        destination: Destination,
        *,
        session_id: int | None = None,
        data: bytes | None = None,
        global_id: bytes = b"",
    ) -> int:
        """Queue what opens a session.

        Args:
            destination: where to; with UDP, where the first datagram goes.
            session_id: `XUDP_SESSION`, once, on a carrier that carries nothing else; None for the
                next one.
            data: the first bytes of a stream, or the first datagram; None for none.
            global_id: XUDP's; empty for none.

        Returns:
            The session id.

        Raises:
            LocalProtocolError: the name cannot be written, the data does not fit into a frame, or
                no id is left.
        """
        number = self._next_id if session_id is None else session_id
        if number > SESSION_ID_MAX or number in self._open:
            raise LocalProtocolError(f"mux: session id {number} cannot be used")
        self._queued += encode_frame(New(number, destination, data, global_id))
        self._open.add(number)
        if session_id is None:
            self._next_id += 1
        return number

    def _receive_new(self, frame: New, frames: list[Frame]) -> None:
        raise RemoteProtocolError("mux: the server has opened a session")


class MuxServer(_MuxConnection):
    """The server's end of a carrier: its client opens sessions.

    `New` for an id in use ends the session that had it, with an error, and opens another one.

    Args:
        session_count_max: further sessions are ended at once, with an error.
    """

    def __init__(self, *, session_count_max: int = SESSION_COUNT_MAX) -> None:
        super().__init__()
        self._session_count_max = session_count_max

    def _receive_new(self, frame: New, frames: list[Frame]) -> None:
        number = frame.session_id
        if number in self._open:
            frames.append(End(number, is_error=True))
        elif len(self._open) >= self._session_count_max:
            self._queue_end(number, is_error=True)
            return
        self._open.add(number)
        frames.append(frame)
