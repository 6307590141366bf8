"""What the data path is made of: synchronous objects that turn bytes into bytes.

A codec works on one direction of one connection and on buffers that its caller owns. It knows no
sockets, and whoever drives it knows no protocol: `relay` pipes any chain of codecs between any
two transports.
"""

from typing import Protocol

Piece = bytes | memoryview
"""Part of what is to be sent: of the caller's own buffer, or a few bytes between such parts."""


class Codec(Protocol):
    """One direction's transformation, fed with pieces of any size.

    The verbs and their order are those of a cipher context: any number of `update_into`, then
    one `finalize_into` when the input has ended.
    """

    @property
    def ended(self) -> bool:
        """True once the peer has ended this direction in the protocol itself (a terminator).

        Bytes after that are ignored.
        """
        ...

    @property
    def piecewise(self) -> "PieceCodec | None":
        """What does the rest of this codec's work in pieces; None if it has to write elsewhere."""
        ...

    def output_size(self, size: int, /) -> int:
        """Return how large `out` must be to take `size` further bytes of input.

        What the codec still holds from earlier input is counted.
        """
        ...

    def update_into(self, data: bytes | bytearray | memoryview, out: memoryview, /) -> int:
        """Transform `data` and write the result to the front of `out`.

        Args:
            data: any number of bytes; what is not yet a whole unit is kept for the next call. It
                must not overlap `out`.
            out: a writable buffer of bytes, at least `output_size(len(data))` large.

        Returns:
            How many bytes were written; 0 does not mean the end.

        Raises:
            RemoteProtocolError: the peer's bytes are not legal input. The codec cannot be used any
                more, and nothing that this call wrote to `out` may be passed on.
        """
        ...

    def finalize_into(self, out: memoryview, /) -> int:
        """End the input; write what is still owed to the peer.

        Returns:
            How many bytes were written, at most `output_size(0)`.

        Raises:
            RemoteProtocolError: the input was cut off inside a unit.
        """
        ...


class PieceCodec(Codec, Protocol):
    """A codec that leaves payload as it is, so that payload need not be copied."""

    def update_pieces(self, data: bytes | memoryview, /) -> list[Piece]:
        """Do what `update_into` does.

        Args:
            data: as there.

        Returns:
            What makes the result, one behind the other; most are parts of `data`, and valid only as
            long as it does not change.

        Raises:
            RemoteProtocolError: as `update_into`.
        """
        ...


class PrefixedCodec:
    """Puts bytes in front of the first output of another codec, so that one write carries both.

    Args:
        prefix: usually a header.
        codec: makes what follows it.
    """

    def __init__(self, prefix: bytes, codec: Codec) -> None:
        self._prefix = prefix
        self._codec = codec

    @property
    def ended(self) -> bool:
        """See `Codec.ended`: that of the inner codec."""
        return self._codec.ended

    @property
    def piecewise(self) -> PieceCodec | None:
        """See `Codec.piecewise`: that of the inner codec, once the prefix is written."""
        return None if self._prefix else self._codec.piecewise

    def output_size(self, size: int, /) -> int:
        """See `Codec.output_size`; the prefix is counted until it is written."""
        return len(self._prefix) + self._codec.output_size(size)

    def update_into(self, data: bytes | bytearray | memoryview, out: memoryview, /) -> int:
        """See `Codec.update_into`; without data, the prefix alone is written."""
        if not self._prefix:
            return self._codec.update_into(data, out)
        size = self._take_prefix(out)
        return size + self._codec.update_into(data, out[size:])

    def finalize_into(self, out: memoryview, /) -> int:
        """See `Codec.finalize_into`; a prefix that is not written yet comes first."""
        size = self._take_prefix(out)
        return size + self._codec.finalize_into(out[size:])

    def _take_prefix(self, out: memoryview) -> int:
        size = len(self._prefix)
        out[:size] = self._prefix
        self._prefix = b""
        return size


class IdentityCodec:
    """Bytes as they are: for a side of a connection without a protocol of its own."""

    ended = False

    @property
    def piecewise(self) -> PieceCodec:
        """This codec."""
        return self

    def output_size(self, size: int, /) -> int:
        """Return `size`."""
        return size

    def update_into(self, data: bytes | bytearray | memoryview, out: memoryview, /) -> int:
        """Copy `data` to `out`."""
        size = len(data)
        out[:size] = data
        return size

    def update_pieces(self, data: bytes | memoryview, /) -> list[Piece]:
        """Return `data`."""
        return [data]

    def finalize_into(self, out: memoryview, /) -> int:
        """Write nothing: the end of raw bytes is the end of the stream."""
        return 0
