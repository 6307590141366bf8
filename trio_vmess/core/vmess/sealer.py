"""Sealers: codecs from the payload of a body to its bytes, the mirror of `opener`.

Chunks are as large as the original document allows, because each costs a turn of a Python loop: the
size field says at most 2^14, tag and padding included.
"""

import abc
import struct
from collections.abc import Iterator
from typing import Final

from trio_vmess.core.codec import Codec, Piece, PieceCodec
from trio_vmess.core.crypto import (
    AEAD_TAG_SIZE,
    CFB_BLOCK_SIZE,
    Aead,
    StreamCipher,
    fnv1a,
)
from trio_vmess.core.entropy import Entropy
from trio_vmess.core.vmess.chunk import LengthCipher, SizeStream
from trio_vmess.core.vmess.constants import (
    AUTHENTICATED_LENGTH_SIZE,
    CHECKSUM_SIZE,
    CHUNK_PADDING_LIMIT,
    CHUNK_WRITE_MAX,
    SIZE_FIELD_SIZE,
)

_pack_size = struct.Struct(">H").pack
_pack_size_into = struct.Struct(">H").pack_into

_PADDING_POOL_MIN: Final = 128
_PADDING_POOL_MAX: Final = 2048
"""Random bytes per call of the entropy source: at first what a few chunks need, later sixty."""


