"""A transport with bytes put back in front of it, for code that has to look ahead."""

from trio_vmess.contracts import Transport
from trio_vmess.core import Destination


class PrefixedTransport:
    """Another transport, with bytes put back in front of it: a `Transport`.

    Args:
        transport: owned by this one from now on.
        prefix: the bytes that were read from it before.
    """

    __slots__ = ("_prefix", "_transport")

    def __init__(self, transport: Transport, prefix: bytes) -> None:
        self._transport = transport
        self._prefix = prefix

    @property
    def local(self) -> Destination | None:
        """See `Transport.local`."""
        return self._transport.local

    @property
    def remote(self) -> Destination | None:
        """See `Transport.remote`."""
        return self._transport.remote

    @property
    def is_reset(self) -> bool:
        """See `Transport.is_reset`."""
        return self._transport.is_reset

    def limit_receive_buffer(self, size: int | None, /) -> None:
        """See `Transport.limit_receive_buffer`."""
        self._transport.limit_receive_buffer(size)

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`; returns the prefix first, without waiting."""
        if not self._prefix:
            return await self._transport.receive_into(buffer)
        size = min(len(self._prefix), len(buffer))
        buffer[:size] = self._prefix[:size]
        self._prefix = self._prefix[size:]
        return size

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `Transport.send_all`."""
        await self._transport.send_all(data)

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        """See `Transport.send_eof`."""
        await self._transport.send_eof(last)

    async def abort(self) -> None:
        """See `Transport.abort`."""
        await self._transport.abort()

    async def aclose(self) -> None:
        """See `Transport.aclose`; the rest of the prefix is dropped."""
        self._prefix = b""
        await self._transport.aclose()
