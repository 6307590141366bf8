"""Bytes between two sides: an uplink task, a downlink task, and one moving deadline.

Each turn is one read into a shared buffer, the codecs of both sides over all of it, and one write.
The end of one direction is passed on at once, by the sealer and by the transport, and the other
direction goes on under a shorter idle limit.
"""

from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Final

import attrs
import trio

from trio_vmess.contracts import StreamSide
from trio_vmess.core import Policy
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.relay.ending import Ending, Meter
from trio_vmess.relay.scratch import READ_SIZE, Scratch

DEADLINE_GRAIN: Final = 1.0
"""Seconds: the deadline moves no more often, because moving it costs more than a small read."""

READ_SIZE_MIN: Final = 16 * 1024


def relay_streams(
    near: StreamSide, far: StreamSide, *, scratch: Scratch, policy: Policy, meter: Meter
) -> Awaitable[tuple[Ending, str]]:
    """Carry bytes between two sides until both have ended, or a limit ends it.

    Args:
        near: the client's side.
        far: the destination's side.
        scratch: the buffers of this Trio run.
        policy: the idle limits.
        meter: is kept up to date while the relay runs.

    Returns:
        Why it ended, and a sentence where a peer broke the protocol (else it is empty). Both
        transports are still to be closed.

    Raises:
        trio.Cancelled: from outside; both transports are then of no further use.
    """
    return _Relay(near, far, scratch, policy, meter).run()


class _Relay:
    def __init__(
        self, near: StreamSide, far: StreamSide, scratch: Scratch, policy: Policy, meter: Meter
    ) -> None:
        self._near = near
        self._far = far
        self._scratch = scratch
        self._policy = policy
        self._meter = meter
        self._scope: trio.CancelScope
        self._open_ways = 2
        self._limit = policy.connection_idle
        self._on_limit = Ending.IDLE
        self._next_move = 0.0
        self._ending: Ending | None = None
        self._fault: RemoteProtocolError | None = None
        size = policy.buffer_size
        self._read_size = READ_SIZE if size is None else max(min(size, READ_SIZE), READ_SIZE_MIN)

    async def run(self) -> tuple[Ending, str]:
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            self._move_deadline(trio.current_time())
            nursery.start_soon(self._carry, self._near, self._far, _UPLINK)
            await self._carry(self._far, self._near, _DOWNLINK)
        if self._ending is not None:
            return self._ending, str(self._fault or "")
        return (self._on_limit if self._scope.cancelled_caught else Ending.FINISHED), ""

    async def _carry(self, source: StreamSide, sink: StreamSide, way: "_Way") -> None:
        """Run one direction to its end, good or bad."""
        # Whose fault a broken resource is depends on what was being done.
        at_sink = False
        scratch, opener, sealer = self._scratch, source.opener, sink.sealer
        receive_into, send_all = source.transport.receive_into, sink.transport.send_all
        room = scratch.received[: self._read_size]
        data: bytes | memoryview = source.early
        try:
            if source.payload:
                at_sink = True
                await self._send_payload(source, sink, way)
                at_sink = False
            elif not data and sink.flush_after is not None:
                # The header need not go alone if the first payload comes soon.
                with trio.move_on_after(sink.flush_after) as wait:
                    data = room[: await receive_into(room)]
                if wait.cancelled_caught and sealer is not None:
                    at_sink = True
                    await send_all(scratch.output[: sealer.update_into(b"", scratch.output)])
                    at_sink = False
            while True:
                if data:
                    if opener is not None:
                        data = scratch.middle[: opener.update_into(data, scratch.middle)]
                    self._count(len(data), way)
                    if sealer is not None and data:
                        data = scratch.output[: sealer.update_into(data, scratch.output)]
                    if data:
                        at_sink = True
                        await send_all(data)
                        at_sink = False
                if opener is not None and opener.ended:
                    break
                size = await receive_into(room)
                if not size:
                    if opener is not None:
                        opener.finalize_into(scratch.middle)
                    break
                data = room[:size]
            at_sink = True
            size = 0 if sealer is None else sealer.finalize_into(scratch.output)
            await sink.transport.send_eof(scratch.output[:size])
        except RemoteProtocolError as exc:
            self._fault = exc
            self._break_off(way.source_protocol)
        except trio.BrokenResourceError:
            self._break_off(way.sink_reset if at_sink else way.source_reset)
        else:
            self._linger(way)

    async def _send_payload(self, source: StreamSide, sink: StreamSide, way: "_Way") -> None:
        """Send what was opened before the relay began; it is not kept for the relay's lifetime."""
        data: bytes | memoryview = source.payload
        source.payload = b""
        self._count(len(data), way)
        if sink.sealer is not None:
            output = self._scratch.output
            data = output[: sink.sealer.update_into(data, output)]
        await sink.transport.send_all(data)

    def _count(self, size: int, way: "_Way") -> None:
        if way.is_uplink:
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

    def _linger(self, ended: "_Way") -> None:
        """Let the other direction go on for as long as it has not been idle for too long."""
        self._open_ways -= 1
        if not self._open_ways:
            return
        self._limit = ended.limit_after(self._policy)
        self._on_limit = ended.ending_after
        self._next_move = now = trio.current_time()
        self._scope.deadline = now + self._limit

    def _break_off(self, ending: Ending) -> None:
        if self._ending is None:
            self._ending = ending
        self._scope.cancel()


@attrs.frozen(kw_only=True)
class _Way:
    """What the two directions differ in.

    Attributes:
        is_uplink: which one it is.
        limit_after: the idle limit of the other direction once this one has ended.
        ending_after: the relay's ending if that limit is reached.
        source_protocol: its ending if the source breaks the protocol.
        source_reset: its ending if the source's connection is reset.
        sink_reset: its ending if the sink's is.
    """

    is_uplink: bool
    limit_after: Callable[[Policy], float]
    ending_after: Ending
    source_protocol: Ending
    source_reset: Ending
    sink_reset: Ending


_UPLINK: Final = _Way(
    is_uplink=True,
    limit_after=attrgetter("downlink_only"),
    ending_after=Ending.DOWNLINK_ONLY,
    source_protocol=Ending.CLIENT_PROTOCOL,
    source_reset=Ending.CLIENT_RESET,
    sink_reset=Ending.REMOTE_RESET,
)
_DOWNLINK: Final = _Way(
    is_uplink=False,
    limit_after=attrgetter("uplink_only"),
    ending_after=Ending.UPLINK_ONLY,
    source_protocol=Ending.REMOTE_PROTOCOL,
    source_reset=Ending.REMOTE_RESET,
    sink_reset=Ending.CLIENT_RESET,
)
