"""The client's end of a carrier: what we open."""

import logging
from typing import Final

from trio_vmess.contracts import Transport
from trio_vmess.core import Destination
from trio_vmess.core.mux import STREAM_FRAME_SIZE, MuxClient
from trio_vmess.outbound.mux.stream import OpeningStream
from trio_vmess.transport.mux import MuxCarrier

log: Final = logging.getLogger("trio_vmess.outbound.mux")

OPENED_COUNT_MAX: Final = 128
"""Sub-connections that a carrier opens in its life, as with V2Ray and Xray."""

IDLE_LIMIT: Final = 16.0
"""Seconds without a sub-connection after which a carrier ends.

Source:
    v2ray-core, common/mux/client.go.
"""


class ClientCarrier(MuxCarrier):
    """A connection to a server that carries many: an `OpeningOwner`.

    Args:
        transport: carries the frames; closed at the end.
        name: of the carrier in the log.
        concurrency: sub-connections that it carries at a time.
        buffer: where everything that is received goes first; shared by all connections.
    """

    def __init__(
        self, transport: Transport, *, name: str, concurrency: int, buffer: memoryview
    ) -> None:
        self._client = MuxClient()
        super().__init__(
            transport,
            self._client,
            log=log,
            name=name,
            peer="server",
            buffer=buffer,
            idle_limit=IDLE_LIMIT,
            spares_lone=True,
        )
        self._concurrency = concurrency
        self._opened_count = 0

    @property
    def can_open(self) -> bool:
        """Whether one more sub-connection may be put on it."""
        return (
            not self.is_broken
            and not self.is_held_up
            and self._opened_count < OPENED_COUNT_MAX
            and self.use_count < self._concurrency
        )

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
