"""A tunnel of WebSocket frames, from the moment when its handshake is done."""

from collections.abc import Callable
from typing import Final

import trio

from trio_vmess.contracts import Transport
from trio_vmess.core.carriage.websocket import (
    Close,
    CloseCode,
    FrameReader,
    FrameWriter,
    Ping,
)
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.transport.layer import TransportLayer
from trio_vmess.transport.outbox import Outbox

_FRAMED_SIZE: Final = 1024 * 1024


class FrameBuffer:
    """Where frames are written before they are sent; one for all WebSockets of a Trio run."""

    __slots__ = ("framed",)

    def __init__(self) -> None:
        self.framed = memoryview(bytearray(_FRAMED_SIZE))


class _ControlFrames:
    """Control frames that wait to be sent: a `Queue` of an `Outbox`."""

    __slots__ = ("_frames",)

    def __init__(self) -> None:
        self._frames = b""

    @property
    def pending(self) -> int:
        return len(self._frames)

    def put(self, frame: bytes) -> None:
        self._frames += frame

    def read(self) -> bytes:
        frames, self._frames = self._frames, b""
        return frames


class WebSocketTransport(TransportLayer):
    """The payload of a WebSocket's frames, in both directions: a `Transport`.

    Args:
        transport: owned by this one from now on.
        reader: knows which side the peer is.
        writer: knows which side we are.
        buffer: shared by all WebSockets of this Trio run.
        early: payload that has come with the handshake.
        trailing: frames that have come behind the handshake.
        next_heartbeat: returns the seconds of silence after which to ping; None for no pings.
    """

    __slots__ = (
        "_buffer",
        "_control",
        "_early",
        "_is_broken",
        "_next_heartbeat",
        "_outbox",
        "_reader",
        "_trailing",
        "_writer",
    )

    def __init__(
        self,
        transport: Transport,
        reader: FrameReader,
        writer: FrameWriter,
        *,
        buffer: FrameBuffer,
        early: bytes = b"",
        trailing: bytes = b"",
        next_heartbeat: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(transport)
        self._reader = reader
        self._writer = writer
        self._buffer = buffer
        self._early = early
        self._trailing = trailing
        self._next_heartbeat = next_heartbeat
        self._is_broken = False
        self._control = _ControlFrames()
        self._outbox = Outbox(transport, self._control)

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`; a close frame is an end, and so is an end without one.

        Raises:
            trio.BrokenResourceError: the connection was reset, or broken before.
            RemoteProtocolError: what came is not a frame; the peer has been told so.
        """
        if self._early:
            size = min(len(self._early), len(buffer))
            buffer[:size] = self._early[:size]
            self._early = self._early[size:]
            return size
        while not self._reader.ended and not self._is_broken:
            if self._control.pending:
                # Here, because no checkpoint may lie between filling the buffer and returning.
                await self._outbox.flush()
            size = await self._receive(buffer)
            if not size:
                return 0
            try:
                payload = self._reader.decode_in_place(buffer[:size])
            except RemoteProtocolError as exc:
                self._is_broken = True
                self._control.put(self._writer.close(CloseCode.PROTOCOL_ERROR))
                await self._outbox.flush()
                raise exc.copy() from None
            for event in self._reader.take_events():
                if isinstance(event, Ping):
                    self._control.put(self._writer.pong(event.payload))
                elif isinstance(event, Close):
                    self._control.put(self._writer.close(event.code))
            if payload:
                return payload
        if self._control.pending:
            await self._outbox.flush()
        return 0

    async def _receive(self, buffer: memoryview) -> int:
        """Read from below; while nothing comes, ping if that was asked for."""
        if self._trailing:
            size = min(len(self._trailing), len(buffer))
            buffer[:size] = self._trailing[:size]
            self._trailing = self._trailing[size:]
            return size
        if self._next_heartbeat is None:
            return await self._transport.receive_into(buffer)
        while True:
            with trio.move_on_after(self._next_heartbeat()):
                return await self._transport.receive_into(buffer)
            self._control.put(self._writer.ping())
            await self._outbox.flush()

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `Transport.send_all`."""
        if not len(data):
            return
        size, framed = self._writer.output_size(len(data)), self._buffer.framed
        if size > len(framed):
            framed = memoryview(bytearray(size))
        await self._outbox.send(framed[: self._writer.encode_into(data, framed)])

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        """See `Transport.send_eof`.

        There is no frame that ends one direction. So the end has to be in the last bytes, or
        follows when both directions have ended.
        """
        await self.send_all(last)

    async def abort(self) -> None:
        """See `Transport.abort`."""
        self._is_broken = True
        await self._transport.abort()

    async def aclose(self) -> None:
        """See `Transport.aclose`.

        No close frame is sent first, as V2Ray and Xray send none: their library reports one as an
        error, and their clients then lose the end of a download that they have not delivered yet.
        """
        self._is_broken = True
        await self._transport.aclose()
