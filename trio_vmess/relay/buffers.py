"""The buffers that all connections share."""

import mmap
import sys
from typing import Final

READ_SIZE: Final = 512 * 1024
"""Bytes of one read at most. A relay moved 1.35 GB/s with 64 KiB, and 1.85 GB/s with this size."""

HEADROOM: Final = 192 * 1024
"""Bytes that codecs may add to one read: a kept partial chunk, lengths, tags, padding, a header."""


class SharedBuffers:
    """One set of buffers for all connections of a Trio run.

    Between a read and the write of its result there is no checkpoint, so no other task uses them in
    between. An idle connection holds no buffer, and a busy one touches only pages in use already.

    Attributes:
        received: bytes read from the source.
        opened: the payload that the source's opener found in them.
        sealed: that payload, encoded by the sink's sealer.
        little_reads: how many reads of all connections took little; see `relay.pace`.
    """

    __slots__ = ("little_reads", "opened", "received", "sealed")

    def __init__(self) -> None:
        self.received = _reserve(READ_SIZE)
        self.opened = _reserve(READ_SIZE + HEADROOM)
        self.sealed = _reserve(READ_SIZE + 2 * HEADROOM)
        self.little_reads = 0


def _reserve(size: int) -> memoryview:
    """Return zeros that take no memory before they are used; a bytearray would write them."""
    if sys.platform == "win32":
        return memoryview(mmap.mmap(-1, size))
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
