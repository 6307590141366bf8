"""What many sub-connections send, through one connection, in fair turns."""

from typing import Final, Protocol

import trio

from trio_vmess.contracts import Transport

TURN_SIZE: Final = 64 * 1024
"""Bytes that one sub-connection queues at a time while the carrier takes them at once."""

BUSY_TURN_SIZE: Final = 16 * 1024
"""The same while the carrier is the bottleneck: what is queued delays all others."""


class Outgoing(Protocol):
    """Where frames are queued."""

    @property
    def queued_size(self) -> int:
        """Bytes that are queued."""
        ...

    def data_to_send(self) -> bytearray:
        """Return what is queued, and forget it."""
        ...


class Turn(Protocol):
    """Queues what one sub-connection sends."""

    def __call__(self, data: memoryview, /) -> bool:
        """Queue a turn's bytes; return False if nothing is to be sent any more."""
        ...


class FairSender:
    """Sends what is queued, in the task of `run`; lets senders queue in turns.

    A sub-connection that is cancelled while it waits leaves no half frame behind, and what many of
    them queue leaves in one write.

    Args:
        transport: the carrier.
        outgoing: its queue.
    """

    def __init__(self, transport: Transport, outgoing: Outgoing) -> None:
        self._transport = transport
        self._outgoing = outgoing
        self._is_sending = False
        self._is_broken = False
        self._work = trio.lowlevel.ParkingLot()
        self._turn = trio.Lock()
        self._room = trio.lowlevel.ParkingLot()

    def wake(self) -> None:
        """Have what is queued sent."""
        if self._outgoing.queued_size:
            self._work.unpark()

    async def send(self, data: memoryview, queue: Turn) -> None:
        """Queue bytes, a turn at a time.

        Args:
            data: not looked at any more after the first checkpoint.
            queue: queues each turn; it may raise.
        """
        if not self._turn.locked() and self._has_room():
            data = self._queue(data, queue)
            if not len(data):
                return
        data = memoryview(bytes(data))
        while len(data):
            async with self._turn:
                # Whoever waits here holds up nobody: all others need the same room.
                while not self._has_room():
                    await self._room.park()
                data = self._queue(data, queue)

    async def wait_until_below(self, size: int) -> None:
        """Wait until fewer than `size` bytes are queued, or nothing will be sent any more."""
        while self._outgoing.queued_size >= size and not self._is_broken:
            await self._room.park()

    async def run(self) -> str:
        """Send until that fails; return why."""
        outgoing = self._outgoing
        while True:
            if not outgoing.queued_size:
                self._is_sending = False
                await self._work.park()
            data = outgoing.data_to_send()
            self._is_sending = True
            self._room.unpark_all()
            try:
                await self._transport.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                return str(exc)

    async def send_rest(self) -> None:
        """Send what is still queued, unless a write was broken off.

        Raises:
            trio.BrokenResourceError: the carrier was reset.
        """
        if self._outgoing.queued_size and not self._is_sending:
            await self._transport.send_all(self._outgoing.data_to_send())

    def break_off(self) -> None:
        """Let all who wait go on: nothing will be sent any more."""
        self._is_broken = True
        self._room.unpark_all()

    def _has_room(self) -> bool:
        return self._is_broken or self._outgoing.queued_size < BUSY_TURN_SIZE

    def _queue(self, data: memoryview, queue: Turn) -> memoryview:
        size = BUSY_TURN_SIZE if self._is_sending else TURN_SIZE
        if not queue(data[:size]):
            return data[:0]
        self.wake()
        return data[size:]
