"""The peers of a relay's two sides: they use the same codecs, and return what they received."""

from typing import Protocol

import attrs
import trio
import trio.testing

from tests.kit.pair import ConnectionPair, request
from trio_vmess.contracts import StreamSide, Transport
from trio_vmess.core import Codec, PrefixedCodec
from trio_vmess.core.vmess import Request, Response, Security, StreamBody
from trio_vmess.transport.trio_stream import StreamTransport

_READ_SIZE = 128 * 1024
_OVERHEAD = 64 * 1024


class RemoteEnd:
    """One end of a connection, which tests drive by hand.

    Args:
        transport: carries the bytes.
        opener: from wire to payload; None where they are the same.
        sealer: from payload to wire; None where they are the same.

    Attributes:
        wire_sizes: how many bytes each read gave, header and framing included.
    """

    def __init__(
        self, transport: Transport, *, opener: Codec | None = None, sealer: Codec | None = None
    ) -> None:
        self.transport = transport
        self.wire_sizes: list[int] = []
        self._opener = opener
        self._sealer = sealer
        self._buffer = memoryview(bytearray(_READ_SIZE))
        self._out = memoryview(bytearray(_READ_SIZE + _OVERHEAD))

    def seal(self, payload: bytes) -> bytes:
        """Return what payload looks like on the wire."""
        if self._sealer is None:
            return payload
        out = memoryview(bytearray(self._sealer.output_size(len(payload))))
        return bytes(out[: self._sealer.update_into(payload, out)])

    def seal_end(self) -> bytes:
        """Return what the codec sends at the end."""
        if self._sealer is None:
            return b""
        return bytes(self._out[: self._sealer.finalize_into(self._out)])

    async def send(self, payload: bytes) -> None:
        """Send payload."""
        await self.transport.send_all(self.seal(payload))

    async def send_eof(self) -> None:
        """Send the end: by the codec, then by the transport."""
        await self.transport.send_eof(self.seal_end())

    async def receive_wire(self) -> bytes:
        """Return some bytes as they are on the wire; nothing at the end."""
        size = await self.transport.receive_into(self._buffer)
        self.wire_sizes.append(size)
        return bytes(self._buffer[:size])

    async def receive(self) -> bytes:
        """Return some payload; nothing at the end, which the codec must agree with."""
        while wire := await self.receive_wire():
            if self._opener is None:
                return wire
            if size := self._opener.update_into(wire, self._out):
                return bytes(self._out[:size])
        if self._opener is not None:
            self._opener.finalize_into(self._out)
        return b""

    async def receive_exactly(self, size: int) -> bytes:
        """Return `size` bytes of payload; fewer only if the end came first."""
        received = bytearray()
        while len(received) < size and (data := await self.receive()):
            received += data
        return bytes(received)

    async def receive_all(self) -> bytes:
        """Return all payload until the end."""
        received = bytearray()
        while data := await self.receive():
            received += data
        return bytes(received)


class TransportPair(Protocol):
    """Makes two connected transports."""

    def __call__(self) -> tuple[Transport, Transport]:
        """Return them."""
        ...


def memory_pair() -> tuple[StreamTransport, StreamTransport]:
    """Return two transports that are joined in memory, with buffers that never fill."""
    local, remote = trio.testing.memory_stream_pair()
    return StreamTransport(local), StreamTransport(remote)


@attrs.frozen
class VMessBodies:
    """Both ends of one VMess conversation, headers done.

    Attributes:
        client: the client's codecs.
        server: the server's codecs.
        request_header: what the client sends first.
        response_header: what the server sends first.
    """

    client: StreamBody
    server: StreamBody
    request_header: bytes
    response_header: bytes


def vmess_bodies(security: Security = Security.AES_128_GCM, *, seed: int = 0) -> VMessBodies:
    """Let a client connection and a server connection meet, and take their codecs."""
    pair = ConnectionPair(seed=seed)
    options = {Security.NONE: 0x05, Security.AES_128_CFB: 0x01}.get(security, 0x0D)
    request_header = pair.client.send(request(pair.account, security=security, options=options))
    pair.server.receive_data(request_header, now=1_700_000_000)
    event = pair.server.next_event()
    assert isinstance(event, Request)
    response_header = pair.server.send(Response())
    client = pair.client.hand_over_early(lambda _response: None)
    server = pair.server.hand_over()
    assert isinstance(client, StreamBody)
    assert isinstance(server, StreamBody)
    return VMessBodies(client, server, request_header, response_header)


def plain_side(make: TransportPair = memory_pair) -> tuple[StreamSide, RemoteEnd]:
    """Return a side without codecs, and its remote end."""
    local, remote = make()
    return StreamSide(transport=local), RemoteEnd(remote)


def vmess_server_side(
    security: Security = Security.AES_128_GCM, make: TransportPair = memory_pair, *, seed: int = 0
) -> tuple[StreamSide, RemoteEnd]:
    """Return a side as the VMess inbound makes it, and the client beyond."""
    local, remote = make()
    bodies = vmess_bodies(security, seed=seed)
    sealer = PrefixedCodec(bodies.response_header, bodies.server.sealer)
    side = StreamSide(transport=local, opener=bodies.server.opener, sealer=sealer)
    return side, RemoteEnd(remote, opener=bodies.client.opener, sealer=bodies.client.sealer)


class SkippingCodec:
    """Throws away a header that was read elsewhere, then leaves the bytes to another codec.

    Args:
        size: bytes to skip.
        codec: opens what follows.
    """

    def __init__(self, size: int, codec: Codec) -> None:
        self._left = size
        self._codec = codec

    @property
    def ended(self) -> bool:
        """As the codec does."""
        return self._codec.ended

    @property
    def piecewise(self) -> None:
        """Nothing: bytes are to be skipped."""
        return

    def output_size(self, size: int, /) -> int:
        """As the codec does."""
        return self._codec.output_size(size)

    def update_into(self, data: bytes | bytearray | memoryview, out: memoryview, /) -> int:
        """See `Codec.update_into`."""
        skipped = min(self._left, len(data))
        self._left -= skipped
        return self._codec.update_into(data[skipped:], out)

    def finalize_into(self, out: memoryview, /) -> int:
        """See `Codec.finalize_into`."""
        return self._codec.finalize_into(out)


def vmess_client_side(
    security: Security = Security.AES_128_GCM,
    make: TransportPair = memory_pair,
    *,
    seed: int = 1,
    flush_after: float | None = 0.1,
) -> tuple[StreamSide, RemoteEnd]:
    """Return a side as the VMess outbound makes it, and the server beyond."""
    local, remote = make()
    bodies = vmess_bodies(security, seed=seed)
    side = StreamSide(
        transport=local,
        opener=bodies.client.opener,
        sealer=PrefixedCodec(bodies.request_header, bodies.client.sealer),
        flush_after=flush_after,
    )
    opener = SkippingCodec(len(bodies.request_header), bodies.server.opener)
    sealer = PrefixedCodec(bodies.response_header, bodies.server.sealer)
    return side, RemoteEnd(remote, opener=opener, sealer=sealer)
