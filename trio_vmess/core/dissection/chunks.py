"""The chunks of a body, one by one, with all that their sizes say.

A chunk that does not open is not the end: the next size field is where the size says, and it takes
the next numbers and the next nonce. Only a size that cannot be found, or cannot be right, ends the
reading.
"""

from collections.abc import Iterator
from typing import Final

import attrs

from trio_vmess.core.crypto import (
    AEAD_TAG_SIZE,
    Aead,
    InvalidTag,
    StreamCipher,
    cfb_decryptor,
    fnv1a,
)
from trio_vmess.core.dissection.findings import (
    ChunkDamaged,
    ChunkFound,
    DirectionEnd,
    EndedBy,
    EndState,
    RawFound,
    Unreadable,
)
from trio_vmess.core.vmess.body import BodyPlan
from trio_vmess.core.vmess.chunk import build_size_stream, count_nonces
from trio_vmess.core.vmess.constants import (
    AUTHENTICATED_LENGTH_SIZE,
    CHECKSUM_SIZE,
    SIZE_FIELD_SIZE,
    Security,
)
from trio_vmess.core.vmess.security import BodyKeys, build_aead, build_length_aead

ChunkFinding = ChunkFound | ChunkDamaged | RawFound | Unreadable

_DAMAGED_MAX: Final = 2
"""So many damaged chunks in a row mean that the place of the next one is wrong as well."""

_CFB_BLOCK: Final = 16


@attrs.frozen
class _Size:
    """A size field that has been read; see `ChunkFound`."""

    size: int
    sealed_size: int | None
    padding: int


