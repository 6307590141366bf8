"""Header lists in their compressed form, which both ends of a connection keep a table for.

A block must be decompressed whatever becomes of its stream, or the tables of the two ends differ.
"""

from typing import Final

try:
    import hpack
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        "the transports http and grpc need another package: pip install 'trio-vmess[http2]'",
        name="hpack",
    ) from exc

from trio_vmess.core.carriage.http2.faults import FaultError
from trio_vmess.core.carriage.http2.frames import (
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    HAS_PRIORITY,
    PADDED,
    ErrorCode,
)
from trio_vmess.core.carriage.http2.headers import Fields
from trio_vmess.core.carriage.http2.limits import Limits
from trio_vmess.core.carriage.http2.splitter import Frame

TABLE_SIZE_MAX: Final = 4096
"""Bytes of our own table, even if the peer allows more; its default, too (RFC 9113, 6.5.2)."""

CONTINUATION_COUNT_MAX: Final = 16

_PRIORITY_SIZE: Final = 5


class HeaderBlocks:
    """The header lists of one connection.

    Args:
        limits: those of size hold for a list that is received.
    """

    __slots__ = ("_block", "_block_size_max", "_count", "_decoder", "_encoder", "_is_last", "_open")

    def __init__(self, limits: Limits) -> None:
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder(max_header_list_size=limits.header_list_size)
        self._block_size_max = limits.header_block_size
        self._block = bytearray()
        self._count = 0
        self._is_last = False
        self._open = 0

    @property
    def open_stream_id(self) -> int:
        """The stream of a block that is not complete; 0 if there is none."""
        return self._open

    def limit_table(self, size: int) -> None:
        """Follow what the peer says about its table."""
        self._encoder.header_table_size = min(size, TABLE_SIZE_MAX)

    def encode(self, fields: Fields) -> bytes:
        """Compress a list; the result must be sent, and before that of the next."""
        return self._encoder.encode(fields)

    def receive(self, frame: Frame) -> tuple[Fields, bool] | None:
        """Take a HEADERS or CONTINUATION frame.

        Returns:
            The whole list, and whether it ends the stream; None if more frames have to come.

        Raises:
            FaultError: the block is damaged, too large, or in too many frames.
        """
        payload = frame.payload
        if frame.kind == CONTINUATION:
            self._count += 1
        else:
            payload = _without_frills(frame)
            self._block, self._count = bytearray(), 0
            self._is_last = bool(frame.flags & END_STREAM)
            self._open = frame.stream_id
        if (
            len(self._block) + len(payload) > self._block_size_max
            or self._count > CONTINUATION_COUNT_MAX
        ):
            raise FaultError(ErrorCode.ENHANCE_YOUR_CALM, "a header block without end")
        self._block += payload
        if not frame.flags & END_HEADERS:
            return None
        self._open = 0
        return self._decode(), self._is_last

    def _decode(self) -> Fields:
        block, self._block = bytes(self._block), bytearray()
        try:
            return [
                (bytes(name), bytes(value)) for name, value in self._decoder.decode(block, True)
            ]
        # The library's own texts quote its buffers, at addresses that are never the same.
        except hpack.OversizedHeaderListError:
            text = "a header list that is too long"
            raise FaultError(ErrorCode.ENHANCE_YOUR_CALM, text) from None
        except hpack.HPACKError as exc:
            text = f"a header block that cannot be decoded ({type(exc).__name__})"
            raise FaultError(ErrorCode.COMPRESSION_ERROR, text) from None


def _without_frills(frame: Frame) -> memoryview:
    """Return what a HEADERS frame has between its priority and its padding."""
    payload, padding = frame.payload, 0
    if frame.flags & PADDED:
        padding = payload[0] if payload else len(payload)
        payload = payload[1:]
    if frame.flags & HAS_PRIORITY:
        if len(payload) < _PRIORITY_SIZE:
            raise FaultError(ErrorCode.FRAME_SIZE_ERROR, "a priority of less than 5 bytes")
        payload = payload[_PRIORITY_SIZE:]
    if padding > len(payload):
        raise FaultError(ErrorCode.PROTOCOL_ERROR, "a HEADERS frame is all padding")
    return payload[: len(payload) - padding]
