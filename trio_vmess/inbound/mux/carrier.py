"""The server's end of a carrier: the tasks that move its frames, and its sub-connections.

Mux.Cool has no flow control. What a sub-connection's destination does not take is kept, up to a
bound for each sub-connection and one for the carrier. Beyond it, nothing is read from the carrier:
the client has to wait, with all of its sub-connections. If the one that it waits for takes nothing
for some seconds, it is ended, so that the others go on.
"""

import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, assert_never

import attrs
import trio

from trio_vmess.contracts import SILENT_ANSWER, Dispatch, StreamSide, Transport
from trio_vmess.core import Destination, Flow, Network
from trio_vmess.core.mux import (
    PACKET_SIZE,
    XUDP_PACKET_SIZE,
    XUDP_SESSION,
    End,
    Frame,
    Keep,
    KeepAlive,
    MuxServer,
    New,
)
from trio_vmess.core.vmess import MUX_DESTINATION
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.inbound.mux.association import ClientAssociation
from trio_vmess.inbound.mux.datagrams import DatagramSession, run_association
from trio_vmess.inbound.mux.global_ids import GlobalIds
from trio_vmess.inbound.mux.sender import TURN_SIZE, FairSender
from trio_vmess.inbound.mux.stream import MuxStream

log: Final = logging.getLogger("trio_vmess.inbound.mux")

SESSION_COUNT_MAX: Final = 1024
"""Sub-connections of a carrier that may be open or still ending."""

UNREAD_SIZE_MAX: Final = 1024 * 1024
"""Bytes that wait for the destination of one sub-connection."""

CARRIER_UNREAD_SIZE_MAX: Final = 4 * 1024 * 1024
"""Bytes that wait for all destinations of a carrier. Each bound may be passed by one read."""

STALL_LIMIT: Final = 5.0
"""Seconds for which a destination that takes nothing may hold up its carrier."""

ANSWER_SIZE_MAX: Final = 64 * 1024
"""Bytes of queued frames beyond which nothing more is read: a client has to take its answers."""

UNSENT_SIZE: Final = 64 * 1024
"""Bytes that the system may hold beyond what is under way to the client: they delay all answers."""

DATAGRAM_QUEUE_SIZE: Final = 256 * 1024
"""Bytes of queued frames beyond which answers by UDP are dropped."""

IDLE_LIMIT: Final = 60.0
"""Seconds without a sub-connection after which a carrier ends. Clients end theirs sooner."""

WATCH_INTERVAL: Final = 10.0
CLOSE_LIMIT: Final = 1.0


