"""A transport over another one, as the base of layers."""

from trio_vmess.contracts import Transport
from trio_vmess.core import Destination


class TransportLayer:
    """Another transport, unchanged: a `Transport`. Layers override what they change.

    Args:
        transport: owned by this one from now on.
    """

    __slots__ = ("_transport",)

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

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

    def limit_unsent(self, size: int, /) -> None:
        """See `Transport.limit_unsent`."""
        self._transport.limit_unsent(size)

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`."""
        return await self._transport.receive_into(buffer)

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
        """See `Transport.aclose`."""
        await self._transport.aclose()
