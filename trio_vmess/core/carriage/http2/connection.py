"""One end of an HTTP/2 connection that carries byte streams.

The caller moves bytes: what it receives goes into `receive_data`, which returns what has happened,
and what `data_to_send` returns is to be sent. Payload waits in the streams until it is read, and
reading opens their windows again. Sending is up to the caller, within `sendable_size`.

The connection's own window is opened as soon as bytes arrive, so streams that nobody reads from do
not stop the others; what they hold is bounded by their own windows.

Source:
    RFC 9113.
"""

from typing import Final

from trio_vmess.core.carriage.http2.allowance import Allowance
from trio_vmess.core.carriage.http2.events import (
    DataReceived,
    Event,
    GoAwayReceived,
    PingAcknowledged,
    RequestReceived,
    ResponseReceived,
    SettingsReceived,
    StreamEnded,
    StreamReset,
    WindowOpened,
)
from trio_vmess.core.carriage.http2.faults import FaultError
from trio_vmess.core.carriage.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    U32,
    WINDOW_MAX,
    WINDOW_UPDATE,
    ErrorCode,
    decode_goaway,
    decode_settings,
    encode_frame,
    encode_reset,
    encode_window_update,
)
from trio_vmess.core.carriage.http2.headers import (
    Fields,
    decode_request,
    decode_response,
    decode_trailers,
)
from trio_vmess.core.carriage.http2.limits import DEFAULT_LIMITS, Limits
from trio_vmess.core.carriage.http2.local_end import LocalEnd
from trio_vmess.core.carriage.http2.splitter import Frame, FrameSplitter
from trio_vmess.core.carriage.http2.stream import Stream
from trio_vmess.errors import RemoteProtocolError

_PING_SIZE: Final = 8
_PRIORITY_SIZE: Final = 5
_SETTING_SIZE: Final = 6


