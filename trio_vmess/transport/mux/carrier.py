"""One end of a carrier: the tasks that move its frames, and the bounds that hold for all of it.

Mux.Cool has no flow control. What the reader of a sub-connection does not take is kept, up to a
bound for each sub-connection and one for the carrier. Beyond it, nothing is read from the carrier:
the peer has to wait, with all of its sub-connections. If the one that it waits for takes nothing
for some seconds, it is ended, so that the others go on.
"""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, assert_never

import trio

from trio_vmess.contracts import Transport
from trio_vmess.core import Destination
from trio_vmess.core.mux import (
    PACKET_SIZE,
    XUDP_PACKET_SIZE,
    End,
    Frame,
    Keep,
    KeepAlive,
    MuxClient,
    MuxServer,
    New,
)
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.transport.mux.sender import FairSender
from trio_vmess.transport.mux.stream import MuxStream

UNREAD_SIZE_MAX: Final = 1024 * 1024
"""Bytes that wait for the reader of one sub-connection."""

CARRIER_UNREAD_SIZE_MAX: Final = 4 * 1024 * 1024
"""Bytes that wait for all readers of a carrier. Each bound may be passed by one read."""

STALL_LIMIT: Final = 5.0
"""Seconds for which a reader that takes nothing may hold up its carrier."""

ANSWER_SIZE_MAX: Final = 64 * 1024
"""Bytes of queued frames beyond which nothing more is read: a peer has to take its answers."""

CARRIER_READ_SIZE: Final = 64 * 1024
"""Bytes that are read from the carrier at a time: all of it is handled before anything else is.

No more than a peer of ours sends in one go, and what a stream's reader takes at once.
"""

UNSENT_SIZE: Final = 64 * 1024
"""Bytes that the system may hold beyond what is under way to the peer: they delay everything."""

DATAGRAM_QUEUE_SIZE: Final = 256 * 1024
"""Bytes of queued frames beyond which datagrams are dropped."""

WATCHES_PER_LIMIT: Final = 6
"""How often within its idle limit it is looked whether a carrier is used."""

CLOSE_LIMIT: Final = 1.0


class CarrierLog(Protocol):
    """What a carrier has to tell; each end has lines of its own."""

    def stalled(self, session_id: int, unread_size: int, /) -> None:
        """A sub-connection is ended because its reader holds up the others."""
        ...

    def violation(self, reason: str, /) -> None:
        """The peer has sent something else than frames."""
        ...


class PacketSession(Protocol):
    """A session for datagrams, as its carrier sees it."""

    @property
    def number(self) -> int:
        """The session id."""
        ...

    def take(self, datagram: bytes, peer: Destination | None, /) -> None:
        """Take a datagram of the peer.

        Args:
            datagram: from it.
            peer: where it goes to, or comes from; None for the destination of the session.
        """
        ...

    def detach(self) -> None:
        """The peer has ended the session, or the carrier has ended."""
        ...


