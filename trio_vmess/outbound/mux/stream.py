"""A TCP sub-connection that we open: its first bytes ride in the frame that opens it."""

from typing import Final, Protocol

import trio

from trio_vmess.core import Destination
from trio_vmess.transport.mux import MuxStream, StreamOwner

FIRST_PAYLOAD_WAIT: Final = 0.1
"""Seconds that the opening frame waits for payload, as VMess headers do."""

NOT_OPEN: Final = -1
"""In place of a session id: ids are given in the order in which sessions are opened."""


class OpeningOwner(StreamOwner, Protocol):
    """What an opening stream needs of its carrier."""

    def open(self, stream: "OpeningStream", data: memoryview) -> None:
        """Queue the frame that opens the session, and the rest of the first bytes."""
        ...


class OpeningStream(MuxStream):
    """A sub-connection of a client: a `Transport`.

    Its session is opened by the first bytes that are sent, or without any when somebody has waited
    for the answer for `FIRST_PAYLOAD_WAIT`.

    `send_eof` does not end the session: that would cut off the answer, since frames know no
    half-close. The server hears of the end when the stream is closed.

    Args:
        owner: the carrier.
        destination: where it goes.
    """

    __slots__ = ("_has_sent_all", "_opened", "_opening_owner", "destination")

    def __init__(self, owner: OpeningOwner, destination: Destination) -> None:
        super().__init__(owner, NOT_OPEN)
        self.destination = destination
        self._opening_owner = owner
        self._opened = trio.Event()
        self._has_sent_all = False

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`."""
        if not self._opened.is_set():
            with trio.move_on_after(FIRST_PAYLOAD_WAIT):
                await self._opened.wait()
            self._open_without_payload()
        return await super().receive_into(buffer)

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `Transport.send_all`."""
        if self._has_sent_all:
            raise trio.ClosedResourceError("the end was sent before")
        await super().send_all(data)

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        """See `Transport.send_eof`; the other direction goes on."""
        await self.send_all(last)
        self._open_without_payload()
        self._has_sent_all = True

    async def aclose(self) -> None:
        """See `Transport.aclose`: no failure to the server if all was sent. It never waits."""
        if self._has_sent_all and not self.is_ended:
            self._opening_owner.end(self, is_error=False)
            self.receive_end()
        await self.abort()

    def queue(self, data: memoryview) -> None:
        """Queue a turn of what is sent; the first one opens the session."""
        if self._opened.is_set():
            super().queue(data)
        else:
            self._opening_owner.open(self, data)
            self._opened.set()

    def fail(self, why: str) -> None:
        """See `MuxStream.fail`: nobody need wait for payload any more."""
        super().fail(why)
        self._opened.set()

    def _open_without_payload(self) -> None:
        if not self._opened.is_set() and self.wants_output():
            self.queue(memoryview(b""))