class Http2Connection(LocalEnd):
    """One end of a connection.

    Args:
        is_client: which end.
        limits: what the peer may do.
    """

    def __init__(self, *, is_client: bool, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(is_client=is_client, limits=limits)
        self._splitter = FrameSplitter(limits.frame_size)
        self._events: list[Event] = []
        self._now = 0.0
        self._preface = b"" if is_client else PREFACE  # what is missing of it
        self._has_settings = False
        self._window = limits.connection_window
        self._controls = Allowance(limits.control_burst, limits.control_rate)
        self._resets = Allowance(limits.reset_burst, limits.reset_rate)

    def receive_data(self, data: memoryview, now: float) -> list[Event]:
        """Take bytes from the peer.

        Args:
            data: looked at only during the call.
            now: seconds on any clock that goes forward.

        Returns:
            What has happened.

        Raises:
            RemoteProtocolError: the peer has broken the protocol or asks for too much. What
                `data_to_send` returns says so; nothing else can be done with the connection.
        """
        self._now = now
        events = self._events = []
        try:
            data = self._skip_preface(data)
            for frame in self._splitter.split(data):
                if frame.kind == DATA and self._has_settings and not self._blocks.open_stream_id:
                    self._receive_payload(frame)
                else:
                    self._receive_control(frame)
        except FaultError as exc:
            self.is_closing = False  # another GOAWAY may have been sent: this one says why
            self.close(exc.code)
            raise
        return events

    def _skip_preface(self, data: memoryview) -> memoryview:
        if missing := self._preface:
            part = bytes(data[: len(missing)])
            if not missing.startswith(part):
                raise FaultError(ErrorCode.PROTOCOL_ERROR, "this is not HTTP/2")
            self._preface = missing[len(part) :]
            data = data[len(part) :]
        return data

    def _receive_payload(self, frame: Frame) -> None:
        """Take a part of a DATA frame."""
        _, flags, stream_id, payload, charge = frame
        stream = self.streams.get(stream_id)
        if charge:
            self._charge(stream, stream_id, charge)
        if payload:
            self._controls.earn()
        elif not flags:
            self._tolerate("empty DATA")
        if stream is None:
            self._check_known(stream_id)
            return
        if stream.is_remote_ended:
            self._fault(stream, ErrorCode.STREAM_CLOSED, "DATA behind the end of a stream")
        elif stream.response is None and self._is_client:
            self._fault(stream, ErrorCode.PROTOCOL_ERROR, "DATA in front of the response")
        elif not stream.is_closed:
            if payload:
                if not stream.unread_size:
                    self._events.append(DataReceived(stream))
                stream.store(payload)
            if flags & END_STREAM:
                self._end_remotely(stream)

    def _charge(self, stream: Stream | None, stream_id: int, size: int) -> None:
        """Take bytes from the windows, and give them back to that of the connection."""
        self._window -= size
        if self._window < 0:
            raise FaultError(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window is passed")
        if stream is not None and not stream.charge(size):
            self._fault(stream, ErrorCode.FLOW_CONTROL_ERROR, "a stream's window is passed")
        whole = self._limits.connection_window
        if self._window <= whole * 3 // 4:
            self._put(encode_window_update(0, whole - self._window))
            self._window = whole

    def _receive_control(self, frame: Frame) -> None:
        kind, stream_id = frame.kind, frame.stream_id
        if not self._has_settings and kind != SETTINGS:
            raise FaultError(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        is_in_block = kind == CONTINUATION and bool(stream_id)
        if self._blocks.open_stream_id != (stream_id if is_in_block else 0):
            raise FaultError(ErrorCode.PROTOCOL_ERROR, "a header block is interrupted")
        if kind in (SETTINGS, PING, GOAWAY) and stream_id:
            raise FaultError(ErrorCode.PROTOCOL_ERROR, f"frame {kind} on a stream")
        if kind in (DATA, HEADERS, PRIORITY, RST_STREAM, CONTINUATION) and not stream_id:
            raise FaultError(ErrorCode.PROTOCOL_ERROR, f"frame {kind} on no stream")
        if kind == WINDOW_UPDATE:
            self._receive_window_update(frame)
        elif kind in (HEADERS, CONTINUATION):
            self._receive_block(frame)
        elif kind == RST_STREAM:
            self._receive_reset(frame)
        elif kind == GOAWAY:
            self._receive_goaway(frame)
        else:
            self._tolerate(f"frame {kind}")
            if kind == PING:
                self._receive_ping(frame)
            elif kind == SETTINGS:
                self._receive_settings(frame)
            elif kind == PUSH_PROMISE:
                raise FaultError(ErrorCode.PROTOCOL_ERROR, "a pushed stream")
            elif kind == PRIORITY:
                _check_size(frame, _PRIORITY_SIZE)

    def _receive_window_update(self, frame: Frame) -> None:
        _check_size(frame, U32.size)
        increment = U32.unpack(frame.payload)[0] & WINDOW_MAX
        why = f"a window grows by {increment}"
        if not frame.stream_id:
            was_closed = self._send_window <= 0
            self._send_window += increment
            if not increment or self._send_window > WINDOW_MAX:
                raise FaultError(ErrorCode.FLOW_CONTROL_ERROR, why)
            if was_closed:
                self._events.append(WindowOpened(None))
            return
        stream = self.streams.get(frame.stream_id)
        if stream is None:
            self._check_known(frame.stream_id)
            return
        was_closed = stream.send_window <= 0
        stream.send_window += increment
        if not increment or stream.send_window > WINDOW_MAX:
            self._fault(stream, ErrorCode.FLOW_CONTROL_ERROR, why)
        elif was_closed:
            self._events.append(WindowOpened(stream))

    def _receive_block(self, frame: Frame) -> None:
        if frame.kind == CONTINUATION:
            self._tolerate("CONTINUATION")
        block = self._blocks.receive(frame)
        if block is None:
            return
        fields, is_last = block
        stream = self.streams.get(frame.stream_id)
        if stream is not None:
            self._receive_fields(stream, fields, is_last=is_last)
        elif not self._is_client and frame.stream_id > self._highest_id and frame.stream_id % 2:
            self._receive_request(frame.stream_id, fields, is_last=is_last)
        else:
            self._check_known(frame.stream_id)

    def _receive_request(self, stream_id: int, fields: Fields, *, is_last: bool) -> None:
        self._highest_id = stream_id
        try:
            request = decode_request(fields)
        except RemoteProtocolError:
            self._refuse(stream_id, ErrorCode.PROTOCOL_ERROR)
            return
        if self.is_closing or len(self.streams) >= self._limits.stream_count:
            self._refuse(stream_id, ErrorCode.REFUSED_STREAM)
            return
        stream = self._add_stream(stream_id, request)
        self._events.append(RequestReceived(stream))
        if is_last:
            self._end_remotely(stream)

    def _receive_fields(self, stream: Stream, fields: Fields, *, is_last: bool) -> None:
        """Take a response or trailers."""
        if stream.is_remote_ended:
            self._fault(stream, ErrorCode.STREAM_CLOSED, "HEADERS behind the end of a stream")
            return
        try:
            if self._is_client and stream.response is None:
                response = decode_response(fields)
                if response.status >= 200:
                    stream.response = response
                    self._events.append(ResponseReceived(stream))
                elif is_last:
                    raise RemoteProtocolError("an informational response ends the stream")
            elif is_last:
                stream.trailers = decode_trailers(fields)
            else:
                raise RemoteProtocolError("HEADERS within a body")
        except RemoteProtocolError as exc:
            self._fault(stream, ErrorCode.PROTOCOL_ERROR, str(exc))
            return
        if is_last:
            self._end_remotely(stream)

    def _receive_reset(self, frame: Frame) -> None:
        _check_size(frame, U32.size)
        self._count_reset()
        stream = self.streams.get(frame.stream_id)
        if stream is None:
            self._check_known(frame.stream_id)
            return
        stream.reset_code = U32.unpack(frame.payload)[0]
        self._remove(stream)
        self._events.append(StreamReset(stream))

    def _receive_goaway(self, frame: Frame) -> None:
        if len(frame.payload) < 8:
            raise FaultError(ErrorCode.FRAME_SIZE_ERROR, "a short GOAWAY")
        self._tolerate("GOAWAY")
        last_stream_id, code = decode_goaway(frame.payload)
        self.is_closing = True
        self._events.append(GoAwayReceived(code))
        if self._is_client:
            for stream in [each for each in self.streams.values() if each.id > last_stream_id]:
                stream.reset_code = ErrorCode.REFUSED_STREAM
                self._remove(stream)
                self._events.append(StreamReset(stream))

    def _receive_ping(self, frame: Frame) -> None:
        _check_size(frame, _PING_SIZE)
        if frame.flags & ACK:
            self._events.append(PingAcknowledged(bytes(frame.payload)))
        else:
            self._reply(encode_frame(PING, ACK, 0, bytes(frame.payload)))

    def _receive_settings(self, frame: Frame) -> None:
        self._has_settings = True
        if frame.flags & ACK:
            _check_size(frame, 0)
            return
        if len(frame.payload) % _SETTING_SIZE:
            raise FaultError(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS are cut off")
        window = self.peer.initial_window
        self.peer.update(decode_settings(frame.payload))
        self._blocks.limit_table(self.peer.header_table_size)
        if self._is_client and self.peer.may_be_pushed:
            raise FaultError(ErrorCode.PROTOCOL_ERROR, "a server wants to be pushed streams")
        if growth := self.peer.initial_window - window:
            for stream in self.streams.values():
                stream.send_window += growth
                if stream.send_window > WINDOW_MAX:
                    raise FaultError(ErrorCode.FLOW_CONTROL_ERROR, "a window is too large")
                self._events.append(WindowOpened(stream))
        self._reply(encode_frame(SETTINGS, ACK, 0))
        self._events.append(SettingsReceived())

    def _end_remotely(self, stream: Stream) -> None:
        stream.is_remote_ended = True
        self._events.append(StreamEnded(stream))
        if stream.is_closed:
            self._remove(stream)

    def _fault(self, stream: Stream, code: ErrorCode, why: str) -> None:
        """Reset a stream on which the peer has broken the protocol; the connection goes on."""
        if stream.is_closed and stream.reset_code is not None:
            return
        stream.fault = why
        stream.reset_code = code
        self._refuse(stream.id, code)
        self._remove(stream)
        self._events.append(StreamReset(stream))

    def _refuse(self, stream_id: int, code: ErrorCode) -> None:
        self._count_reset()
        self._reply(encode_reset(stream_id, code))

    def _check_known(self, stream_id: int) -> None:
        """Accept that something comes late for a stream that was closed, but not for others."""
        if stream_id > self._highest_id or not stream_id % 2:
            raise FaultError(ErrorCode.PROTOCOL_ERROR, f"there was no stream {stream_id}")

    def _tolerate(self, what: str) -> None:
        if not self._controls.spend(self._now):
            raise FaultError(ErrorCode.ENHANCE_YOUR_CALM, f"too often: {what}")

    def _count_reset(self) -> None:
        if not self._resets.spend(self._now):
            raise FaultError(ErrorCode.ENHANCE_YOUR_CALM, "too many streams are reset")


def _check_size(frame: Frame, size: int) -> None:
    if len(frame.payload) != size:
        raise FaultError(
            ErrorCode.FRAME_SIZE_ERROR, f"frame {frame.kind} of {len(frame.payload)} bytes"
        )
