"""The datagrams of one socket of a client's program, sorted into flows by their destinations.

Each destination has a flow of its own, as with SOCKS. What the flows have in common is this
association: an outbound that sends from sockets of its own uses the same one for all of them, so
that every peer sees the same address, and peers that were never written to can answer (full cone).
Such an answer opens a flow, too.
"""

import functools
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

import attrs
import trio

from trio_vmess.contracts import Dispatch
from trio_vmess.core import Destination, Flow
from trio_vmess.inbound.flow_table import (
    INVITED_COUNT_MAX,
    QUEUE_COUNT_MAX,
    QUEUE_SIZE_MAX,
    FlowTable,
    Opening,
)

FLOW_COUNT_MAX: Final = 256
"""Destinations of one association; a further one evicts the one not written to for longest."""

IDLE_LIMIT: Final = 60.0
"""Seconds without a flow after which an association ends."""

KEEP_TIME: Final = 60.0
"""Seconds for which an association with a global id outlives its session, as in Xray."""


class DatagramSink(Protocol):
    """Where an association's answers go: a session of a carrier."""

    def send(self, datagrams: Sequence[bytes], peer: Destination) -> int:
        """Send datagrams that came from a peer, without waiting; return how many were dropped."""
        ...

    def end(self) -> None:
        """Tell the client that its session has ended."""
        ...


class ClientAssociation:
    """An association of a client behind a carrier: an `Association`.

    Args:
        dispatch: gets its flows.
        flow: of whom they are; each gets a destination of its own.
        is_full_cone: the client is told where each answer comes from.
    """

    def __init__(self, dispatch: Dispatch, flow: Flow, *, is_full_cone: bool) -> None:
        self.is_full_cone = is_full_cone
        self._dispatch = dispatch
        self._flow = flow
        self._sink: DatagramSink | None = None
        self._scope = trio.CancelScope()
        self._waiting: deque[tuple[Destination, bytes | None]] = deque()
        self._waiting_size = 0
        self._lot = trio.lowlevel.ParkingLot()
        self._invited: set[Destination] = set()
        self._is_closed = False

    @property
    def is_attached(self) -> bool:
        """Whether its answers go anywhere."""
        return self._sink is not None

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        return self._is_closed

    def attach(self, sink: DatagramSink) -> None:
        """Have answers go to this session from now on; the one before is ended."""
        before, self._sink = self._sink, sink
        self._scope.deadline = float("inf")
        if before is not None:
            before.end()

    def detach(self, sink: DatagramSink, *, keep: bool) -> None:
        """Note that a session has ended; nothing if another one has taken over.

        Args:
            sink: the session.
            keep: whether the association goes on for `KEEP_TIME`.
        """
        if self._sink is sink:
            self._sink = None
            if keep:
                self._scope.deadline = trio.current_time() + KEEP_TIME
            else:
                self.close()

    def close(self) -> None:
        """End it with all of its flows."""
        self._is_closed = True
        self._scope.cancel()

    def put(self, destination: Destination, datagram: bytes) -> bool:
        """Queue a datagram from the client; return False if it is dropped."""
        if (
            self._is_closed
            or len(self._waiting) >= QUEUE_COUNT_MAX
            or self._waiting_size + len(datagram) > QUEUE_SIZE_MAX
        ):
            return False
        self._waiting_size += len(datagram)
        self._enqueue(destination, datagram)
        return True

    def invite(self, peer: Destination, /) -> bool:
        """See `Association.invite`."""
        if peer in self._invited:
            return True
        if self._is_closed or len(self._invited) >= INVITED_COUNT_MAX:
            return False
        self._invited.add(peer)
        self._enqueue(peer, None)
        return True

    async def run(self) -> None:
        """Open flows and feed them until closed, or until there was none for `IDLE_LIMIT`."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    flows = FlowTable(
                        self._dispatch, open_flow=self._describe, limit=FLOW_COUNT_MAX
                    )
                    while await self._feed(flows, nursery):
                        self._invited = {peer for peer in self._invited if peer in flows}
                    nursery.cancel_scope.cancel()
        finally:
            self._is_closed = True
            sink, self._sink = self._sink, None
            if sink is not None:
                sink.end()

    def _enqueue(self, destination: Destination, datagram: bytes | None) -> None:
        self._waiting.append((destination, datagram))
        self._lot.unpark_all()

    async def _feed(self, flows: FlowTable[Destination], nursery: trio.Nursery) -> bool:
        """Wait for datagrams and pass them to their flows; return False if the time is up."""
        if not self._waiting:
            with trio.move_on_after(IDLE_LIMIT):
                await self._lot.park()
            if not self._waiting:
                return bool(len(flows))
        waiting, self._waiting = self._waiting, deque()
        self._waiting_size = 0
        for destination, datagram in waiting:
            if datagram is not None:
                flows.deliver(destination, datagram, nursery)
            elif destination not in flows and len(flows) < FLOW_COUNT_MAX:
                flows.open(destination, nursery)
        return True

    def _describe(self, destination: Destination) -> Opening:
        flow = attrs.evolve(
            self._flow,
            destination=destination,
            association=self if self.is_full_cone else None,
        )
        return Opening(flow=flow, reply=functools.partial(self._reply, destination))

    def _reply(self, peer: Destination, datagrams: Sequence[bytes]) -> int:
        return len(datagrams) if self._sink is None else self._sink.send(datagrams, peer)
