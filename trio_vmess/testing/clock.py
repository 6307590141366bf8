"""The time that a fake server judges requests by."""

import time


class FakeClock:
    """The real time, and an offset that a test sets: call it for UTC seconds.

    A client's timestamp may be off by two minutes. `clock.offset = 3600` makes every client's clock
    an hour slow, as the server sees it.

    Attributes:
        offset: seconds, which may be negative.
    """

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset

    def __call__(self) -> int:
        """Return UTC seconds."""
        return int(time.time()) + self.offset
