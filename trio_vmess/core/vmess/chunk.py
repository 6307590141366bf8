"""Chunks: how a body is cut, and what each chunk takes from the size stream.

    [ size field ][ sealed payload ][ padding ]

The size counts sealed payload and padding, not itself. Sealed payload is the payload and its
overhead: none has nothing, CFB a checksum in front, the AEADs a tag behind.

For each chunk, in this order: the padding length (with P) and the mask of the size (with M) are the
next two numbers of a SHAKE-128 stream over the direction's IV, the *size stream*. Both sides take
them when they come to the size field, that of the terminator included. So a writer must know that a
chunk fits before it takes them, and a reader cannot go on after an impossible size.

The nonce is a 16-bit counter before ten bytes of the IV. The counter wraps to 0 after 65 536
chunks in every implementation, and so it does here.

With A, sizes are sealed with the *request's* key and IV in both directions, under a counter of
their own, and what is sealed is the size less the tag.
"""

import array
import itertools
import struct
import sys
from collections.abc import Iterable, Iterator
from typing import Final

from trio_vmess.core.crypto import Aead, shake128, shake128_reader
from trio_vmess.core.vmess.constants import CHUNK_COUNTER_LIMIT, CHUNK_PADDING_LIMIT
from trio_vmess.core.vmess.security import Framing

SizeStream = Iterator[tuple[int, int]]
"""For each chunk: its padding length, and the mask of its size (0 for what the options lack)."""

LengthCipher = tuple[Aead, Iterator[bytes]]
"""What seals and opens sizes (option A): a cipher, and its nonces from `count_nonces`."""

_FIRST_SQUEEZE: Final = 168
"""One block of SHAKE-128: enough for most short connections."""
_SQUEEZE: Final = 2048
_NUMBER_SIZE: Final = 2

_PADDINGS: Final = bytes(low & (CHUNK_PADDING_LIMIT - 1) for low in range(256))
"""From the low byte of a number to a padding length."""

_NONCE_SIZE: Final = 12
_NONCE_BLOCK: Final = 128
"""Nonces that are made at once: for a third less than one by one, when there are so many."""
_FIRST_NONCES: Final = 256
_LOW_BYTES: Final = bytes(range(256))
_nonce = struct.Struct(">H10s").pack
_part_nonces = struct.Struct(f"{_NONCE_SIZE}s" * _NONCE_BLOCK).unpack


def _squeeze(iv: bytes) -> Iterator[bytes]:
    # hashlib can squeeze only once, but at a quarter of the cost of a reader; short connections end
    # before they need more.
    yield shake128(iv, _FIRST_SQUEEZE)
    read = shake128_reader(iv, skip=_FIRST_SQUEEZE)
    while True:
        yield read(_SQUEEZE)


def _read_numbers(squeezed: bytes) -> "array.array[int]":
    """Return big-endian 16-bit numbers, packed: as int objects they would weigh 18 times more."""
    numbers = array.array("H", squeezed)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def _read_paddings(squeezed: bytes) -> bytes:
    # The limit is a power of two, so the low byte alone decides.
    return squeezed[1::_NUMBER_SIZE].translate(_PADDINGS)


def _read_both(squeezed: bytes) -> SizeStream:
    """Return pairs: of two numbers, the first makes a padding length, the second is a mask."""
    return zip(_read_paddings(squeezed)[::2], _read_numbers(squeezed)[1::2], strict=True)


def build_size_stream(iv: bytes, framing: Framing) -> SizeStream:
    """Return padding length and mask for the chunks of one direction, a pair each, without end.

    Args:
        iv: 16 bytes, the direction's.
        framing: which of the two numbers are taken from SHAKE-128 at all; those that are not are 0.
    """
    # Iterators of C only: `next` on them runs no Python, which a generator would for each chunk.
    from_iterable = itertools.chain.from_iterable
    if not (framing.padded or framing.masked):
        return itertools.repeat((0, 0))
    if not framing.masked:
        return zip(from_iterable(map(_read_paddings, _squeeze(iv))), itertools.repeat(0))
    if not framing.padded:
        return zip(itertools.repeat(0), from_iterable(map(_read_numbers, _squeeze(iv))))
    return from_iterable(map(_read_both, _squeeze(iv)))


def count_nonces(iv: bytes) -> Iterator[bytes]:
    """Return the AEAD nonces of one direction, 12 bytes each, without end."""
    return itertools.chain.from_iterable(_nonce_blocks(iv[2:12]))


def _nonce_blocks(tail: bytes) -> Iterator[Iterable[bytes]]:
    """Yield nonces in blocks: the first singly as they are needed, later ones many at a time."""
    yield map(_nonce, range(_FIRST_NONCES), itertools.repeat(tail))
    # One buffer for all blocks: only the counters in it change.
    block = bytearray(_nonce(0, tail) * _NONCE_BLOCK)
    starts = range(0, CHUNK_COUNTER_LIMIT, _NONCE_BLOCK)
    rounds = itertools.chain.from_iterable(itertools.repeat(starts))
    for start in itertools.islice(rounds, _FIRST_NONCES // _NONCE_BLOCK, None):
        low = start & 0xFF
        block[0::_NONCE_SIZE] = bytes((start >> 8,)) * _NONCE_BLOCK
        block[1::_NONCE_SIZE] = _LOW_BYTES[low : low + _NONCE_BLOCK]
        yield _part_nonces(block)
