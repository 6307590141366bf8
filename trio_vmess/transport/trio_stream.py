"""A transport over any Trio stream: TLS, memory streams, or a stream of another library."""

from typing import Final

import trio

from trio_vmess.core import Destination

CLOSE_LIMIT: Final = 5.0
"""Seconds for an orderly close: TLS sends close_notify, and the peer may have stopped reading."""


class StreamTransport:
    """Bytes over a Trio stream.

    Args:
        stream: owned by the transport from now on. If it cannot half-close, its sending direction
            ends only when it is closed.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    @property
    def local(self) -> Destination | None:
        """See `Transport.local`; always None, since Trio streams have no addresses."""
        return None

    @property
    def remote(self) -> Destination | None:
        """See `Transport.remote`; always None, since Trio streams have no addresses."""
        return None

    @property
    def is_reset(self) -> bool:
        """See `Transport.is_reset`; always False, since Trio streams do not tell."""
        return False

    def limit_receive_buffer(self, size: int | None, /) -> None:
        """See `Transport.limit_receive_buffer`; a stream has no such setting."""

    def limit_unsent(self, size: int, /) -> None:
        """See `Transport.limit_unsent`; a stream has no such setting."""

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

    async def abort(self) -> None:
        """See `Transport.abort`; without the end that TLS would announce."""
        await trio.aclose_forcefully(self._stream)

    async def aclose(self) -> None:
        """See `Transport.aclose`; an orderly close that takes too long is cut short."""
        with trio.move_on_after(CLOSE_LIMIT):
            await self._stream.aclose()
