"""What has come through a server for an association, until one of its flows reads it."""

from collections import deque
from collections.abc import Sequence
from typing import Final

import trio

QUEUE_COUNT_MAX: Final = 256
"""Datagrams that wait to be read; further ones are dropped."""

_Address = tuple[str, int]


class ReceivedDatagrams:
    """A queue of datagrams with their senders: the receiving half of a `SharedSource`."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[bytes, _Address]] = deque()
        self._lot = trio.lowlevel.ParkingLot()
        self._has_failed = False

    def put(self, datagram: bytes, address: _Address) -> None:
        """Queue a datagram; drop it if too many wait, or nobody will read it."""
        if not self._has_failed and len(self._waiting) < QUEUE_COUNT_MAX:
            self._waiting.append((datagram, address))
            self._lot.unpark_all()

    def fail(self) -> None:
        """Note that no more will come; what waits can still be read."""
        self._has_failed = True
        self._lot.unpark_all()

    def check(self) -> None:
        """Raise `trio.BrokenResourceError` if no more will come."""
        if self._has_failed:
            raise trio.BrokenResourceError("the session has ended")

    async def receive(self) -> Sequence[tuple[bytes, _Address]]:
        """See `SharedSource.receive`."""
        while not self._waiting:
            self.check()
            await self._lot.park()
        received = list(self._waiting)
        self._waiting.clear()
        return received
