"""Openers: codecs from the bytes of a body to its payload.

Each loop below runs once for every chunk of a connection, and V2Ray's chunks are small: half a
million to the gigabyte. So a loop touches nothing but local variables and slices of the caller's
two buffers, makes no object of our own, and writes its state back once per call.
"""

import abc
from collections.abc import Iterator
from typing import Final

from trio_vmess.core.codec import Codec, Piece, PieceCodec
from trio_vmess.core.crypto import AEAD_TAG_SIZE, Aead, InvalidTag, StreamCipher, fnv1a
from trio_vmess.core.vmess.chunk import LengthCipher, SizeStream
from trio_vmess.core.vmess.constants import (
    AUTHENTICATED_LENGTH_SIZE,
    CHECKSUM_SIZE,
    SIZE_FIELD_SIZE,
)
from trio_vmess.errors import RemoteProtocolError

_UNKNOWN: Final = -1


class ChunkOpener(abc.ABC):
    """What both openers of chunks share: the state between two calls.

    Attributes:
        ended: the empty chunk that closes the body has come.
        boundaries: if it is a list, the size of each opened payload is appended to it.
    """

    _field_size: int

    def __init__(self, size_stream: SizeStream, read_max: int) -> None:
        self.ended = False
        self.boundaries: list[int] | None = None
        self._next_numbers = size_stream.__next__
        self._read_max = read_max
        self._size = _UNKNOWN
        self._pad = 0
        self._held = bytearray()

    @property
    def piecewise(self) -> PieceCodec | None:
        """See `Codec.piecewise`: nothing, as what is decrypted lies elsewhere."""
        return None

    def output_size(self, size: int, /) -> int:
        """See `Codec.output_size`: opening never makes more bytes."""
        return size + len(self._held)

    def update_into(self, data: bytes | bytearray | memoryview, out: memoryview, /) -> int:
        """Open every chunk that is complete now; see `Codec.update_into`."""
        written = 0
        for wire in self._parts(memoryview(data)):
            written += self._open(wire, out[written:])
        return written

    def _parts(self, wire: memoryview) -> Iterator[memoryview]:
        """Yield what can be opened by itself: what was held, once it is complete, and the rest."""
        held = self._held
        # What is held is the beginning of a size field, or of a chunk whose size is known. Complete
        # it with as little copying as can be; the rest is opened where it lies.
        while held and not self.ended:
            size = self._field_size if self._size == _UNKNOWN else self._size
            missing = size - len(held)
            held += wire[:missing]
            if len(held) < size:
                return
            wire = wire[missing:]
            unit = memoryview(bytes(held))
            held.clear()
            yield unit
        if not self.ended:
            yield wire

    def finalize_into(self, out: memoryview, /) -> int:
        """Accept the end of input between two chunks, with a terminator or not."""
        if not self.ended and (self._held or self._size != _UNKNOWN):
            raise RemoteProtocolError("the body was cut off inside a chunk")
        return 0

    @abc.abstractmethod
    def _open(self, wire: memoryview, out: memoryview) -> int:
        """Open the complete chunks at the front of `wire`; hold what is left."""

    def _impossible(self, size: int, least: int) -> RemoteProtocolError:
        return RemoteProtocolError(
            f"chunk size: {size} is not between {least} and {self._read_max}; "
            "the stream is damaged, or the two ends disagree on the options"
        )


class AeadOpener(ChunkOpener):
    """Opens chunks of AES-128-GCM or ChaCha20-Poly1305.

    Args:
        aead: the cipher of this direction.
        nonces: from `count_nonces`.
        size_stream: from `build_size_stream`.
        read_max: the largest legal chunk size.
        length_cipher: opens sizes, or None where they are two plain bytes.
    """

    def __init__(
        self,
        aead: Aead,
        nonces: Iterator[bytes],
        size_stream: SizeStream,
        read_max: int,
        length_cipher: LengthCipher | None = None,
    ) -> None:
        super().__init__(size_stream, read_max)
        self._decrypt_into = aead.decrypt_into
        self._next_nonce = nonces.__next__
        self._length_cipher = length_cipher
        self._field_size = SIZE_FIELD_SIZE if length_cipher is None else AUTHENTICATED_LENGTH_SIZE

    def _open(self, wire: memoryview, out: memoryview) -> int:
        # All in locals: attributes are slower, and a gigabyte takes half a million turns.
        decrypt_into, next_nonce = self._decrypt_into, self._next_nonce
        next_numbers = self._next_numbers
        field_size, read_max = self._field_size, self._read_max
        length_cipher = self._length_cipher
        boundaries = self.boundaries
        # The last call may have ended between a size field and its chunk: go on from there.
        size, pad = self._size, self._pad
        end = len(wire)
        position = written = 0
        try:
            while True:
                if size < 0:
                    text = position + field_size
                    if text > end:
                        break
                    # Only now, with the field complete: what is taken cannot be put back.
                    pad, mask = next_numbers()
                    if length_cipher is None:
                        # Indexed bytes; `struct.unpack_from` was measured, and is no faster.
                        size = (wire[position] << 8 | wire[position + 1]) ^ mask
                    else:
                        aead, nonces = length_cipher
                        plain = aead.decrypt(next(nonces), wire[position:text], None)
                        # QUIRK: the field has the size less the tag, in 16 bits that may wrap
                        # (v2ray-core v5, common/crypto/chunk.go, AEADChunkSizeParser).
                        size = int.from_bytes(plain, "big") + AEAD_TAG_SIZE & 0xFFFF
                    position = text
                    # A size that cannot be means that nothing behind it can be found either.
                    if size < AEAD_TAG_SIZE + pad or size > read_max:
                        raise self._impossible(size, AEAD_TAG_SIZE + pad)
                stop = position + size
                if stop > end:
                    break
                # The padding stands behind the tag and is not authenticated: skip it unread.
                text = stop - pad
                filled = written + text - position - AEAD_TAG_SIZE
                # Straight from the caller's buffer into the caller's buffer, which must be exactly
                # as long as the payload.
                decrypt_into(next_nonce(), wire[position:text], None, out[written:filled])
                position = stop
                size = _UNKNOWN
                if filled == written:
                    # An empty chunk is the terminator, and it has just been authenticated.
                    self.ended = True
                    position = end
                    break
                if boundaries is not None:
                    boundaries.append(filled - written)
                written = filled
        except InvalidTag:
            raise RemoteProtocolError("chunk: wrong tag") from None
        self._size, self._pad = size, pad
        if position < end:
            # The caller's buffer is reused: what is left of an incomplete chunk is copied.
            self._held += wire[position:]
        return written


