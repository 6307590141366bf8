"""A transport with bytes put back in front of it, for code that has to look ahead."""

from trio_vmess.contracts import Transport
from trio_vmess.transport.layer import TransportLayer


class PrefixedTransport(TransportLayer):
    """Another transport, with bytes put back in front of it: a `Transport`.

    Args:
        transport: owned by this one from now on.
        prefix: the bytes that were read from it before.
    """

    __slots__ = ("_prefix",)

    def __init__(self, transport: Transport, prefix: bytes) -> None:
        super().__init__(transport)
        self._prefix = prefix

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`; returns the prefix first, without waiting."""
        if not self._prefix:
            return await self._transport.receive_into(buffer)
        size = min(len(self._prefix), len(buffer))
        buffer[:size] = self._prefix[:size]
        self._prefix = self._prefix[size:]
        return size

    async def aclose(self) -> None:
        """See `Transport.aclose`; the rest of the prefix is dropped."""
        self._prefix = b""
        await self._transport.aclose()
