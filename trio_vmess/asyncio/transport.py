"""VMess between a connection of asyncio's and the protocol of a program.

Towards the connection this is a protocol, and towards the program a transport; so the program gets
asyncio's own reader and writer, and flow control passes through in both directions.
"""

import asyncio
import ssl
from typing import Any, Final

from trio_vmess.asyncio.dial import Dialled
from trio_vmess.core import Codec, PrefixedCodec
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.opening import StreamOpening

FIRST_PAYLOAD_WAIT: Final = 0.01
"""Seconds that the request waits for payload to share a packet with."""

_INFO: Final = frozenset({"peername", "sockname", "socket"})
"""What is told of the connection to the server. Nothing of its TLS: the destination's is asked for,
and asyncio's readers take an end of the stream for the end of both directions where they see TLS.
"""


class VMessTransport(asyncio.Transport, asyncio.Protocol):
    """A stream through a VMess server.

    Errors: what the server does wrong reaches `connection_lost` as a `RemoteProtocolError`; a
    reset of its connection, as an `OSError`.

    Args:
        dialled: owned by this transport from now on.
        opening: the request, which goes out with the first payload, and the codecs.
        protocol: the program's.
        loop: runs all of it.
    """

    # asyncio.start_tls asks for this. What it needs besides is `_force_close`.
    _start_tls_compatible = True

    def __init__(
        self,
        dialled: Dialled,
        opening: StreamOpening,
        protocol: asyncio.BaseProtocol,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__()
        self._connection = dialled.transport
        self._framing = dialled.framing
        self._opener: Codec = opening.body.opener
        self._sealer = PrefixedCodec(opening.header, opening.body.sealer)
        self._says_end = opening.says_end
        self._protocol = protocol
        self._is_header_due = True
        self._has_ended = self._is_closing = self._is_lost = False
        self._has_peer_ended = False
        self._fault: BaseException | None = None
        self._connection.set_protocol(self)
        protocol.connection_made(self)
        self._header_timer = loop.call_later(FIRST_PAYLOAD_WAIT, self._send_header)
        if dialled.trailing:
            loop.call_soon(self.data_received, dialled.trailing)
        loop.call_soon(self._connection.resume_reading)

    # Sending: a transport ------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send payload; it is copied at once, and dropped if the connection is closed already.

        Raises:
            RuntimeError: after `write_eof`.
        """
        if self._is_closing or self._is_lost:
            return
        if self._has_ended:
            raise RuntimeError("nothing can be sent after write_eof")
        if len(data):
            self._seal(memoryview(data).cast("B"))

    def can_write_eof(self) -> bool:
        """Whether the request can end by itself: in VMess, or by the end of a TCP connection."""
        return self._says_end or self._can_half_close

    def write_eof(self) -> None:
        """End the request; the answer still arrives. Doing so again has no effect.

        Raises:
            NotImplementedError: `can_write_eof` is false.
        """
        if self._has_ended or self._is_closing or self._is_lost:
            return
        if not self.can_write_eof():
            raise NotImplementedError("this request ends with its connection only")
        self._say_end()
        if self._can_half_close:
            self._connection.write_eof()

    @property
    def _can_half_close(self) -> bool:
        return self._framing.can_half_close and self._connection.can_write_eof()

    @property
    def has_peer_ended(self) -> bool:
        """Whether nothing more will come: the answer has ended, or the connection is closed."""
        return self._has_peer_ended or self.is_closing()

    def _send_header(self) -> None:
        if self._is_header_due and not self._is_closing and not self._is_lost:
            self._seal(memoryview(b""))

    def _seal(self, data: memoryview) -> None:
        self._is_header_due = False
        out = memoryview(bytearray(self._sealer.output_size(len(data))))
        self._connection.write(self._framing.wrap(out[: self._sealer.update_into(data, out)]))

    def _say_end(self) -> None:
        self._is_header_due, self._has_ended = False, True
        out = memoryview(bytearray(self._sealer.output_size(0)))
        if size := self._sealer.finalize_into(out):
            self._connection.write(self._framing.wrap(out[:size]))

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport.is_closing`."""
        return self._is_closing or self._is_lost or self._connection.is_closing()

    def close(self) -> None:
        """Say the end of the request if that is still due, send what waits, and close.

        Nothing is said to a server that has not heard of us yet.
        """
        if self._is_closing or self._is_lost:
            return
        if not self._has_ended and not self._is_header_due and self._fault is None:
            self._say_end()
        self._is_closing = True
        self._connection.close()

    def abort(self) -> None:
        """Close at once; what waits to be sent is dropped."""
        self._is_closing = True
        self._connection.abort()

    def _force_close(self, exc: BaseException | None) -> None:
        """Close because of an error; asyncio's TLS calls it."""
        self._fault = self._fault or exc
        self.abort()

    # Flow control: each side's is passed to the other --------------------------------------------

    def is_reading(self) -> bool:
        """See `asyncio.ReadTransport.is_reading`."""
        return self._connection.is_reading()

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport.pause_reading`."""
        self._connection.pause_reading()

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport.resume_reading`."""
        self._connection.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `asyncio.WriteTransport.set_write_buffer_limits`; of the sealed bytes."""
        self._connection.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """See `asyncio.WriteTransport.get_write_buffer_size`; of the sealed bytes."""
        return self._connection.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """See `asyncio.WriteTransport.get_write_buffer_limits`; of the sealed bytes."""
        return self._connection.get_write_buffer_limits()

    def pause_writing(self) -> None:
        """Pass on that the connection is full."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that it is not any more."""
        self._protocol.resume_writing()

    # Whom it is between --------------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See `asyncio.BaseTransport.set_protocol`."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See `asyncio.BaseTransport.get_protocol`."""
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return `peername`, `sockname` or `socket` of the connection to the server."""
        return self._connection.get_extra_info(name, default) if name in _INFO else default

    # Receiving: a protocol -----------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Open what the server has sent, and pass it on."""
        if self._has_peer_ended or self._is_closing:
            return
        try:
            wire, answers = self._framing.unwrap(data)
        except RemoteProtocolError as exc:
            self._connection.write(self._framing.close_after_fault())
            self._fail(exc)
            return
        if answers:
            self._connection.write(answers)
        try:
            out = memoryview(bytearray(self._opener.output_size(len(wire))))
            payload = bytes(out[: self._opener.update_into(wire, out)])
        except RemoteProtocolError as exc:
            self._fail(exc)
            return
        if payload:
            self._deliver(payload)
        if self._opener.ended:
            self._deliver_end()
        elif self._framing.ended:
            self._end_opener()

    def eof_received(self) -> bool:
        """Pass on that the server has ended its stream.

        Returns:
            Whether the connection stays open for sending.
        """
        self._end_opener()
        return self._can_half_close and not self.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on that the connection is closed, and why."""
        self._header_timer.cancel()
        self._is_lost = True
        if exc is None and not self._is_closing:
            # A server may close without an end of its own; whether that was early shows here.
            self._end_opener()
        is_over = self._has_peer_ended and self._has_ended
        if is_over or (self._is_closing and isinstance(exc, ssl.SSLError)):
            # Both sides have said all, and what fails behind that concerns nobody, such as an
            # answer to a close frame that nobody reads any more. asyncio's TLS takes for a fault
            # what a server sends before it has seen that we close.
            exc = None
        fault = self._fault or exc
        self._protocol.connection_lost(fault if isinstance(fault, Exception) else None)

    def _end_opener(self) -> None:
        if self._has_peer_ended or self._is_closing:
            return
        try:
            self._opener.finalize_into(memoryview(bytearray(self._opener.output_size(0))))
        except RemoteProtocolError as exc:
            self._fail(exc)
            return
        self._deliver_end()

    def _deliver(self, payload: bytes) -> None:
        match self._protocol:
            case asyncio.BufferedProtocol() as protocol:
                rest = memoryview(payload)
                while rest:
                    buffer = memoryview(protocol.get_buffer(len(rest))).cast("B")
                    size = min(len(buffer), len(rest))
                    buffer[:size] = rest[:size]
                    protocol.buffer_updated(size)
                    rest = rest[size:]
            case asyncio.Protocol() as protocol:
                protocol.data_received(payload)
            case _:
                raise TypeError("a stream needs a protocol for streams")

    def _deliver_end(self) -> None:
        self._has_peer_ended = True
        if isinstance(self._protocol, asyncio.Protocol | asyncio.BufferedProtocol):
            stays_open = self._protocol.eof_received()
            if not stays_open:
                self.close()

    def _fail(self, exc: RemoteProtocolError) -> None:
        self._fault = self._fault or exc
        self.abort()
