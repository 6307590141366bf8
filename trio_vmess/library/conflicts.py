"""Two tasks that do the same at once: Trio's streams refuse the second."""

from types import TracebackType

import trio


class ConflictDetector:
    """Lets one task in at a time, and refuses the second instead of making it wait.

    Args:
        message: of the `trio.BusyResourceError`.

    Attributes:
        is_held: whether a task is in.
    """

    def __init__(self, message: str) -> None:
        self._message = message
        self.is_held = False

    def __enter__(self) -> None:
        if self.is_held:
            raise trio.BusyResourceError(self._message)
        self.is_held = True

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.is_held = False
