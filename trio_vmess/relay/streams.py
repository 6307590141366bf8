"""Relays bytes between two sides: one uplink and one downlink pump, and one moving deadline.

Each turn of a pump is one read into a shared buffer, the codecs of both sides over all of it, and
one write; `relay.pace` says how much is read. The end of one direction is passed on at once (by
the sealer's terminator and by a half-close), and the other direction continues with a shorter idle
limit.
"""

from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter
from typing import Final

import attrs
import trio

from trio_vmess.contracts import StreamSide
from trio_vmess.core import IdentityCodec, Piece, PieceCodec, Policy
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.relay.buffers import READ_SIZE, SharedBuffers
from trio_vmess.relay.close_reason import CloseReason
from trio_vmess.relay.meter import Meter
from trio_vmess.relay.pace import LITTLE_SIZE, Pace

OnStart = Callable[[trio.CancelScope], None]
"""Called with the relay's cancel scope when it begins; cancelling the scope ends the relay."""

DEADLINE_GRAIN: Final = 1.0
"""Seconds between two moves of the deadline, because moving it costs more than a small read.

The deadline is set later by as much, so that a relay never ends too early.
"""

READ_SIZE_MIN: Final = 16 * 1024
"""Bytes: a smaller `Policy.buffer_size` is raised to this."""

_SendPieces = Callable[[Sequence[Piece]], Awaitable[None]]
"""As of `PieceTransport`."""

_IDENTITY: Final = IdentityCodec()

PIECES_FROM: Final = 64 * 1024
"""Bytes: from here on it pays to leave payload where it is, if the codecs do not change it."""


def relay_streams(
    client: StreamSide,
    remote: StreamSide,
    *,
    buffers: SharedBuffers,
    policy: Policy,
    meter: Meter,
    on_start: OnStart,
) -> Awaitable[tuple[CloseReason, str]]:
    """Carry bytes between two sides until both directions have ended, or an idle limit is reached.

    Args:
        client: the client's side.
        remote: the destination's side.
        buffers: shared by all relays of this Trio run.
        policy: the idle limits.
        meter: kept up to date while the relay runs.
        on_start: called with the relay's cancel scope before anything is relayed.

    Returns:
        Why it ended, and the error message if a peer broke the protocol (else empty). If the scope
        was cancelled from outside, ignore the result. The caller closes both transports.

    Raises:
        trio.Cancelled: from outside; both transports are unusable then.
    """
    return _Relay(client, remote, buffers, policy, meter).run(on_start)


class _SinkBroken(Exception):  # noqa: N818 (never leaves this module)
    """The connection that was written to is broken, not the one that was read from."""