class ChunkSealer(abc.ABC):
    """What both sealers of chunks share.

    Attributes:
        ended: the body is closed.
        payload_max: the most bytes of payload that one chunk takes.
    """

    _field_size: int
    _overhead: int

    def __init__(
        self, size_stream: SizeStream, entropy: Entropy, *, padded: bool, terminated: bool
    ) -> None:
        self.ended = False
        self._next_numbers = size_stream.__next__
        self._entropy = entropy
        self._terminated = terminated
        self._padding = b""
        self._padding_used = 0
        self._surplus = self._field_size + self._overhead
        self.payload_max = CHUNK_WRITE_MAX - self._overhead
        if padded:
            self._surplus += CHUNK_PADDING_LIMIT - 1
            self.payload_max -= CHUNK_PADDING_LIMIT - 1

    @property
    def piecewise(self) -> PieceCodec | None:
        """See `Codec.piecewise`: nothing, as what is encrypted lies elsewhere."""
        return None

    def output_size(self, size: int, /) -> int:
        """Return the largest possible size: padding is not known in advance."""
        return size + self._surplus * (size // self.payload_max + 1)

    def update_into(self, data: bytes | bytearray | memoryview, out: memoryview, /) -> int:
        """Seal all of `data`; see `Codec.update_into`."""
        return self._seal(memoryview(data), out) if len(data) else 0

    def finalize_into(self, out: memoryview, /) -> int:
        """Write the empty chunk that closes the body, where there is one."""
        if self.ended:
            return 0
        self.ended = True
        return self._seal(memoryview(b""), out) if self._terminated else 0

    @abc.abstractmethod
    def _seal(self, payload: memoryview, out: memoryview) -> int:
        """Write as many chunks as the payload needs; an empty one still makes one chunk."""

    def _take_padding(self, size: int) -> bytes:
        # The entropy source is a system call: ask it for the padding of many chunks at once.
        start = self._padding_used
        if start + size > len(self._padding):
            # The rest of the old pool is dropped, so that no padding is ever sent twice.
            drawn = min(max(2 * len(self._padding), _PADDING_POOL_MIN), _PADDING_POOL_MAX)
            self._padding = self._entropy.token_bytes(drawn)
            start = 0
        self._padding_used = start + size
        return self._padding[start : start + size]


class AeadSealer(ChunkSealer):
    """Seals chunks with AES-128-GCM or ChaCha20-Poly1305; see `AeadOpener` for the arguments."""

    _overhead = AEAD_TAG_SIZE

    def __init__(
        self,
        aead: Aead,
        nonces: Iterator[bytes],
        size_stream: SizeStream,
        entropy: Entropy,
        *,
        padded: bool,
        terminated: bool,
        length_cipher: LengthCipher | None = None,
    ) -> None:
        self._field_size = SIZE_FIELD_SIZE if length_cipher is None else AUTHENTICATED_LENGTH_SIZE
        super().__init__(size_stream, entropy, padded=padded, terminated=terminated)
        self._encrypt_into = aead.encrypt_into
        self._next_nonce = nonces.__next__
        self._length_cipher = length_cipher

    def _seal(self, payload: memoryview, out: memoryview) -> int:
        encrypt_into, next_nonce = self._encrypt_into, self._next_nonce
        next_numbers = self._next_numbers
        field_size, length_cipher, room = self._field_size, self._length_cipher, self.payload_max
        total = len(payload)
        position = written = 0
        # At least once, because an empty payload makes the terminator.
        while True:
            pad, mask = next_numbers()
            text = payload[position : position + room]
            position += room
            size = len(text) + AEAD_TAG_SIZE
            start = written + field_size
            if length_cipher is None:
                _pack_size_into(out, written, size + pad ^ mask)
            else:
                aead, nonces = length_cipher
                # QUIRK: the size less the tag; see `AeadOpener`.
                plain_size = _pack_size(size + pad - AEAD_TAG_SIZE)
                aead.encrypt_into(next(nonces), plain_size, None, out[written:start])
            written = start + size
            # Sealed where it will be sent from: no chunk is ever an object of its own.
            encrypt_into(next_nonce(), text, None, out[start:written])
            if pad:
                # Random bytes, though nobody checks them: zeros would show where chunks end.
                start, written = written, written + pad
                out[start:written] = self._take_padding(pad)
            if position >= total:
                return written


class PlainSealer(ChunkSealer):
    """Writes chunks that are not encrypted, or not yet; see `PlainOpener` for the arguments."""

    _field_size = SIZE_FIELD_SIZE

    def __init__(
        self,
        size_stream: SizeStream,
        entropy: Entropy,
        *,
        padded: bool,
        terminated: bool,
        has_checksum: bool,
    ) -> None:
        self._overhead = CHECKSUM_SIZE if has_checksum else 0
        super().__init__(size_stream, entropy, padded=padded, terminated=terminated)

    @property
    def piecewise(self) -> PieceCodec:
        """This codec."""
        return self

    def update_pieces(self, data: bytes | memoryview, /) -> list[Piece]:
        """See `PieceCodec.update_pieces`: the payload of each chunk is a piece."""
        return self._chunks(memoryview(data)) if len(data) else []

    def _seal(self, payload: memoryview, out: memoryview) -> int:
        written = 0
        for piece in self._chunks(payload):
            start, written = written, written + len(piece)
            out[start:written] = piece
        return written

    def _chunks(self, payload: memoryview) -> list[Piece]:
        next_numbers, overhead, room = self._next_numbers, self._overhead, self.payload_max
        total = len(payload)
        position = 0
        pieces: list[Piece] = []
        while True:
            pad, mask = next_numbers()
            text = payload[position : position + room]
            position += room
            head = _pack_size(overhead + len(text) + pad ^ mask)
            if overhead:
                head += fnv1a(bytes(text)).to_bytes(CHECKSUM_SIZE, "big")
            pieces += (head, text)
            if pad:
                pieces.append(self._take_padding(pad))
            if position >= total:
                return pieces


class CipherSealer:
    """Seals and then encrypts the whole as one stream: CFB, with chunks or raw.

    Args:
        cipher: the encryptor of this direction, fresh or right behind the header it began with.
        inner: makes what goes into the cipher.
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
        """See `Codec.piecewise`: nothing, as what is encrypted lies elsewhere."""
        return None

    def output_size(self, size: int, /) -> int:
        """Add the free space that the cipher needs behind its output."""
        return self._inner.output_size(size) + CFB_BLOCK_SIZE - 1

    def update_into(self, data: bytes | bytearray | memoryview, out: memoryview, /) -> int:
        """See `Codec.update_into`."""
        return self._encrypt(self._inner.update_into(data, out), out)

    def finalize_into(self, out: memoryview, /) -> int:
        """See `Codec.finalize_into`."""
        return self._encrypt(self._inner.finalize_into(out), out)

    def _encrypt(self, size: int, out: memoryview) -> int:
        # In place: what a stream cipher writes replaces what it has just read.
        return self._cipher.update_into(out[:size], out[: size + CFB_BLOCK_SIZE - 1])
