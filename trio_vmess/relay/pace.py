"""How much a relay reads at a time: much, but less while others exchange little things.

Whatever arrives for another connection waits until the pump that runs has encoded and written what
it has read. Large reads cost the least CPU, and beside a keystroke that is a poor bargain. So small
reads are counted for all relays of a run, and whoever sees that others made some reads less for a
while. Downloads beside each other count none, and keep their large reads.
"""

from typing import Final

import trio

from trio_vmess.relay.buffers import READ_SIZE, SharedBuffers

LITTLE_SIZE: Final = 4 * 1024
"""Bytes: a smaller read is a little thing, unless it follows a larger one, whose rest it may be."""

SHORT_READ_SIZE: Final = 60 * 1024
"""Bytes of a read beside little things.

Below 64 KiB, a socket's transport passes a checkpoint before every read, not before every second.
Short reads cost a transfer some 10 % more CPU, and shorter ones 20 % (docs/performance-tables.md).
"""

HOLD: Final = 0.1
"""Seconds for which reads stay short: the answer to a keystroke should still find them so.

Reads that grew again at once were large before the next round trip on a busy machine.
"""


class Pace:
    """The read size of both pumps of one relay.

    Args:
        buffers: count the little reads of all relays.
    """

    __slots__ = ("_buffers", "_own", "_seen", "_until")

    def __init__(self, buffers: SharedBuffers) -> None:
        self._buffers = buffers
        self._own = 0
        self._seen = buffers.little_reads
        self._until = 0.0  # on Trio's clock; 0 while reads are large

    def note_little(self) -> None:
        """Count a little read of this relay."""
        self._buffers.little_reads += 1
        self._own += 1

    def limit(self) -> int:
        """Return how many bytes the next read may take."""
        others = self._buffers.little_reads - self._own
        if others != self._seen:
            self._seen = others
            self._until = trio.current_time() + HOLD
        elif self._until and trio.current_time() >= self._until:
            self._until = 0.0
        return SHORT_READ_SIZE if self._until else READ_SIZE