class _Relay:
    def __init__(
        self,
        client: StreamSide,
        remote: StreamSide,
        buffers: SharedBuffers,
        policy: Policy,
        meter: Meter,
    ) -> None:
        self._client = client
        self._remote = remote
        self._buffers = buffers
        self._policy = policy
        self._meter = meter
        self._scope: trio.CancelScope
        self._open_directions = 2
        self._limit = policy.connection_idle
        self._on_limit = CloseReason.IDLE
        self._next_move = 0.0
        self._reason: CloseReason | None = None
        self._fault = ""
        size = policy.buffer_size
        self._pace = Pace(buffers)
        self._read_size = READ_SIZE if size is None else max(min(size, READ_SIZE), READ_SIZE_MIN)

    async def run(self, on_start: OnStart) -> tuple[CloseReason, str]:
        async with trio.open_nursery() as nursery:
            # The nursery's own scope carries the idle deadline and is what `on_start` hands out: a
            # scope of our own would cost each connection a microsecond and do the same.
            self._scope = nursery.cancel_scope
            self._move_deadline(trio.current_time())
            on_start(self._scope)
            nursery.start_soon(self._carry, self._client, self._remote, _UPLINK, name="uplink")
            # The downlink runs in the connection's own task, which saves starting a second one.
            await self._carry(self._remote, self._client, _DOWNLINK)
        if self._reason is not None:
            return self._reason, self._fault
        return (self._on_limit if self._scope.cancelled_caught else CloseReason.FINISHED), ""

    async def _carry(self, source: StreamSide, sink: StreamSide, direction: "_Direction") -> None:
        """Pump one direction until it ends or fails; failures end the whole relay."""
        buffers, opener, sealer = self._buffers, source.opener, sink.sealer
        receive_into, send_all = source.transport.receive_into, sink.transport.send_all
        pace, follows_little = self._pace, False
        largest = buffers.received[: min(self._read_size, sink.turn_size or READ_SIZE)]
        read_buffer = largest[: pace.limit()]
        try:
            data = await self._begin(source, sink, direction, read_buffer)
            # No checkpoint between a read and its write: all relays share these buffers.
            while True:
                if len(data) >= PIECES_FROM and await self._send_pieces(
                    data, source, sink, direction
                ):
                    pass
                elif data:
                    if opener is not None:
                        # Opens all complete chunks; the opener keeps a partial one.
                        data = buffers.opened[: opener.update_into(data, buffers.opened)]
                    self._count(len(data), direction)
                    if sealer is not None and data:
                        data = buffers.sealed[: sealer.update_into(data, buffers.sealed)]
                    if data:
                        try:
                            await send_all(data)
                        except trio.BrokenResourceError:
                            raise _SinkBroken from None
                if opener is not None and opener.ended:
                    # The body's terminator has come; the connection itself may stay open.
                    break
                size = await receive_into(read_buffer)
                if not size:
                    if opener is not None:
                        # Raises if the connection ended in the middle of the body.
                        opener.finalize_into(buffers.opened)
                    break
                data = read_buffer[:size]
                if size >= LITTLE_SIZE:
                    follows_little = False
                    read_buffer = largest[: pace.limit()]
                elif follows_little:
                    pace.note_little()
                else:
                    follows_little = True
            await self._end_sink(sink)
        except RemoteProtocolError as exc:
            # Keep the text, not the exception: its traceback refers to this frame, and so to the
            # relay, and that cycle could only be freed by the garbage collector.
            self._abort(direction.source_protocol, str(exc))
        except _SinkBroken:
            self._abort(direction.sink_reset)
        except trio.BrokenResourceError:
            self._abort(direction.source_reset)
        else:
            self._linger(direction)

    async def _begin(
        self,
        source: StreamSide,
        sink: StreamSide,
        direction: "_Direction",
        read_buffer: memoryview,
    ) -> bytes | memoryview:
        """Send payload that was opened before the relay began, or a header that the sealer holds.

        Returns:
            Bytes of the source that have not been opened yet; may be empty.
        """
        if source.payload:
            # Cleared so that the bytes are not kept in memory for the relay's lifetime.
            payload, source.payload = source.payload, b""
            self._count(len(payload), direction)
            await self._seal_and_send(payload, sink)
        elif not source.early and sink.flush_after is not None:
            # If payload arrives within `flush_after`, it shares a packet with the header.
            with trio.move_on_after(sink.flush_after):
                return read_buffer[: await source.transport.receive_into(read_buffer)]
            await self._seal_and_send(b"", sink)
        return source.early

    async def _send_pieces(
        self,
        data: bytes | memoryview,
        source: StreamSide,
        sink: StreamSide,
        direction: "_Direction",
    ) -> bool:
        """Pass on what was read as parts of it, without a copy; return False if that cannot be.

        It can if no codec changes payload, and the sink takes pieces.
        """
        if source.opener is None and sink.sealer is None:
            return False  # nothing would be copied anyway
        send_pieces: _SendPieces | None = getattr(sink.transport, "send_pieces", None)
        if send_pieces is None:
            return False
        opener: PieceCodec | None = _IDENTITY
        sealer: PieceCodec | None = _IDENTITY
        if source.opener is not None:
            opener = source.opener.piecewise
        if sink.sealer is not None:
            sealer = sink.sealer.piecewise
        if opener is None or sealer is None:
            return False
        payload = opener.update_pieces(data)
        self._count(sum(map(len, payload)), direction)
        pieces = [each for part in payload for each in sealer.update_pieces(part)]
        if pieces:
            try:
                await send_pieces(pieces)
            except trio.BrokenResourceError:
                raise _SinkBroken from None
        return True

    async def _seal_and_send(self, payload: bytes, sink: StreamSide) -> None:
        data: bytes | memoryview = payload
        if sink.sealer is not None:
            sealed = self._buffers.sealed
            data = sealed[: sink.sealer.update_into(payload, sealed)]
        try:
            await sink.transport.send_all(data)
        except trio.BrokenResourceError:
            raise _SinkBroken from None

    async def _end_sink(self, sink: StreamSide) -> None:
        sealed = self._buffers.sealed
        size = 0 if sink.sealer is None else sink.sealer.finalize_into(sealed)
        try:
            await sink.transport.send_eof(sealed[:size])
            sink.is_ended = True
        except trio.BrokenResourceError:
            raise _SinkBroken from None

    def _count(self, size: int, direction: "_Direction") -> None:
        if direction.is_uplink:
            self._meter.uplink += size
        else:
            self._meter.downlink += size
        now = trio.current_time()
        if now >= self._next_move:
            self._move_deadline(now)

    # Limits -------------------------------------------------------------------------------------

    def _move_deadline(self, now: float) -> None:
        self._next_move = now + DEADLINE_GRAIN
        self._scope.deadline = now + self._limit + DEADLINE_GRAIN

    def _linger(self, ended: "_Direction") -> None:
        """Give the direction that is still open the shorter idle limit of a half-closed relay."""
        self._open_directions -= 1
        if not self._open_directions:
            return
        self._limit = ended.limit_after(self._policy)
        self._on_limit = ended.reason_after
        self._next_move = now = trio.current_time()
        self._scope.deadline = now + self._limit

    def _abort(self, reason: CloseReason, fault: str = "") -> None:
        """End both directions; the first reason counts."""
        if self._reason is None:
            self._reason, self._fault = reason, fault
        self._scope.cancel()


@attrs.frozen(kw_only=True)
class _Direction:
    """What distinguishes uplink (client to remote) from downlink.

    Attributes:
        is_uplink: True for the uplink.
        limit_after: the idle limit of the other direction once this one has ended.
        reason_after: the close reason if that limit is reached.
        source_protocol: the close reason if the source broke the protocol.
        source_reset: the close reason if the source's connection was reset.
        sink_reset: the close reason if the sink's connection was reset.
    """

    is_uplink: bool
    limit_after: Callable[[Policy], float]
    reason_after: CloseReason
    source_protocol: CloseReason
    source_reset: CloseReason
    sink_reset: CloseReason


_UPLINK: Final = _Direction(
    is_uplink=True,
    limit_after=attrgetter("downlink_only"),
    reason_after=CloseReason.DOWNLINK_ONLY,
    source_protocol=CloseReason.CLIENT_PROTOCOL,
    source_reset=CloseReason.CLIENT_RESET,
    sink_reset=CloseReason.REMOTE_RESET,
)
_DOWNLINK: Final = _Direction(
    is_uplink=False,
    limit_after=attrgetter("uplink_only"),
    reason_after=CloseReason.UPLINK_ONLY,
    source_protocol=CloseReason.REMOTE_PROTOCOL,
    source_reset=CloseReason.REMOTE_RESET,
    sink_reset=CloseReason.CLIENT_RESET,
)
