"""Bytes between two sides: an uplink task, a downlink task, and one moving deadline.

Each turn is one read into a shared buffer, the codecs of both sides over all of it, and one write.
The end of one direction is passed on at once, by the sealer and by the transport, and the other
direction goes on under a shorter idle limit.
"""

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


async def relay_streams(
    near: StreamSide, far: StreamSide, *, scratch: Scratch, policy: Policy, meter: Meter
) -> tuple[Ending, str]:
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
    return await _Relay(near, far, scratch, policy, meter).run()


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
            nursery.start_soon(self._uplink)
            await self._downlink()
        if self._ending is not None:
            return self._ending, str(self._fault or "")
        return (self._on_limit if self._scope.cancelled_caught else Ending.FINISHED), ""

    async def _uplink(self) -> None:
        policy, near, far = self._policy, self._near, self._far
        if await self._carry(near, far, _UPLINK):
            self._linger(policy.downlink_only, Ending.DOWNLINK_ONLY)

    async def _downlink(self) -> None:
        policy, near, far = self._policy, self._near, self._far
        if await self._carry(far, near, _DOWNLINK):
            self._linger(policy.uplink_only, Ending.UPLINK_ONLY)

    async def _carry(self, source: StreamSide, sink: StreamSide, way: "_Way") -> bool:
        """Run one direction to its end; tell whether it was a good one."""
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
            return self._end(way.source_protocol)
        except trio.BrokenResourceError:
            return self._end(way.sink_reset if at_sink else way.source_reset)
        return True

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

    def _linger(self, limit: float, ending: Ending) -> None:
        self._open_ways -= 1
        if not self._open_ways:
            return
        self._limit = limit
        self._on_limit = ending
        now = trio.current_time()
        self._next_move = now
        self._scope.deadline = now + limit

    def _end(self, ending: Ending) -> bool:
        if self._ending is None:
            self._ending = ending
        self._scope.cancel()
        return False


@attrs.frozen(kw_only=True)
class _Way:
    """What the faults of one direction are called."""

    is_uplink: bool
    source_protocol: Ending
    source_reset: Ending
    sink_reset: Ending


_UPLINK: Final = _Way(
    is_uplink=True,
    source_protocol=Ending.CLIENT_PROTOCOL,
    source_reset=Ending.CLIENT_RESET,
    sink_reset=Ending.REMOTE_RESET,
)
_DOWNLINK: Final = _Way(
    is_uplink=False,
    source_protocol=Ending.REMOTE_PROTOCOL,
    source_reset=Ending.REMOTE_RESET,
    sink_reset=Ending.CLIENT_RESET,
)
