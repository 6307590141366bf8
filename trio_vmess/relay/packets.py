"""Datagrams between two links, under one idle limit."""

from collections.abc import Sequence

import trio

from trio_vmess.contracts import PacketLink
from trio_vmess.core import Policy
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.relay.ending import Ending, Meter
from trio_vmess.relay.streams import DEADLINE_GRAIN


async def relay_packets(
    near: PacketLink,
    far: PacketLink,
    *,
    policy: Policy,
    meter: Meter,
    early: Sequence[bytes] = (),
) -> tuple[Ending, str]:
    """Carry datagrams between two links until one of them ends, or nothing has come for a while.

    Args:
        near: the client's side.
        far: the destination's side.
        policy: its `connection_idle` is the limit.
        meter: is kept up to date while the relay runs.
        early: what the client's side has given already.

    Returns:
        As `relay_streams`. Both links are still to be closed.

    Raises:
        trio.Cancelled: from outside.
    """
    relay = _Relay(near, far, policy, meter)
    return await relay.run(early)


class _Relay:
    def __init__(self, near: PacketLink, far: PacketLink, policy: Policy, meter: Meter) -> None:
        self._near = near
        self._far = far
        self._limit = policy.connection_idle
        self._meter = meter
        self._scope: trio.CancelScope
        self._next_move = 0.0
        self._ending: Ending | None = None
        self._fault = ""

    async def run(self, early: Sequence[bytes]) -> tuple[Ending, str]:
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            self._touch()
            nursery.start_soon(self._uplink, early)
            await self._carry(self._far, self._near, (), uplink=False)
        return self._ending or Ending.IDLE, self._fault

    async def _uplink(self, early: Sequence[bytes]) -> None:
        await self._carry(self._near, self._far, early, uplink=True)

    async def _carry(
        self, source: PacketLink, sink: PacketLink, datagrams: Sequence[bytes], *, uplink: bool
    ) -> None:
        """Run one direction to its end, which is the end of both."""
        meter, at_sink = self._meter, False
        try:
            while datagrams or (datagrams := await source.receive()):
                size = sum(map(len, datagrams))
                if uplink:
                    meter.uplink += size
                else:
                    meter.downlink += size
                self._touch()
                at_sink = True
                meter.dropped += await sink.send(datagrams)
                at_sink = False
                datagrams = ()
        except RemoteProtocolError as exc:
            self._end(Ending.CLIENT_PROTOCOL if uplink else Ending.REMOTE_PROTOCOL, str(exc))
        except trio.BrokenResourceError:
            self._end(Ending.CLIENT_RESET if uplink != at_sink else Ending.REMOTE_RESET)
        else:
            self._end(Ending.FINISHED)

    def _touch(self) -> None:
        now = trio.current_time()
        if now >= self._next_move:
            self._next_move = now + DEADLINE_GRAIN
            self._scope.deadline = now + self._limit + DEADLINE_GRAIN

    def _end(self, ending: Ending, fault: str = "") -> None:
        if self._ending is None:
            self._ending, self._fault = ending, fault
        self._scope.cancel()
