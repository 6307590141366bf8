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
    ending: Ending | None = None
    fault = ""
    next_move = 0.0
    async with trio.open_nursery() as nursery:
        scope = nursery.cancel_scope

        def touch() -> None:
            nonlocal next_move
            now = trio.current_time()
            if now >= next_move:
                next_move = now + DEADLINE_GRAIN
                scope.deadline = now + policy.connection_idle + DEADLINE_GRAIN

        def end(why: Ending, what: str = "") -> None:
            nonlocal ending, fault
            if ending is None:
                ending, fault = why, what
            scope.cancel()

        async def carry(
            source: PacketLink, sink: PacketLink, datagrams: Sequence[bytes], *, uplink: bool
        ) -> None:
            at_sink = False
            try:
                while datagrams or (datagrams := await source.receive()):
                    size = sum(map(len, datagrams))
                    if uplink:
                        meter.uplink += size
                    else:
                        meter.downlink += size
                    touch()
                    at_sink = True
                    meter.dropped += await sink.send(datagrams)
                    at_sink = False
                    datagrams = ()
            except RemoteProtocolError as exc:
                end(Ending.CLIENT_PROTOCOL if uplink else Ending.REMOTE_PROTOCOL, str(exc))
            except trio.BrokenResourceError:
                end(Ending.CLIENT_RESET if uplink != at_sink else Ending.REMOTE_RESET)
            else:
                end(Ending.FINISHED)

        async def uplink() -> None:
            await carry(near, far, early, uplink=True)

        touch()
        nursery.start_soon(uplink)
        await carry(far, near, (), uplink=False)
    return ending or Ending.IDLE, fault
