"""The server's end of a carrier: what its client opens."""

import logging
from collections.abc import Callable
from typing import Final, Protocol

import attrs
import trio

from trio_vmess.contracts import SILENT_ANSWER, Dispatch, StreamSide, Transport
from trio_vmess.core import PACKETADDR_HOST, Flow, Network
from trio_vmess.core.mux import XUDP_SESSION, MuxServer, New
from trio_vmess.core.vmess import MUX_DESTINATION
from trio_vmess.inbound.mux.association import ClientAssociation
from trio_vmess.inbound.mux.datagrams import DatagramSession, PacketAddrDatagrams
from trio_vmess.inbound.mux.global_ids import GlobalIds
from trio_vmess.transport.mux import TURN_SIZE, MuxCarrier, MuxStream

log: Final = logging.getLogger("trio_vmess.inbound.mux")

SESSION_COUNT_MAX: Final = 1024
"""Sub-connections of a carrier that may be open or still ending."""

IDLE_LIMIT: Final = 60.0
"""Seconds without a sub-connection after which a carrier ends. Clients end theirs sooner."""


class Files(Protocol):
    """The files that sub-connections need: each one, for the socket of its outbound."""

    def take(self) -> bool:
        """Count one; return False, and count none, if there is no room for it."""
        ...

    def give_back(self) -> None:
        """Count one no longer."""
        ...


@attrs.frozen
class _Log:
    """The lines of a carrier: a `CarrierLog`."""

    source: str
    carrier: str

    def stalled(self, session_id: int, unread_size: int) -> None:
        """See `CarrierLog.stalled`."""
        log.info(
            "mux.stalled source=%s carrier=%s session=%d unread=%d",
            self.source,
            self.carrier,
            session_id,
            unread_size,
        )

    def violation(self, reason: str) -> None:
        """See `CarrierLog.violation`."""
        log.info("mux.violation source=%s carrier=%s reason=%r", self.source, self.carrier, reason)


class Carrier:
    """A connection of a client that carries many.

    Args:
        transport: carries the frames; closed at the end.
        flow: of whom the sub-connections are; each gets a destination of its own.
        dispatch: gets the sub-connections.
        global_ids: associations that outlive their carrier.
        may_open: returns whether the client may still open sub-connections.
        files: what cannot have one is refused.
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
        files: Files,
        buffer: memoryview,
    ) -> None:
        self._flow = flow
        self._dispatch = dispatch
        self._global_ids = global_ids
        self._may_open = may_open
        self._files = files
        self._mux = MuxServer(session_count_max=SESSION_COUNT_MAX)
        self._carrier = MuxCarrier(
            transport,
            self._mux,
            log=_Log(flow.source or "-", flow.carrier),
            peer="client",
            buffer=buffer,
            idle_limit=IDLE_LIMIT,
            accept=self._open,
        )
        self._nursery: trio.Nursery

    async def run(self) -> str:
        """Carry until the connection ends, close it, and wait until the sub-connections have ended.

        Returns:
            Why it ended.
        """
        async with trio.open_nursery() as self._nursery:
            return await self._carrier.run()

    def _open(self, frame: New) -> None:
        carrier, destination = self._carrier, frame.destination
        if (
            destination.host == MUX_DESTINATION.host
            or carrier.stream_count >= SESSION_COUNT_MAX
            or not self._may_open()
        ):
            self._mux.end(frame.session_id, is_error=True)
        elif destination.network is not Network.TCP:
            self._open_datagrams(frame)
        elif not self._files.take():
            self._mux.end(frame.session_id, is_error=True)
        else:
            stream = MuxStream(carrier, frame.session_id)
            carrier.add_stream(stream)
            carrier.enter(frame.session_id, stream)
            carrier.deliver(stream, frame.data)
            flow = attrs.evolve(self._flow, destination=destination)
            side = StreamSide(transport=stream, turn_size=TURN_SIZE)
            self._nursery.start_soon(self._run_stream, flow, side, name="mux stream")

    async def _run_stream(self, flow: Flow, side: StreamSide) -> None:
        try:
            await self._dispatch.stream(flow, side, SILENT_ANSWER)
        finally:
            self._files.give_back()

    def _open_datagrams(self, frame: New) -> None:
        user, global_id = self._flow.user, frame.global_id
        has_addresses = frame.destination.host == PACKETADDR_HOST
        association = self._global_ids.find(user, global_id) if global_id else None
        if association is None:
            if not self._files.take():
                self._mux.end(frame.session_id, is_error=True)
                return
            is_full_cone = frame.is_extended or frame.session_id == XUDP_SESSION or has_addresses
            association = ClientAssociation(self._dispatch, self._flow, is_full_cone=is_full_cone)
            if global_id:
                self._global_ids.add(user, global_id, association)
            self._nursery.start_soon(
                self._run_association, association, global_id, name="mux association"
            )
        is_kept = bool(global_id) and self._global_ids.keeps(user, global_id, association)
        kind = PacketAddrDatagrams if has_addresses else DatagramSession
        session = kind(self._carrier, association, frame, is_kept=is_kept)
        self._carrier.enter(frame.session_id, session)
        association.attach(session)
        if frame.data is not None:
            session.take(frame.data, None)

    async def _run_association(self, association: ClientAssociation, global_id: bytes) -> None:
        """Run an association until it has ended, and forget its global id; empty for none."""
        try:
            await association.run()
        finally:
            self._global_ids.remove(self._flow.user, global_id, association)
            self._files.give_back()
