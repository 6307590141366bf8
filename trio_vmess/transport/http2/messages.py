"""The transport `grpc`: a stream whose bytes are in messages."""

import trio

from trio_vmess.contracts import Transport
from trio_vmess.core.carriage.grpc import MessageReader, encode_messages
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.transport.layer import TransportLayer


class MessageTransport(TransportLayer):
    """Bytes in the messages of a gRPC call: a `Transport`.

    Args:
        transport: carries the messages; owned by this one from now on.
    """

    __slots__ = ("_reader",)

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self._reader = MessageReader()

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`; bytes that are no messages break it."""
        while size := await self._transport.receive_into(buffer):
            try:
                if payload_size := self._reader.unframe(buffer, size):
                    return payload_size
            except RemoteProtocolError as exc:
                raise trio.BrokenResourceError(str(exc)) from exc
        if not self._reader.is_between_messages:
            raise trio.BrokenResourceError("the stream ends within a message")
        return 0

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `Transport.send_all`."""
        await self._transport.send_all(encode_messages(data))

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        """See `Transport.send_eof`."""
        await self._transport.send_eof(encode_messages(last))
