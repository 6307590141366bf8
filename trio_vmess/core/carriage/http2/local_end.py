"""What we do on a connection: open, answer, send on, end and reset its streams."""

from typing import Final

from trio_vmess.core.carriage.http2.faults import FaultError
from trio_vmess.core.carriage.http2.frames import (
    FRAME_SIZE_MIN,
    PING,
    PREFACE,
    STREAM_ID_MAX,
    ErrorCode,
    encode_data,
    encode_frame,
    encode_goaway,
    encode_headers,
    encode_reset,
    encode_settings,
    encode_window_update,
)
from trio_vmess.core.carriage.http2.header_blocks import HeaderBlocks
from trio_vmess.core.carriage.http2.headers import (
    Fields,
    Request,
    Response,
    encode_request,
    encode_response,
)
from trio_vmess.core.carriage.http2.limits import DEFAULT_LIMITS, WINDOW_AT_START, Limits
from trio_vmess.core.carriage.http2.peer_settings import PeerSettings
from trio_vmess.core.carriage.http2.stream import Stream
from trio_vmess.errors import LocalProtocolError

SENT_FRAME_SIZE_MAX: Final = 64 * 1024
"""Bytes of payload of our DATA frames at most, whatever the peer allows: some peers assemble a
whole frame before they pass anything on."""

JOINED_SIZE_MAX: Final = 32 * 1024
"""Bytes up to which frames are put together to be sent in one go."""


