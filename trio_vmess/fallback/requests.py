"""The requests of one client over HTTP/1.1, with nginx's limits."""

from collections.abc import Callable
from typing import Final

import trio

from trio_vmess.contracts import Transport
from trio_vmess.core import NEED_DATA
from trio_vmess.core.carriage import nginx_answer
from trio_vmess.core.carriage.site import Answer
from trio_vmess.core.carriage.upgrade import MalformedError, RequestHead, RequestReader
from trio_vmess.transport import close_lingering

HEAD_TIMEOUT: Final = 60.0
"""Seconds for the first request: nginx's `client_header_timeout`."""

KEEP_ALIVE_TIMEOUT: Final = 75.0
"""Seconds for each further request, with the rest of the last one: `keepalive_timeout`."""

SEND_TIMEOUT: Final = 60.0
"""Seconds in which a client has to take one piece of an answer: `send_timeout`."""

REQUESTS_MAX: Final = 1000
"""Requests on one connection: `keepalive_requests`."""

LINE_SIZE_MAX: Final = 8 * 1024
"""Bytes of a request's first line: one of nginx's `large_client_header_buffers`."""

READ_SIZE: Final = 16 * 1024
"""Bytes that one read of a request takes at most."""


class Requests:
    """What one client asks for, one after the other.

    Args:
        transport: the client's connection; is not closed.
        received: what has been read from it already.
        clock: returns UTC seconds.
        buffer: where reads go to; may be shared by everything in a Trio run.

    Attributes:
        count: how many requests were waited for.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        received: bytes,
        clock: Callable[[], int],
        buffer: memoryview,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._buffer = buffer[:READ_SIZE]
        self._reader = RequestReader(line_size_max=LINE_SIZE_MAX)
        self._reader.receive_data(received)
        self.count = 0

    @property
    def received(self) -> bytes:
        """All that has come from the beginning of the last request on."""
        return self._reader.received

    async def next_head(self) -> RequestHead | None:
        """Wait for a request; what is none is answered here.

        Returns:
            None when there will be no further one.

        Raises:
            trio.BrokenResourceError: the connection was reset.
            RemoteProtocolError: TLS below was damaged.
        """
        self.count += 1
        with trio.move_on_after(HEAD_TIMEOUT if self.count == 1 else KEEP_ALIVE_TIMEOUT):
            try:
                while (head := self._reader.next_request()) is NEED_DATA:
                    size = await self._transport.receive_into(self._buffer)
                    if not size:
                        return None
                    self._reader.receive_data(self._buffer[:size])
            except MalformedError as exc:
                answer = nginx_answer(exc.page, now=self._clock(), keep_alive=False)
                await close_lingering(self._transport, answer)
                return None
            return head
        return None

    async def send(self, head: RequestHead, answer: Answer, more: bytes = b"") -> bool:
        """Answer a request, or begin to: with the first bytes of a file.

        Args:
            head: the request.
            answer: to it.
            more: the beginning of the file.

        Returns:
            Whether another request may follow.

        Raises:
            trio.BrokenResourceError: the connection was reset, or the client takes nothing.
        """
        keep_alive = head.is_persistent and self.count < REQUESTS_MAX
        await self.send_piece(answer.encode(now=self._clock(), keep_alive=keep_alive) + more)
        return keep_alive and not answer.is_last

    async def send_piece(self, data: bytes) -> None:
        """Send a piece of an answer.

        Raises:
            trio.BrokenResourceError: the connection was reset, or the client takes nothing.
        """
        with trio.move_on_after(SEND_TIMEOUT):
            await self._transport.send_all(data)
            return
        raise trio.BrokenResourceError(f"nothing was taken within {SEND_TIMEOUT:.0f} s")

    async def finish(self) -> None:
        """End the connection so that the client gets the last answer whole."""
        await close_lingering(self._transport, b"")
