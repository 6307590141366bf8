"""The client's end of a carrier: what we open."""

import logging
from collections.abc import Iterable
from typing import Final

import attrs

from trio_vmess.contracts import Transport
from trio_vmess.core import Destination
from trio_vmess.core.mux import (
    STREAM_FRAME_SIZE,
    XUDP_PACKET_SIZE,
    XUDP_SESSION,
    MuxClient,
)
from trio_vmess.outbound.mux.datagrams import XudpSocket
from trio_vmess.outbound.mux.stream import NOT_OPEN, OpeningStream
from trio_vmess.transport.mux import MuxCarrier, MuxStream

log: Final = logging.getLogger("trio_vmess.outbound.mux")

OPENED_COUNT_MAX: Final = 128
"""Sub-connections that a carrier opens in its life, as with V2Ray and Xray."""

IDLE_LIMIT: Final = 16.0
"""Seconds without a sub-connection after which a carrier ends.

Source:
    v2ray-core, common/mux/client.go.
"""


@attrs.frozen
class _Log:
    """The lines of a carrier: a `CarrierLog`."""

    tag: str
    carrier: str

    def stalled(self, session_id: int, unread_size: int) -> None:
        """See `CarrierLog.stalled`."""
        log.info(
            "mux.stalled tag=%s carrier=%s session=%d unread=%d",
            self.tag,
            self.carrier,
            session_id,
            unread_size,
        )

    def violation(self, reason: str) -> None:
        """See `CarrierLog.violation`."""
        log.info("mux.violation tag=%s carrier=%s reason=%r", self.tag, self.carrier, reason)


class ClientCarrier(MuxCarrier):
    """A connection to a server that carries many: an `OpeningOwner`.

    Args:
        transport: carries the frames; closed at the end.
        tag: of the outbound; may be empty.
        name: of the carrier in the log.
        concurrency: sub-connections that it carries at a time.
        is_xudp: it carries the datagrams of one association and nothing else.
        buffer: where everything that is received goes first; shared by all connections.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        tag: str,
        name: str,
        concurrency: int,
        buffer: memoryview,
        is_xudp: bool = False,
    ) -> None:
        self._client = MuxClient()
        super().__init__(
            transport,
            self._client,
            log=_Log(tag or "-", name),
            peer="server",
            buffer=buffer,
            idle_limit=IDLE_LIMIT,
            spares_lone=True,
        )
        self._concurrency = concurrency
        self._is_xudp = is_xudp
        self._opened_count_max = 1 if is_xudp else OPENED_COUNT_MAX
        self._opened_count = 0
        self._sockets: set[XudpSocket] = set()

    @property
    def can_open(self) -> bool:
        """Whether one more sub-connection may be put on it."""
        return (
            not self.is_broken
            and not self.is_held_up
            and self._opened_count < self._opened_count_max
            and self.use_count < self._concurrency
        )

    @property
    def use_count(self) -> int:
        """How many sub-connections there are, opened or not."""
        return self.stream_count + len(self._sockets)

    def add(self, destination: Destination) -> OpeningStream:
        """Return a sub-connection to a destination; the server hears of it with its first bytes."""
        self._opened_count += 1
        stream = OpeningStream(self, destination)
        self.add_stream(stream)
        return stream

    def open(self, stream: OpeningStream, data: memoryview) -> None:
        """See `OpeningOwner.open`."""
        first = bytes(data[:STREAM_FRAME_SIZE]) or None
        stream.session_id = self._client.open(stream.destination, data=first)
        self.enter(stream.session_id, stream)
        if first is not None and len(data) > len(first):
            self._client.send_data(stream.session_id, data[len(first) :])
        self.wake()

    def forget(self, stream: MuxStream) -> None:
        """See `StreamOwner.forget`."""
        super().forget(stream)
        self._retire_if_used_up()

    # Datagrams

    def add_socket(self, global_id: bytes) -> XudpSocket:
        """Return a session for datagrams; the server hears of it with the first one.

        Args:
            global_id: 8 bytes; see `XudpSocket`.
        """
        self._opened_count += 1
        socket = XudpSocket(self, global_id)
        self._sockets.add(socket)
        return socket

    def send_from(self, socket: XudpSocket, datagrams: Iterable[bytes], peer: Destination) -> int:
        """See `SocketOwner.send_from`."""
        datagrams = list(datagrams)
        if socket.number == NOT_OPEN and datagrams:
            first = datagrams.pop(0)
            if len(first) > XUDP_PACKET_SIZE:
                return 1 + self.send_from(socket, datagrams, peer)
            session_id = XUDP_SESSION if self._is_xudp else None
            # If the field were missing, servers would take the session for one to a single peer.
            socket.number = self._client.open(
                peer, session_id=session_id, data=first, global_id=socket.global_id
            )
            self.enter(socket.number, socket)
        return self.send_datagrams(socket, datagrams, peer) if datagrams else self._wake()

    def close_socket(self, socket: XudpSocket) -> None:
        """See `SocketOwner.close_socket`."""
        self.end_datagrams(socket)
        self._sockets.discard(socket)
        self._retire_if_used_up()

    def _wake(self) -> int:
        self.wake()
        return 0

    def _retire_if_used_up(self) -> None:
        if self._opened_count >= self._opened_count_max and not self.use_count:
            self.retire()