class ChunkWalker:
    """Walks along one direction of a body.

    Args:
        plan: the body.
        keys: this direction's.
        offset: where in the direction the body begins.
        cipher: the CFB stream to continue, if the header began it; None for a new one.
    """

    def __init__(
        self, plan: BodyPlan, keys: BodyKeys, *, offset: int, cipher: StreamCipher | None = None
    ) -> None:
        framing, security = plan.framing, plan.security
        self._is_chunked = framing.chunked
        self._read_max = plan.dialect.chunk_read_max
        self._numbers = build_size_stream(keys.iv, framing)
        self._aead: Aead | None = None
        self._nonces: Iterator[bytes] = count_nonces(keys.iv)
        self._length_aead: Aead | None = None
        self._length_nonces: Iterator[bytes] = count_nonces(plan.request.iv)
        self._field_size, self._overhead = SIZE_FIELD_SIZE, 0
        self._cipher: StreamCipher | None = None
        if security.is_aead:
            self._aead, self._overhead = build_aead(security, keys.key), AEAD_TAG_SIZE
        elif security is Security.AES_128_CFB:
            self._cipher = cipher or cfb_decryptor(keys.key, keys.iv)
            self._overhead = CHECKSUM_SIZE
        if framing.authenticated_length:
            self._length_aead = build_length_aead(security, plan.request)
            self._field_size = AUTHENTICATED_LENGTH_SIZE
        self._held = bytearray()
        self._offset = offset  # of what is held
        self._number = 0
        self._size: _Size | None = None
        self._missing = 0  # bytes of the chunk that the recording lacks
        self._damaged = 0
        self._is_ended = self._is_lost = False
        self._unread = 0

    def receive(self, data: bytes) -> Iterator[ChunkFinding]:
        """Yield what is complete with these bytes."""
        if self._is_ended or self._is_lost:
            self._unread += len(data)
            return
        if self._cipher is not None:
            data = self._cipher.update(data)
        if not self._is_chunked:
            yield RawFound(offset=self._offset, payload=data)
            self._offset += len(data)
            return
        self._held += data
        while (finding := self._next()) is not None:
            yield finding

    def skip(self, size: int) -> Iterator[ChunkFinding]:
        """Go on behind bytes that the recording lacks, if the sizes before say where that is."""
        if self._is_ended or self._is_lost:
            self._unread += size
        elif not self._is_chunked:
            if self._cipher is not None:
                # Only the place in the block and the block before matter to what follows.
                self._cipher.update(bytes(min(size, _CFB_BLOCK + size % _CFB_BLOCK)))
            self._offset += size
        elif self._size is not None and size <= self._needed - len(self._held):
            self._missing += size
            yield from self.receive(bytes(size))
        else:
            yield self._lose(
                f"the recording lacks {size} bytes here, and a size field among them", unread=size
            )

    def end(self, by: EndedBy) -> DirectionEnd:
        """Say where the body stands at its end."""
        held, offset = len(self._held), self._offset
        if self._is_lost:
            state = EndState.UNREADABLE
        elif self._is_ended:
            state = EndState.TERMINATED
        elif not self._is_chunked:
            state = EndState.RAW
        else:
            state = EndState.IN_CHUNK if held else EndState.BETWEEN_CHUNKS
        is_cut = state is EndState.IN_CHUNK
        return DirectionEnd(
            offset=offset + held + self._unread,
            by=by,
            state=state,
            chunk=self._number if is_cut else None,
            held=held if is_cut else 0,
            needed=self._needed if is_cut and self._size is not None else None,
            unread=self._unread,
        )

    @property
    def _needed(self) -> int:
        return self._field_size + (0 if self._size is None else self._size.size)

    def _next(self) -> ChunkFinding | None:
        if self._is_ended or self._is_lost or len(self._held) < self._field_size:
            return None
        if self._size is None:
            size = self._read_size()
            if isinstance(size, Unreadable):
                return size
            self._size = size
        if len(self._held) < self._needed:
            return None
        return self._read_chunk(self._size)

    def _read_size(self) -> _Size | Unreadable:
        field = bytes(self._held[: self._field_size])
        padding, mask = next(self._numbers)
        sealed: int | None = None
        if self._length_aead is None:
            size = int.from_bytes(field, "big") ^ mask
        else:
            try:
                plain = self._length_aead.decrypt(next(self._length_nonces), field, None)
            except InvalidTag:
                return self._lose(f"the authenticated length of chunk {self._number} does not open")
            sealed = int.from_bytes(plain, "big")
            # See `AeadOpener`: it leaves out the tag, and may wrap.
            size = sealed + AEAD_TAG_SIZE & 0xFFFF
        least = self._overhead + padding
        if not least <= size <= self._read_max:
            return self._lose(
                f"chunk {self._number} has the size {size}, which is not between {least} and "
                f"{self._read_max}: damaged, or the two ends disagree on the options"
            )
        return _Size(size, sealed, padding)

    def _read_chunk(self, size: _Size) -> ChunkFinding:
        needed, offset, number, missing = self._needed, self._offset, self._number, self._missing
        sealed = bytes(self._held[self._field_size : needed - size.padding])
        del self._held[:needed]
        self._offset += needed
        self._number += 1
        self._size, self._missing = None, 0
        payload = self._open(sealed)
        # What is missing may be padding, which is of no account; only a tag can tell.
        if payload is None or (missing and self._aead is None):
            self._damaged += 1
            reason = f"the recording lacks {missing} bytes of it"
            if not missing:
                reason = "wrong checksum" if self._aead is None else "wrong tag"
                if self._damaged >= _DAMAGED_MAX:
                    self._offset = offset
                    return self._lose(
                        f"chunk {number} has a {reason} as well: the sizes cannot be trusted any "
                        "more",
                        unread=needed,
                    )
            return ChunkDamaged(
                offset=offset,
                number=number,
                size=size.size,
                padding=size.padding,
                reason=reason,
            )
        self._damaged = 0
        if not payload:
            self._is_ended = True
            self._unread = len(self._held)
            self._held.clear()
        return ChunkFound(
            offset=offset,
            number=number,
            size=size.size,
            sealed_size=size.sealed_size,
            overhead=self._overhead,
            padding=size.padding,
            payload=payload,
        )

    def _open(self, sealed: bytes) -> bytes | None:
        """Return the payload; None if it is damaged."""
        if self._aead is not None:
            try:
                return self._aead.decrypt(next(self._nonces), sealed, None)
            except InvalidTag:
                return None
        payload = sealed[self._overhead :]
        if self._overhead and fnv1a(payload) != int.from_bytes(sealed[: self._overhead], "big"):
            return None
        return payload

    def _lose(self, reason: str, *, unread: int = 0) -> Unreadable:
        """Give up; the bytes from here on are counted and nothing else."""
        offset = self._offset
        self._is_lost = True
        self._unread += len(self._held) + unread
        self._held.clear()
        return Unreadable(offset=offset, reason=reason)