class MuxCarrier:
    """One end of a connection that carries many: a `StreamOwner`.

    Args:
        transport: carries the frames; closed at the end.
        mux: reads and writes them.
        log: is told what is worth a line.
        peer: who is at the other end, for errors: `client` or `server`.
        buffer: where everything that is received goes first; shared by all connections.
        idle_limit: seconds without a sub-connection after which the carrier ends.
        accept: called with what opens a session; None at the end that opens them.
        spares_lone: whether a sub-connection that is alone may hold up the carrier for ever: for
            the end that decides where new ones go.
    """

    def __init__(
        self,
        transport: Transport,
        mux: MuxClient | MuxServer,
        *,
        log: CarrierLog,
        peer: str,
        buffer: memoryview,
        idle_limit: float,
        accept: Callable[[New], None] | None = None,
        spares_lone: bool = False,
    ) -> None:
        self.is_broken = False
        """Whether it has ended, for whatever reason."""
        self._transport = transport
        self._mux = mux
        self._log = log
        self._peer = peer
        self._buffer = buffer[:CARRIER_READ_SIZE]
        self._idle_limit = idle_limit
        self._accept = accept
        self._spares_lone = spares_lone
        self._sender = FairSender(transport, mux)
        self._sessions: dict[int, MuxStream | PacketSession] = {}
        self._streams: set[MuxStream] = set()
        self._full: set[MuxStream] = set()
        self._unread_size = 0
        self._taken = trio.lowlevel.ParkingLot()
        self._idle_since = trio.current_time()
        self._used_up = trio.Event()

    @property
    def stream_count(self) -> int:
        """How many streams are not closed yet."""
        return len(self._streams)

    @property
    def use_count(self) -> int:
        """How many sub-connections are open, or still ending."""
        datagrams = (each for each in self._sessions.values() if not isinstance(each, MuxStream))
        return len(self._streams) + sum(1 for _ in datagrams)

    @property
    def is_held_up(self) -> bool:
        """Whether nothing is read because somebody does not take what has come."""
        return bool(self._full) or self._unread_size > CARRIER_UNREAD_SIZE_MAX

    async def run(self) -> str:
        """Carry until the connection ends, close it, and fail what it carries; return why."""
        self._transport.limit_unsent(UNSENT_SIZE)
        try:
            return await self._run_until_end()
        finally:
            self._break("the carrier has ended")
            self._accept = None  # refers to whoever owns us: the cycle would be garbage
            await self._transport.aclose()

    def retire(self) -> None:
        """End the carrier, which nobody uses and nobody will."""
        self._used_up.set()

    def add_stream(self, stream: MuxStream) -> None:
        """Count a stream, whose session may be opened later; `forget` ends that."""
        self._streams.add(stream)

    def enter(self, number: int, session: MuxStream | PacketSession) -> None:
        """Have a session get what comes for its number."""
        self._sessions[number] = session

    def deliver(self, stream: MuxStream, data: bytes | None) -> None:
        """Let a stream keep what has come for it."""
        if data:
            before = stream.unread_size
            stream.receive(data)
            self._unread_size += stream.unread_size - before
            if stream.unread_size > UNREAD_SIZE_MAX:
                self._full.add(stream)

    def wake(self) -> None:
        """Have what is queued sent."""
        self._sender.wake()

    async def send(self, stream: MuxStream, data: memoryview) -> None:
        """See `StreamOwner.send`."""

        def queue(turn: memoryview) -> bool:
            if not stream.wants_output():
                return False
            stream.queue(turn)
            return True

        await self._sender.send(data, queue)

    def queue(self, stream: MuxStream, data: memoryview) -> None:
        """See `StreamOwner.queue`."""
        self._mux.send_data(stream.session_id, data)

    def send_datagrams(
        self, session: PacketSession, datagrams: Sequence[bytes], peer: Destination | None
    ) -> int:
        """Queue datagrams for the peer; return how many were dropped."""
        size_max = PACKET_SIZE if peer is None else XUDP_PACKET_SIZE
        dropped, mux = 0, self._mux
        for datagram in datagrams:
            if len(datagram) > size_max or mux.queued_size > DATAGRAM_QUEUE_SIZE:
                dropped += 1
            else:
                mux.send_datagram(session.number, datagram, peer)
        self._sender.wake()
        return dropped

    def end(self, stream: MuxStream, *, is_error: bool) -> None:
        """See `StreamOwner.end`."""
        self._end_session(stream.session_id, stream, is_error=is_error)

    def end_datagrams(self, session: PacketSession) -> None:
        """Tell the peer that a session for datagrams has ended."""
        self._end_session(session.number, session, is_error=False)

    def note_taken(self, stream: MuxStream, size: int) -> None:
        """See `StreamOwner.note_taken`."""
        self._unread_size -= size
        if stream.unread_size <= UNREAD_SIZE_MAX:
            self._full.discard(stream)
        self._taken.unpark_all()

    def forget(self, stream: MuxStream) -> None:
        """See `StreamOwner.forget`."""
        self._streams.discard(stream)

    # Tasks

    async def _run_until_end(self) -> str:
        reasons: list[str] = []
        async with trio.open_nursery() as nursery:

            async def until_end(part: Callable[[], Awaitable[str]]) -> None:
                reasons.append(await part())
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_end, self._sender.run, name="mux sender")
            nursery.start_soon(until_end, self._watch, name="mux watch")
            await until_end(self._keep_receiving)
        with trio.move_on_after(CLOSE_LIMIT), contextlib.suppress(trio.BrokenResourceError):
            await self._sender.send_rest()
            if not self._mux.session_count:
                await self._transport.send_eof()
        return reasons[0]

    async def _keep_receiving(self) -> str:
        receive_into, buffer, mux = self._transport.receive_into, self._buffer, self._mux
        try:
            while size := await receive_into(buffer):
                for frame in mux.receive_data(buffer[:size]):
                    self._handle(frame)
                self._sender.wake()
                if self.is_held_up:
                    await self._wait_for_room()
                if mux.queued_size >= ANSWER_SIZE_MAX:
                    await self._sender.wait_until_below(ANSWER_SIZE_MAX)
        except RemoteProtocolError as exc:
            self._log.violation(str(exc))
            return str(exc)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            return str(exc) or "the connection was reset"
        return f"the {self._peer} has closed it"

    async def _watch(self) -> str:
        while True:
            with trio.move_on_after(self._idle_limit / WATCHES_PER_LIMIT):
                await self._used_up.wait()
                return "it has served its purpose"
            if self._sessions or self._streams:
                self._idle_since = trio.current_time()
            elif trio.current_time() - self._idle_since >= self._idle_limit:
                return "nobody uses it"

    def _handle(self, frame: Frame) -> None:
        match frame:
            case Keep(session_id, data, peer):
                session = self._sessions.get(session_id)
                if isinstance(session, MuxStream):
                    self.deliver(session, data)
                elif session is not None and data is not None:
                    session.take(data, peer)
            case New():
                if self._accept is not None:
                    self._accept(frame)
            case End(session_id, is_error):
                session = self._sessions.pop(session_id, None)
                if isinstance(session, MuxStream):
                    if is_error:
                        session.fail(f"the {self._peer} has given up the session")
                    else:
                        session.receive_end()
                elif session is not None:
                    session.detach()
            case KeepAlive():
                pass
            case _:
                assert_never(frame)

    def _end_session(
        self, number: int, session: "MuxStream | PacketSession", *, is_error: bool
    ) -> None:
        # By now, the number may be that of another session.
        if self._sessions.get(number) is session:
            del self._sessions[number]
            self._mux.end(number, is_error=is_error)
            self._sender.wake()

    # Bounds

    async def _wait_for_room(self) -> None:
        """Wait until the bounds hold again; end what takes nothing meanwhile."""
        while self.is_held_up:
            waiting = self._full or {stream for stream in self._streams if stream.unread_size}
            slowest = min(waiting, key=lambda stream: stream.last_taken)
            # If it is alone, nobody else waits; but somebody may come.
            since = slowest.last_taken
            if self._spares_lone and self.use_count == 1:
                since = trio.current_time()
            with trio.move_on_at(since + STALL_LIMIT) as limit:
                await self._taken.park()
            if limit.cancelled_caught and not (self._spares_lone and self.use_count == 1):
                self._give_up(waiting)

    def _give_up(self, waiting: set[MuxStream]) -> None:
        """End the largest of those that have taken nothing for too long."""
        since = trio.current_time() - STALL_LIMIT
        stalled = [stream for stream in waiting if stream.last_taken <= since]
        if stalled:
            stream = max(stalled, key=lambda stream: stream.unread_size)
            self._log.stalled(stream.session_id, stream.unread_size)
            self.end(stream, is_error=True)
            stream.fail("its reader took nothing, and held up the carrier")

    def _break(self, why: str) -> None:
        """Fail all sub-connections."""
        self.is_broken = True
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            if not isinstance(session, MuxStream):
                session.detach()
        # Some were ended by the peer, but what it had sent before is still under way.
        for stream in [*self._streams]:
            if not stream.is_ended:
                stream.fail(why)
        self._sender.break_off()