class LocalEnd:
    """The half of an `Http2Connection` that sends.

    Args:
        is_client: which end.
        limits: what the peer may do.

    Attributes:
        streams: those that are open, by number.
        peer: what the peer has announced.
        is_closing: no stream can be opened any more.
    """

    def __init__(self, *, is_client: bool, limits: Limits = DEFAULT_LIMITS) -> None:
        self.streams: dict[int, Stream] = {}
        self.peer = PeerSettings()
        self.is_closing = False
        self._is_client = is_client
        self._limits = limits
        self._blocks = HeaderBlocks(limits)
        self._highest_id = 0  # of all streams that were opened, by whichever end
        self._send_window = WINDOW_AT_START
        self._growth_left = limits.growth_sum
        self._out: list[bytes] = []
        self._out_size = 0
        self._reply_size = 0
        if is_client:
            self._put(PREFACE)
        self._put(encode_settings(limits.announced(is_client=is_client)))
        self._put(encode_window_update(0, limits.connection_window - WINDOW_AT_START))

    @property
    def is_client(self) -> bool:
        """Which end this is."""
        return self._is_client

    @property
    def queued_size(self) -> int:
        """Bytes that are to be sent."""
        return self._out_size

    def data_to_send(self) -> bytes:
        """Return and forget what is to be sent next: all of it, or a first part if it is much.

        Small frames are put together. A large one is passed on as it is: copying it would cost
        more than sending it apart.
        """
        out = self._out
        count = size = 0
        for piece in out:
            size += len(piece)
            if size > JOINED_SIZE_MAX:
                break
            count += 1
        data = out[0] if out and count < 2 else b"".join(out[:count])
        del out[: max(1, count)]
        self._out_size -= len(data)
        if not out:
            self._reply_size = 0
        return data

    def _put(self, frames: bytes) -> None:
        self._out.append(frames)
        self._out_size += len(frames)

    def _reply(self, frame: bytes) -> None:
        """Put out what a peer can make us send as often as it likes, whether it reads or not."""
        self._reply_size += len(frame)
        if self._reply_size > self._limits.reply_size:
            raise FaultError(ErrorCode.ENHANCE_YOUR_CALM, "the peer does not read our answers")
        self._put(frame)

    @property
    def can_open(self) -> bool:
        """Whether the peer takes one more stream now."""
        return (
            not self.is_closing
            and len(self.streams) < self.peer.stream_count
            and self._highest_id < STREAM_ID_MAX - 1
        )

    def open_stream(self, request: Request) -> Stream:
        """Open a stream; only for clients.

        Raises:
            LocalProtocolError: the peer takes no more at present; see `can_open`.
        """
        if not self._is_client or not self.can_open:
            raise LocalProtocolError("no stream can be opened now")
        self._highest_id += 2 if self._highest_id else 1
        stream = self._add_stream(self._highest_id, request)
        self._send_headers(stream, encode_request(request), is_last=False)
        return stream

    def respond(self, stream: Stream, response: Response, *, is_last: bool = False) -> None:
        """Answer a request.

        Args:
            stream: one that was not answered; nothing happens if it is closed.
            response: its body is not looked at.
            is_last: whether there is no body.
        """
        if not stream.is_closed:
            stream.response = response
            self._send_headers(stream, encode_response(response), is_last=is_last)

    def sendable_size(self, stream: Stream) -> int:
        """Return how many bytes the peer takes on a stream at present."""
        return max(0, min(stream.send_window, self._send_window))

    @property
    def has_window(self) -> bool:
        """Whether the peer takes any bytes at all at present."""
        return self._send_window > 0

    def send_data(self, stream: Stream, payload: memoryview, *, is_last: bool = False) -> None:
        """Send bytes, which are copied.

        Args:
            stream: one whose direction is open.
            payload: `sendable_size` at most.
            is_last: whether to end our direction with it; else there must be some payload.

        Raises:
            LocalProtocolError: the windows are too small, or the direction is closed.
        """
        size = len(payload)
        if size > self.sendable_size(stream) or stream.is_local_ended or stream.is_closed:
            raise LocalProtocolError(f"{size} bytes cannot be sent on stream {stream.id}")
        stream.send_window -= size
        self._send_window -= size
        frame_size = min(self.peer.frame_size, SENT_FRAME_SIZE_MAX)
        self._put(encode_data(stream.id, payload, frame_size, is_last=is_last))
        if is_last:
            self._end_locally(stream)

    def end_stream(self, stream: Stream, trailers: Fields = ()) -> None:
        """End our direction, with trailers if there are any; nothing happens if it has ended."""
        if stream.is_local_ended or stream.is_closed:
            return
        if trailers:
            self._send_headers(stream, trailers, is_last=True)
        else:
            self.send_data(stream, memoryview(b""), is_last=True)

    def reset_stream(self, stream: Stream, code: ErrorCode) -> None:
        """Close both directions at once; nothing happens if they are closed."""
        if not stream.is_closed:
            stream.reset_code = code
            self._put(encode_reset(stream.id, code))
            self._remove(stream)

    def read_into(self, stream: Stream, buffer: memoryview) -> int:
        """Read what has come on a stream to the beginning of `buffer`, and open its window.

        Returns:
            The number of bytes; 0 if there are none now.
        """
        size = stream.read_into(buffer)
        if size and not stream.is_closed:
            before = stream.grown
            if credit := stream.take_credit(self._growth_left):
                self._growth_left -= stream.grown - before
                self._put(encode_window_update(stream.id, credit))
        return size

    def ping(self, payload: bytes) -> None:
        """Ask the peer for a sign of life.

        Args:
            payload: 8 bytes, which come back in `PingAcknowledged`.
        """
        self._put(encode_frame(PING, 0, 0, payload))

    def close(self, code: ErrorCode = ErrorCode.NO_ERROR) -> None:
        """Tell the peer to open no more streams; those that are open go on."""
        if not self.is_closing:
            self._put(encode_goaway(0 if self._is_client else self._highest_id, code))
        self.is_closing = True

    def _add_stream(self, stream_id: int, request: Request) -> Stream:
        stream = self.streams[stream_id] = Stream(
            stream_id,
            request,
            send_window=self.peer.initial_window,
            window=self._limits.window_first,
            window_max=self._limits.window_max,
        )
        return stream

    def _send_headers(self, stream: Stream, fields: Fields, *, is_last: bool) -> None:
        block = self._blocks.encode(fields)
        self._put(encode_headers(stream.id, block, FRAME_SIZE_MIN, is_last=is_last))
        if is_last:
            self._end_locally(stream)

    def _end_locally(self, stream: Stream) -> None:
        stream.is_local_ended = True
        if stream.is_closed:
            self._remove(stream)

    def _remove(self, stream: Stream) -> None:
        if self.streams.pop(stream.id, None) is not None:
            self._growth_left += stream.grown
