"""A transport over any Trio stream: TLS, memory streams, or another library's."""

from typing import Final

import trio

from trio_vmess.core import Destination

CLOSE_LIMIT: Final = 5.0
"""Seconds for a stream's farewell: TLS wants to send one, to a peer that may not read any more."""


class StreamTransport:
    """Bytes over a Trio stream.

    Args:
        stream: belongs to the transport from now on. One that cannot half-close ends its sending
            direction only when it is closed.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    @property
    def local(self) -> Destination | None:
        """See `Transport.local`; a stream does not tell."""
        return None

    @property
    def remote(self) -> Destination | None:
        """See `Transport.remote`; a stream does not tell."""
        return None

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`."""
        data = await self._stream.receive_some(len(buffer))
        size = len(data)
        buffer[:size] = data
        return size

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `Transport.send_all`."""
        await self._stream.send_all(bytes(data))

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        """See `Transport.send_eof`."""
        if last:
            await self.send_all(last)
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            await self._stream.send_eof()

    async def aclose(self) -> None:
        """See `Transport.aclose`; a farewell that takes too long is left unsaid."""
        with trio.move_on_after(CLOSE_LIMIT):
            await self._stream.aclose()
