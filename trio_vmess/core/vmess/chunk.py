"""Chunks: how a body is cut, and what each chunk draws.

    [ size field ][ sealed payload ][ padding ]

The size counts sealed payload and padding, not itself. Sealed payload is the payload and its
overhead: none has nothing, CFB a checksum in front, the AEADs a tag behind.

For each chunk, in this order: the padding length (with P) and the mask of the size (with M) are the
next two numbers of a SHAKE-128 stream over the direction's IV. Both sides draw them when they
come to the size field, the chunk that ends the body included. So a writer must know that a chunk
fits before it draws, and a reader must take an impossible size for the end of all sense.

The nonce is a 16-bit counter before ten bytes of the IV. The counter wraps to 0 after 65 536
chunks in every implementation, and so it does here.

With A, sizes are sealed with the *request's* key and IV in both directions, under a counter of
their own, and what is sealed is the size less the tag.
"""

import array
import itertools
import struct
import sys
from collections.abc import Iterator
from typing import Final

from trio_vmess.core.crypto import Aead, shake128, shake128_reader
from trio_vmess.core.vmess.constants import CHUNK_COUNTER_LIMIT, CHUNK_PADDING_LIMIT
from trio_vmess.core.vmess.security import Framing

Draws = Iterator[tuple[int, int]]
"""For each chunk: its padding length, and the mask of its size."""

SealedSizes = tuple[Aead, Iterator[bytes]]
"""What seals and opens sizes (option A): a cipher, and its nonces from `count_nonces`."""

_FIRST_SQUEEZE: Final = 168
"""One block of SHAKE-128: enough for most short connections."""
_SQUEEZE: Final = 2048

_pad = (CHUNK_PADDING_LIMIT - 1).__and__
_nonce = struct.Struct(">H10s").pack


def _squeeze(iv: bytes) -> Iterator["array.array[int]"]:
    yield _numbers(shake128(iv, _FIRST_SQUEEZE))
    read = shake128_reader(iv, skip=_FIRST_SQUEEZE)
    while True:
        yield _numbers(read(_SQUEEZE))


def _numbers(squeezed: bytes) -> "array.array[int]":
    """Return big-endian 16-bit numbers, packed: as int objects they would weigh 18 times more."""
    numbers = array.array("H", squeezed)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def draw(iv: bytes, framing: Framing) -> Draws:
    """Return what the chunks of one direction draw, one pair each, without end.

    Args:
        iv: 16 bytes, the direction's.
        framing: which of the two numbers are drawn at all; those that are not are 0.
    """
    if not (framing.padded or framing.masked):
        return itertools.repeat((0, 0))
    numbers = itertools.chain.from_iterable(_squeeze(iv))
    if not framing.masked:
        return zip(map(_pad, numbers), itertools.repeat(0))
    if not framing.padded:
        return zip(itertools.repeat(0), numbers)
    # zip takes from left to right, so the two share one stream in the order of the protocol.
    return zip(map(_pad, numbers), numbers, strict=False)


def count_nonces(iv: bytes) -> Iterator[bytes]:
    """Return the AEAD nonces of one direction, 12 bytes each, without end."""
    counters = itertools.chain.from_iterable(itertools.repeat(range(CHUNK_COUNTER_LIMIT)))
    return map(_nonce, counters, itertools.repeat(iv[2:12]))
