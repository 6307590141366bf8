"""Two senders on one transport: a layer, and whoever uses the layer.

TLS answers some records by itself, and WebSocket answers pings, while a task of the user may be in
the middle of sending. Bytes of one must not get between those of the other, and leave in the order
in which they were made.
"""

from typing import Protocol

import trio

from trio_vmess.contracts import Transport


class Queue(Protocol):
    """What a layer wants to send; `ssl.MemoryBIO` is one."""

    @property
    def pending(self) -> int:
        """How many bytes there are."""
        ...

    def read(self) -> bytes:
        """Take all of them."""
        ...


class Outbox:
    """Sends the bytes of a layer and of its user in turn.

    Args:
        transport: that of the layer.
        queue: what the layer has to say by itself.
    """

    __slots__ = ("_flushed", "_is_sending", "_queue", "_transport")

    def __init__(self, transport: Transport, queue: Queue) -> None:
        self._transport = transport
        self._queue = queue
        self._is_sending = False
        self._flushed: trio.Event | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a task is sending: anything sent now would land in the middle of its bytes."""
        return self._is_sending or self._flushed is not None

    async def send(self, data: bytes | memoryview) -> None:
        """Send bytes of the user, and then what the layer has left to us meanwhile.

        Args:
            data: not read any more after the first checkpoint.

        Raises:
            trio.BrokenResourceError: the connection was reset.
        """
        if self._flushed is not None:
            data = bytes(data)
            await self._flushed.wait()
        self._is_sending = True
        try:
            await self._transport.send_all(data)
            while self._queue.pending:
                await self._transport.send_all(self._queue.read())
        finally:
            self._is_sending = False

    async def flush(self) -> None:
        """Send what the layer has to say, unless another task is sending: that one does it then.

        Raises:
            trio.BrokenResourceError: the connection was reset.
        """
        if not self._queue.pending or self.is_busy:
            return
        self._flushed = trio.Event()
        try:
            await self._transport.send_all(self._queue.read())
        finally:
            self._flushed.set()
            self._flushed = None
