"""One HTTP/2 connection, and the tasks that move its bytes for all of its streams.

One task receives. It never waits for anything else: payload goes into the streams, whose windows
bound it, and what is to be answered goes into the queue of what is to be sent.

One task sends. Streams put their frames into that queue and go on, so a stream that is cancelled
never leaves half a frame behind, and what many streams send leaves in one write. The queue is
bounded: a stream waits for room in it, in the order of asking, and gets one turn at a time.
"""

import contextlib
import functools
import math
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, assert_never

import trio

from trio_vmess.contracts import Transport
from trio_vmess.core import Destination
from trio_vmess.core.carriage.http2 import (
    DataReceived,
    ErrorCode,
    Event,
    Fields,
    GoAwayReceived,
    Http2Connection,
    PingAcknowledged,
    Request,
    RequestReceived,
    ResponseReceived,
    SettingsReceived,
    Stream,
    StreamEnded,
    StreamReset,
    Tunnel,
    WindowOpened,
)
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.transport.http2.keep_alive import Due, KeepAlive, Vitals

TURN_SIZE: Final = 640 * 1024
"""Bytes that one stream may queue at a time while the connection takes them at once: what a relay
moves in one go."""

BUSY_TURN_SIZE: Final = 64 * 1024
"""The same while the connection is the bottleneck: what is queued delays all other streams."""

CLOSE_LIMIT: Final = 1.0
"""Seconds for the last frames of a connection."""

_PING: Final = b"\0\0\0\0vmss"


class StreamOwner(Protocol):
    """Who waits for what happens on a stream."""

    def wake_reader(self) -> None:
        """Something came, or nothing more will."""
        ...

    def wake_writer(self) -> None:
        """The window was opened, or nothing more can be sent."""
        ...

    async def wait_for_window(self) -> None:
        """Wait for `wake_writer`; raises as `check` does."""
        ...

    def check(self) -> None:
        """Raise what is wrong with the stream, if anything is."""
        ...


