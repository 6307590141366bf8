"""Datagrams over a byte transport, one VMess chunk each, for both ends of command 2 (UDP)."""

from collections.abc import Sequence

from trio_vmess.contracts import Transport
from trio_vmess.core.vmess import PacketBody
from trio_vmess.transport.udp import DATAGRAM_SIZE_MAX


class BodyPacketLink:
    """A packet link whose peer is a VMess client or server.

    Args:
        transport: carries the chunks; owned by the link from now on.
        body: the codecs of both directions.
        prefix: a header that is sent with the first datagram.
        buffer: the read buffer; shared by all connections.
    """

    def __init__(
        self, transport: Transport, body: PacketBody, *, prefix: bytes, buffer: memoryview
    ) -> None:
        self._transport = transport
        self._opener = body.opener
        self._sealer = body.sealer
        self._early = body.trailing
        self._prefix = prefix
        self._buffer = buffer

    @property
    def size_max(self) -> int:
        """Bytes of the largest datagram that is sent."""
        payload_max = self._sealer.payload_max
        return DATAGRAM_SIZE_MAX if payload_max is None else payload_max

    async def receive(self) -> Sequence[bytes]:
        """See `PacketLink.receive`."""
        if self._early:
            early, self._early = self._early, b""
            if datagrams := self._opener.open(early):
                return datagrams
        while not self._opener.ended:
            size = await self._transport.receive_into(self._buffer)
            if not size:
                self._opener.finalize()
                break
            if datagrams := self._opener.open(self._buffer[:size]):
                return datagrams
        return ()

    async def send(self, datagrams: Sequence[bytes], /) -> int:
        """See `PacketLink.send`; a datagram that does not fit into a chunk is dropped."""
        wire, dropped = self._sealer.seal_all(datagrams, prefix=self._prefix)
        self._prefix = b""
        await self._transport.send_all(wire)
        return dropped

    async def aclose(self) -> None:
        """See `PacketLink.aclose`."""
        await self._transport.aclose()
