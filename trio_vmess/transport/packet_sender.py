"""Datagrams that wait to be sent by a link which many share."""

from collections import deque
from typing import Final, NoReturn

import trio

from trio_vmess.contracts import PacketLink

QUEUE_COUNT_MAX: Final = 256
"""Datagrams that wait; further ones are dropped."""

QUEUE_SIZE_MAX: Final = 1024 * 1024
"""Bytes of the datagrams that wait."""


class PacketSender:
    """Sends what is queued, in the task of `run`.

    Those who share a link must not send by it themselves: one that is cancelled while it does would
    leave a part of its datagrams behind, and break the connection of all others.

    Args:
        link: sends the datagrams.
    """

    def __init__(self, link: PacketLink) -> None:
        self._link = link
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._lot = trio.lowlevel.ParkingLot()

    def put(self, datagram: bytes) -> bool:
        """Queue a datagram; return False if it is dropped, because too many wait."""
        if len(self._waiting) >= QUEUE_COUNT_MAX or self._size >= QUEUE_SIZE_MAX:
            return False
        self._waiting.append(datagram)
        self._size += len(datagram)
        self._lot.unpark()
        return True

    async def run(self) -> NoReturn:
        """Send until cancelled.

        Raises:
            trio.BrokenResourceError: the link failed.
        """
        while True:
            if not self._waiting:
                await self._lot.park()
            waiting, self._waiting = self._waiting, deque()
            self._size = 0
            await self._link.send(waiting)