class Carrier:
    """A connection that carries streams.

    Args:
        transport: below; owned by the carrier from now on.
        connection: the protocol.
        tunnel: how its streams begin and end.
        buffer: where everything that is received goes first. All carriers of a run may share it.
        keep_alive: its times.
        first_stream_by: on Trio's clock, when the first stream must have come.
    """

    def __init__(
        self,
        transport: Transport,
        connection: Http2Connection,
        tunnel: Tunnel,
        *,
        buffer: memoryview,
        keep_alive: KeepAlive,
        first_stream_by: float | None = None,
    ) -> None:
        now = trio.current_time()
        self.connection = connection
        self.tunnel = tunnel
        self._transport = transport
        self._buffer = buffer
        self._vitals = Vitals(times=keep_alive, last_received=now, idle_since=now)
        if first_stream_by is not None:
            self._vitals.first_stream_by = first_stream_by
        self._owners: dict[int, StreamOwner] = {}
        self._broken: str | None = None
        self._changed = trio.Event()  # there may be something to decide
        self._is_sending = False
        self._sender = trio.lowlevel.ParkingLot()
        self._turn = trio.Lock()
        self._room = trio.lowlevel.ParkingLot()

    # What streams and their makers call

    @property
    def local(self) -> Destination | None:
        """See `Transport.local`."""
        return self._transport.local

    @property
    def remote(self) -> Destination | None:
        """See `Transport.remote`."""
        return self._transport.remote

    @property
    def broken(self) -> str | None:
        """Why nothing can be sent or received any more; None while it can."""
        return self._broken

    @property
    def can_open(self) -> bool:
        """Whether a new stream had better be opened here than elsewhere."""
        return (
            self._broken is None
            and self.connection.can_open
            and not self._vitals.is_suspect(trio.current_time())
        )

    def open(self, request: Request) -> Stream:
        """Open a stream; `can_open` says whether that is possible."""
        stream = self.connection.open_stream(request)
        now = trio.current_time()
        if self._vitals.wants_ping(now):
            self._ping(now)
            self._changed.set()
        self.wake_sender()
        return stream

    def attach(self, stream: Stream, owner: StreamOwner) -> None:
        """Tell an owner what happens on a stream until it is released."""
        self._owners[stream.id] = owner
        self._vitals.idle_since = None
        self._vitals.first_stream_by = math.inf

    def wake_sender(self) -> None:
        """Have what is queued sent."""
        if self.connection.queued_size:
            self._sender.unpark()

    async def send(self, stream: Stream, data: memoryview, *, is_last: bool) -> None:
        """Queue the bytes of a stream, as its windows and the queue allow.

        Args:
            stream: whose direction is open.
            data: not looked at any more after the first checkpoint.
            is_last: whether to end the direction behind them.

        Raises:
            trio.BrokenResourceError: the stream was reset, or the connection has ended.
            trio.ClosedResourceError: the stream was closed meanwhile.
        """
        if not len(data) or (not self._turn.locked() and self._has_room()):
            sent = self._queue(stream, data, is_last=is_last)
            if sent == len(data):
                return
            data = data[sent:]
        data = memoryview(bytes(data))
        owner = self._owners[stream.id]
        while True:
            while stream.send_window <= 0:
                await owner.wait_for_window()
            async with self._turn:
                # Whoever waits here holds up nobody: what it waits for, all streams need.
                while not self._has_room() and self._broken is None:
                    await self._room.park()
                owner.check()
                sent = self._queue(stream, data, is_last=is_last)
            if sent == len(data):
                return
            data = data[sent:]

    def trailers_of(self, stream: Stream) -> Fields:
        """Return what ends our direction of a stream: trailers are a server's."""
        return () if self.connection.is_client else self.tunnel.trailers

    def release(self, stream: Stream) -> None:
        """Forget a stream that its owner has closed."""
        if self._owners.pop(stream.id, None) is not None and not self._owners:
            self._vitals.idle_since = trio.current_time()
            if self.connection.is_closing:
                self._changed.set()

    # Running

    async def run(self, on_request: Callable[[Stream], None] | None = None) -> str:
        """Carry until the connection ends, and close it.

        Args:
            on_request: what to do with a stream that the peer opens. It is not kept beyond the
                call: it may well refer to the carrier.

        Returns:
            Why it ended.

        Raises:
            trio.Cancelled: from outside; the connection is closed.
        """
        try:
            async with trio.open_nursery() as nursery:

                async def until_end(part: Callable[[], Awaitable[str]]) -> None:
                    self._break(await part())
                    nursery.cancel_scope.cancel()

                nursery.start_soon(until_end, self._keep_sending, name="http2 sender")
                nursery.start_soon(until_end, self._keep_watch, name="http2 watch")
                await until_end(functools.partial(self._keep_receiving, on_request))
            await self._send_rest()
            return self._broken or ""
        finally:
            self._break("the connection was closed")
            await self._transport.aclose()

    async def _keep_receiving(self, on_request: Callable[[Stream], None] | None) -> str:
        receive_into, buffer = self._transport.receive_into, self._buffer
        connection, vitals = self.connection, self._vitals
        while True:
            try:
                size = await receive_into(buffer)
                if not size:
                    return "the peer has closed the connection"
                vitals.last_received = now = trio.current_time()
                for event in connection.receive_data(buffer[:size], now):
                    self._handle(event, on_request)
            except (RemoteProtocolError, trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                return str(exc)
            self.wake_sender()

    async def _keep_sending(self) -> str:
        connection = self.connection
        while True:
            if not connection.queued_size:
                self._is_sending = False
                await self._sender.park()
            data = connection.data_to_send()
            self._is_sending = True
            self._room.unpark()
            try:
                await self._transport.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                return str(exc)

    async def _keep_watch(self) -> str:
        while True:
            now = trio.current_time()
            if self.connection.is_closing and not self._owners:
                return "no stream is left"
            due, until = self._vitals.decide(now)
            match due:
                case Due.NOTHING:
                    pass
                case Due.PING:
                    self._ping(now)
                    self.wake_sender()
                case Due.END_IDLE:
                    self.connection.close()
                    return "nobody uses it"
                case Due.END_DEAD:
                    return "the peer does not answer"
                case _:
                    assert_never(due)
            self._changed = trio.Event()
            with trio.CancelScope(deadline=until):
                await self._changed.wait()

    async def _send_rest(self) -> None:
        """Send what is queued, such as the reason of the end, if that does not take long."""
        if not self._is_sending and self.connection.queued_size:
            with trio.move_on_after(CLOSE_LIMIT), contextlib.suppress(trio.BrokenResourceError):
                while self.connection.queued_size:
                    await self._transport.send_all(self.connection.data_to_send())

    def _handle(self, event: Event, on_request: Callable[[Stream], None] | None) -> None:
        match event:
            case DataReceived(stream):
                if (owner := self._owners.get(stream.id)) is not None:
                    owner.wake_reader()
            case WindowOpened(stream):
                if stream is None:
                    self._room.unpark()
                else:
                    self._wake(stream)
            case StreamEnded(stream):
                stream.fault = stream.fault or self.tunnel.why_failed(stream.trailers)
                self._wake(stream)
            case StreamReset(stream):
                self._wake(stream)
            case RequestReceived(stream):
                if on_request is not None:
                    on_request(stream)
            case ResponseReceived(stream):
                self._check_response(stream)
            case PingAcknowledged():
                self._vitals.pinged = None
            case GoAwayReceived():
                self._changed.set()
            case SettingsReceived():
                pass
            case _:
                assert_never(event)

    def _check_response(self, stream: Stream) -> None:
        if stream.response is not None and (why := self.tunnel.why_refused(stream.response)):
            self.connection.reset_stream(stream, ErrorCode.CANCEL)
            stream.forget_unread()  # a page about the error
            stream.fault = why
            self._wake(stream)

    def _wake(self, stream: Stream) -> None:
        owner = self._owners.get(stream.id)
        if owner is not None:
            owner.wake_reader()
            owner.wake_writer()

    def _has_room(self) -> bool:
        connection = self.connection
        return connection.queued_size < BUSY_TURN_SIZE and connection.has_window

    def _queue(self, stream: Stream, data: memoryview, *, is_last: bool) -> int:
        """Queue as much as one turn allows; return how much that was."""
        connection = self.connection
        turn = BUSY_TURN_SIZE if self._is_sending else TURN_SIZE
        size = min(len(data), connection.sendable_size(stream), turn)
        ends = is_last and size == len(data)
        trailers = self.trailers_of(stream) if ends else ()
        if size or (ends and not trailers):
            connection.send_data(stream, data[:size], is_last=ends and not trailers)
        if trailers:
            connection.end_stream(stream, trailers)
        self.wake_sender()
        return size

    def _ping(self, now: float) -> None:
        self.connection.ping(_PING)
        self._vitals.pinged = now

    def _break(self, why: str) -> None:
        """Note that the connection has ended, and tell all who wait for it; only the first time."""
        if self._broken is None:
            self._broken = why
            self._room.unpark_all()
            for owner in self._owners.values():
                owner.wake_reader()
                owner.wake_writer()
