"""Bytes that any party can recompute: origins send them, tests check them by hash.

The bytes repeat with a prime period, so no chunk, buffer or record size divides it: a piece
that is lost, doubled or moved changes the hash.
"""

import hashlib
from collections.abc import Iterator
from typing import Final

_PERIOD: Final = 1_048_573
_BLOCK: Final = hashlib.shake_128(b"trio-vmess test pattern").digest(_PERIOD)
PIECE_SIZE: Final = 65_536


def pattern_pieces(size: int) -> Iterator[bytes]:
    """Yield the first `size` bytes of the pattern in pieces of at most 64 KiB."""
    for start in range(0, size, PIECE_SIZE):
        length = min(PIECE_SIZE, size - start)
        offset = start % _PERIOD
        piece = _BLOCK[offset : offset + length]
        yield piece + _BLOCK[: length - len(piece)]


def pattern(size: int) -> bytes:
    """Return the first `size` bytes of the pattern."""
    return b"".join(pattern_pieces(size))


def pattern_sha256(size: int) -> str:
    """Return the SHA-256 of the first `size` bytes, in hexadecimal."""
    digest = hashlib.sha256()
    for piece in pattern_pieces(size):
        digest.update(piece)
    return digest.hexdigest()