class PlainOpener(ChunkOpener):
    """Opens chunks that are not encrypted, or no longer: those of none and, inside it, of CFB.

    Args:
        size_stream: from `build_size_stream`.
        read_max: the largest legal chunk size.
        has_checksum: each payload comes behind its FNV-1a (CFB).
    """

    _field_size = SIZE_FIELD_SIZE

    def __init__(self, size_stream: SizeStream, read_max: int, *, has_checksum: bool) -> None:
        super().__init__(size_stream, read_max)
        self._checksum_size = CHECKSUM_SIZE if has_checksum else 0

    @property
    def piecewise(self) -> PieceCodec:
        """This codec."""
        return self

    def update_pieces(self, data: bytes | memoryview, /) -> list[Piece]:
        """See `PieceCodec.update_pieces`: the payload of each chunk is a piece."""
        pieces: list[Piece] = []
        for wire in self._parts(memoryview(data)):
            pieces += self._payloads(wire)
        return pieces

    def _open(self, wire: memoryview, out: memoryview) -> int:
        written = 0
        for payload in self._payloads(wire):
            start, written = written, written + len(payload)
            out[start:written] = payload
        return written

    def _payloads(self, wire: memoryview) -> list[memoryview]:
        next_numbers, read_max = self._next_numbers, self._read_max
        checksum_size = self._checksum_size
        boundaries = self.boundaries
        size, pad = self._size, self._pad
        end = len(wire)
        position = 0
        payloads: list[memoryview] = []
        while True:
            if size < 0:
                text = position + SIZE_FIELD_SIZE
                if text > end:
                    break
                pad, mask = next_numbers()
                size = (wire[position] << 8 | wire[position + 1]) ^ mask
                position = text
                if size < checksum_size + pad or size > read_max:
                    raise self._impossible(size, checksum_size + pad)
            stop = position + size
            if stop > end:
                break
            text = position + checksum_size
            payload = wire[text : stop - pad]
            # `fnv1a` takes bytes alone, so this copies.
            if checksum_size and fnv1a(bytes(payload)) != int.from_bytes(
                wire[position:text], "big"
            ):
                raise RemoteProtocolError("chunk: wrong checksum")
            position = stop
            size = _UNKNOWN
            if not payload:
                self.ended = True
                position = end
                break
            if boundaries is not None:
                boundaries.append(len(payload))
            payloads.append(payload)
        self._size, self._pad = size, pad
        if position < end:
            self._held += wire[position:]
        return payloads


class CipherOpener:
    """Decrypts a stream and opens what comes out: CFB, with chunks or raw.

    Args:
        cipher: the decryptor of this direction, fresh or right behind the header it began with.
        inner: opens what comes out of the cipher.
    """

    def __init__(self, cipher: StreamCipher, inner: Codec) -> None:
        self._cipher = cipher
        self._inner = inner

    @property
    def ended(self) -> bool:
        """See `Codec`: that of the inner codec."""
        return self._inner.ended

    @property
    def piecewise(self) -> PieceCodec | None:
        """See `Codec.piecewise`: nothing, as what is decrypted lies elsewhere."""
        return None

    def output_size(self, size: int, /) -> int:
        """See `Codec`: that of the inner codec."""
        return self._inner.output_size(size)

    def update_into(self, data: bytes | bytearray | memoryview, out: memoryview, /) -> int:
        """See `Codec.update_into`."""
        return self._inner.update_into(self._cipher.update(data), out)

    def finalize_into(self, out: memoryview, /) -> int:
        """See `Codec.finalize_into`."""
        return self._inner.finalize_into(out)
