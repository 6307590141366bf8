"""A transport that keeps what is read from it, for code that may hand it on to somebody else."""

from typing import Final

from trio_vmess.contracts import Transport
from trio_vmess.transport.layer import TransportLayer

READ_SIZE: Final = 16 * 1024
"""Bytes that one read takes at most: what is kept is small for as long as the reader is quick."""


class RecordedTransport(TransportLayer):
    """Another transport, whose received bytes are kept: a `Transport`.

    Args:
        transport: not owned; whoever has made this one goes on with it.
    """

    __slots__ = ("_received",)

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self._received = bytearray()

    @property
    def transport(self) -> Transport:
        """The transport below, from which nothing is kept."""
        return self._transport

    @property
    def has_received(self) -> bool:
        """Whether anything was read that was not taken."""
        return bool(self._received)

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`."""
        size = await self._transport.receive_into(buffer[:READ_SIZE])
        self._received += buffer[:size]
        return size

    def take_received(self) -> bytes:
        """Return all that was read, and keep it no longer."""
        received, self._received = bytes(self._received), bytearray()
        return received