class Carrier:
    """A connection of a client that carries many.

    Args:
        transport: carries the frames; closed at the end.
        flow: of whom the sub-connections are; each gets a destination of its own.
        dispatch: gets the sub-connections.
        global_ids: associations that outlive their carrier.
        may_open: returns whether the client may still open sub-connections.
        buffer: where everything that is received goes first; shared by all connections.
    """

    def __init__(
        self,
        transport: Transport,
        flow: Flow,
        dispatch: Dispatch,
        *,
        global_ids: GlobalIds,
        may_open: Callable[[], bool],
        buffer: memoryview,
    ) -> None:
        self._transport = transport
        self._flow = flow
        self._dispatch = dispatch
        self._global_ids = global_ids
        self._may_open = may_open
        self._buffer = buffer
        self._mux = MuxServer(session_count_max=SESSION_COUNT_MAX)
        self._sender = FairSender(transport, self._mux)
        self._sessions: dict[int, MuxStream | DatagramSession] = {}
        self._streams: set[MuxStream] = set()
        self._full: set[MuxStream] = set()
        self._unread_size = 0
        self._taken = trio.lowlevel.ParkingLot()
        self._idle_since = trio.current_time()

    async def run(self) -> str:
        """Carry until the connection ends, close it, and wait until the sub-connections have ended.

        Returns:
            Why it ended.
        """
        self._transport.limit_unsent(UNSENT_SIZE)
        async with trio.open_nursery() as sessions:
            reason = "the server is stopping"
            try:
                reason = await self._run_until_end(sessions)
            finally:
                self._break("the carrier has ended")
                await self._transport.aclose()
        return reason

    async def _run_until_end(self, sessions: trio.Nursery) -> str:
        reasons: list[str] = []
        async with trio.open_nursery() as nursery:

            async def until_end(part: Callable[[], Awaitable[str]]) -> None:
                reasons.append(await part())
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_end, self._sender.run, name="mux sender")
            nursery.start_soon(until_end, self._watch, name="mux watch")
            await until_end(functools.partial(self._keep_receiving, sessions))
        with trio.move_on_after(CLOSE_LIMIT), contextlib.suppress(trio.BrokenResourceError):
            await self._sender.send_rest()
            if not self._mux.session_count:
                await self._transport.send_eof()
        return reasons[0]

    async def _keep_receiving(self, sessions: trio.Nursery) -> str:
        receive_into, buffer, mux = self._transport.receive_into, self._buffer, self._mux
        try:
            while size := await receive_into(buffer):
                for frame in mux.receive_data(buffer[:size]):
                    self._handle(frame, sessions)
                self._sender.wake()
                if self._full or self._unread_size > CARRIER_UNREAD_SIZE_MAX:
                    await self._wait_for_room()
                if mux.queued_size >= ANSWER_SIZE_MAX:
                    await self._sender.wait_until_below(ANSWER_SIZE_MAX)
        except RemoteProtocolError as exc:
            source, carrier = self._flow.source or "-", self._flow.carrier
            log.info("mux.violation source=%s carrier=%s reason=%r", source, carrier, str(exc))
            return str(exc)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            return str(exc) or "the connection was reset"
        return "the client has closed it"

    async def _watch(self) -> str:
        while True:
            await trio.sleep(WATCH_INTERVAL)
            if self._sessions or self._streams:
                self._idle_since = trio.current_time()
            elif trio.current_time() - self._idle_since >= IDLE_LIMIT:
                return "nobody uses it"

    def _handle(self, frame: Frame, sessions: trio.Nursery) -> None:
        match frame:
            case Keep(session_id, data, peer):
                session = self._sessions.get(session_id)
                if isinstance(session, MuxStream):
                    self._receive(session, data)
                elif session is not None and data is not None:
                    session.receive(data, peer)
            case New():
                self._open(frame, sessions)
            case End(session_id, is_error):
                session = self._sessions.pop(session_id, None)
                if isinstance(session, MuxStream):
                    if is_error:
                        session.fail("the client has given up the session")
                    else:
                        session.receive_end()
                elif session is not None:
                    session.detach()
            case KeepAlive():
                pass
            case _:
                assert_never(frame)

    def _receive(self, stream: MuxStream, data: bytes | None) -> None:
        if data:
            before = stream.unread_size
            stream.receive(data)
            self._unread_size += stream.unread_size - before
            if stream.unread_size > UNREAD_SIZE_MAX:
                self._full.add(stream)

    # Opening

    def _open(self, frame: New, sessions: trio.Nursery) -> None:
        number, destination = frame.session_id, frame.destination
        if (
            destination.host == MUX_DESTINATION.host
            or len(self._streams) >= SESSION_COUNT_MAX
            or not self._may_open()
        ):
            self._mux.end(number, is_error=True)
        elif destination.network is Network.TCP:
            stream = self._sessions[number] = MuxStream(self, number)
            self._streams.add(stream)
            self._receive(stream, frame.data)
            flow = attrs.evolve(self._flow, destination=destination)
            side = StreamSide(transport=stream, turn_size=TURN_SIZE)
            sessions.start_soon(self._dispatch.stream, flow, side, SILENT_ANSWER, name="mux stream")
        else:
            self._open_datagrams(frame, sessions)

    def _open_datagrams(self, frame: New, sessions: trio.Nursery) -> None:
        user, global_id = self._flow.user, frame.global_id
        association = self._global_ids.find(user, global_id) if global_id else None
        if association is None:
            is_full_cone = frame.is_extended or frame.session_id == XUDP_SESSION
            association = ClientAssociation(self._dispatch, self._flow, is_full_cone=is_full_cone)
            if global_id:
                self._global_ids.add(user, global_id, association)
            sessions.start_soon(
                run_association,
                association,
                self._global_ids,
                user,
                global_id,
                name="mux association",
            )
        is_kept = bool(global_id) and self._global_ids.keeps(user, global_id, association)
        session = DatagramSession(self, association, frame, is_kept=is_kept)
        self._sessions[frame.session_id] = session
        association.attach(session)
        if frame.data is not None:
            session.receive(frame.data, None)

    # What sub-connections call

    async def send(self, stream: MuxStream, data: memoryview) -> None:
        """See `StreamOwner.send`."""

        def queue(turn: memoryview) -> bool:
            if not stream.wants_output():
                return False
            self._mux.send_data(stream.session_id, turn)
            return True

        await self._sender.send(data, queue)

    def send_datagrams(
        self, session: DatagramSession, datagrams: Sequence[bytes], peer: Destination | None
    ) -> int:
        """See `DatagramOwner.send_datagrams`."""
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

    def end_datagrams(self, session: DatagramSession) -> None:
        """See `DatagramOwner.end_datagrams`."""
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

    def _end_session(
        self, number: int, session: MuxStream | DatagramSession, *, is_error: bool
    ) -> None:
        # By now, the number may be that of another session.
        if self._sessions.get(number) is session:
            del self._sessions[number]
            self._mux.end(number, is_error=is_error)
            self._sender.wake()

    # Bounds

    async def _wait_for_room(self) -> None:
        """Wait until the bounds hold again; end what takes nothing meanwhile."""
        while self._full or self._unread_size > CARRIER_UNREAD_SIZE_MAX:
            waiting = self._full or {stream for stream in self._streams if stream.unread_size}
            slowest = min(waiting, key=lambda stream: stream.last_taken)
            with trio.move_on_at(slowest.last_taken + STALL_LIMIT) as limit:
                await self._taken.park()
            if limit.cancelled_caught:
                self._give_up(waiting)

    def _give_up(self, waiting: set[MuxStream]) -> None:
        """End the largest of those that have taken nothing for too long."""
        since = trio.current_time() - STALL_LIMIT
        stalled = [stream for stream in waiting if stream.last_taken <= since]
        if stalled:
            stream = max(stalled, key=lambda stream: stream.unread_size)
            log.info(
                "mux.stalled source=%s carrier=%s session=%d unread=%d",
                self._flow.source or "-",
                self._flow.carrier,
                stream.session_id,
                stream.unread_size,
            )
            self.end(stream, is_error=True)
            stream.fail("its destination took nothing, and held up the carrier")

    def _break(self, why: str) -> None:
        """Fail all sub-connections."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            if not isinstance(session, MuxStream):
                session.detach()
        # Some were ended by the client, but what it had sent before is still under way.
        for stream in [*self._streams]:
            if not stream.is_ended:
                stream.fail(why)
        self._sender.break_off()
