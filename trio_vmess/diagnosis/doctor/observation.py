"""Watches the layers of a connection: when each was ready, what came, and how it ended."""

import enum
import ssl
from collections.abc import Callable
from typing import Final

import attrs
import trio

from trio_vmess.contracts import Connect, Transport
from trio_vmess.core import Destination, Host
from trio_vmess.errors import DialError, DialFailure, RemoteProtocolError
from trio_vmess.node import OutboundLayer
from trio_vmess.transport import TransportLayer

HEAD_SIZE: Final = 8192
"""Bytes that are kept of what comes first."""


class End(enum.Enum):
    """How a peer has ended a connection."""

    CLOSED = "closed"
    RESET = "reset"


class Tap(TransportLayer):
    """Another transport, of which is noted what comes and goes: a `Transport`.

    Args:
        transport: owned by this one from now on.
        clock: returns UTC seconds.

    Attributes:
        head: the first bytes that came.
        head_at: the UTC second when they came; None if nothing has.
        sent_at: when something was sent last, on Trio's clock; None if nothing was.
        end: how the peer has ended the connection; None if it has not.
        ended_at: when that was, on Trio's clock.
        fault: why nothing more came, as the layer says; empty unless it has failed.
    """

    def __init__(self, transport: Transport, clock: Callable[[], int]) -> None:
        super().__init__(transport)
        self._clock = clock
        self.head = bytearray()
        self.head_at: int | None = None
        self.sent_at: float | None = None
        self.end: End | None = None
        self.ended_at = 0.0
        self.fault = ""

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`."""
        try:
            size = await super().receive_into(buffer)
        except trio.BrokenResourceError as exc:
            self.fault = str(exc)
            self._note_end(End.RESET)
            raise
        except RemoteProtocolError as exc:
            self.fault = str(exc)
            raise
        if not size:
            self._note_end(End.CLOSED)
        elif len(self.head) < HEAD_SIZE:
            self.head_at = self.head_at or self._clock()
            self.head += buffer[: min(size, HEAD_SIZE - len(self.head))]
        return size

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `Transport.send_all`."""
        self.sent_at = trio.current_time()
        await super().send_all(data)

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        """See `Transport.send_eof`."""
        self.sent_at = trio.current_time()
        await super().send_eof(last)

    @property
    def silence(self) -> float | None:
        """Seconds from the last bytes that were sent to the peer's end; None if it has not."""
        if self.end is None or self.sent_at is None:
            return None
        return max(0.0, self.ended_at - self.sent_at)

    def _note_end(self, end: End) -> None:
        if self.end is None:
            self.end, self.ended_at = end, trio.current_time()


@attrs.define(eq=False)
class LayerRecord:
    """What was seen of one layer.

    Attributes:
        ready_at: when it was ready, on Trio's clock; None if it never was.
        fault: why it failed; empty if it has not.
        reason: the kind of the failure.
        tap: what has come through it; None unless it was ready.
        remote: the address that was reached; None where there is none.
        tls: the parameters of TLS, for the layer that has any.
    """

    ready_at: float | None = None
    fault: str = ""
    reason: DialFailure | None = None
    tap: Tap | None = None
    remote: Destination | None = None
    tls: ssl.SSLObject | None = None


class Observation:
    """What was seen of the connection that an outbound has dialled last.

    Args:
        clock: returns UTC seconds.

    Attributes:
        on_progress: called when a layer is ready.
        began_at: when the socket was dialled, on Trio's clock.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._records: dict[OutboundLayer, LayerRecord] = {}
        self.on_progress: Callable[[], None] = lambda: None
        self.began_at = 0.0

    def observe(self, layer: OutboundLayer, connect: Connect) -> Connect:
        """See `node.Observe`."""
        self._records[layer] = LayerRecord()

        async def observed(host: Host, port: int) -> Transport:
            record = self._records[layer] = LayerRecord()
            if layer is OutboundLayer.SOCKET:
                self.began_at = trio.current_time()
            try:
                transport = await connect(host, port)
            except DialError as exc:
                record.fault, record.reason = str(exc), exc.reason
                raise
            record.ready_at = trio.current_time()
            if layer is OutboundLayer.TLS:
                record.tls = _tls_of(transport)
            # Nobody can tell when the connection is closed.
            record.remote = transport.remote
            record.tap = Tap(transport, self._clock)
            self.on_progress()
            return record.tap

        return observed

    @property
    def failed_layer(self) -> OutboundLayer | None:
        """The first layer from below that was never ready; None if all were."""
        for layer in OutboundLayer:
            record = self._records.get(layer)
            if record is not None and record.ready_at is None:
                return layer
        return None

    def record(self, layer: OutboundLayer) -> LayerRecord | None:
        """Return what was seen of a layer; None where the connection has no such layer."""
        return self._records.get(layer)

    @property
    def taps(self) -> list[Tap]:
        """Those of the layers that were ready, from below."""
        records = [self._records[each] for each in OutboundLayer if each in self._records]
        return [each.tap for each in records if each.tap is not None]

    def seconds_of(self, layer: OutboundLayer) -> float | None:
        """Return for how long a layer took to be ready, without those below it."""
        before = self.began_at
        for each in OutboundLayer:
            record = self._records.get(each)
            if record is None:
                continue
            if record.ready_at is None:
                return None
            if each is layer:
                return record.ready_at - before
            before = record.ready_at
        return None


def _tls_of(transport: Transport) -> ssl.SSLObject | None:
    from trio_vmess.transport.tls import TlsTransport

    return transport.tls if isinstance(transport, TlsTransport) else None
