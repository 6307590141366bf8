"""Whether a server ends its bodies with a terminator, learned from those that it has ended.

V2Ray, Xray and this project send an empty chunk when a body is complete, so a connection that ends
without one was cut: the server was killed, or something between has closed it. sing-box never sends
one. Nothing in the protocol says who is at the other end.
"""

from typing import Final

CONFIDENCE: Final = 3
"""So many bodies in a row without a terminator mean that the server does not send any more: it may
have been replaced by another implementation."""


class TerminatorHabit:
    """What is known of one server."""

    __slots__ = ("_confidence",)

    def __init__(self) -> None:
        self._confidence = 0

    def note_terminator(self) -> None:
        """Learn that a body has ended with a terminator."""
        self._confidence = CONFIDENCE

    def is_missed(self) -> bool:
        """Learn that a body has ended without one; return whether it was cut, for all we know."""
        if not self._confidence:
            return False
        self._confidence -= 1
        return True
