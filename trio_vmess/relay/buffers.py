"""The buffers that all connections share."""

from typing import Final

READ_SIZE: Final = 512 * 1024
"""How much one read takes at most: a relay moved 1.35 GB/s with 64 KiB, and 1.85 with this."""

HEADROOM: Final = 192 * 1024
"""What codecs may add to a read: half a chunk from before, sizes, tags, padding, a header."""


class SharedBuffers:
    """One set of buffers for all connections of a Trio run.

    Between a read and the write of its result there is no checkpoint, so nobody else looks at them.
    An idle connection has no buffer of its own, and no page is touched that was not touched before.

    Attributes:
        received: what came from the source.
        opened: the payload in it.
        sealed: that payload, as the sink wants it.
    """

    __slots__ = ("opened", "received", "sealed")

    def __init__(self) -> None:
        self.received = memoryview(bytearray(READ_SIZE))
        self.opened = memoryview(bytearray(READ_SIZE + HEADROOM))
        self.sealed = memoryview(bytearray(READ_SIZE + 2 * HEADROOM))
