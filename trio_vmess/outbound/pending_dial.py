"""A connection that is on its way, for as many as wait for it."""

import trio

from trio_vmess.errors import DialError, DialFailure


class PendingDial:
    """Tells those who wait how a dial has ended.

    Attributes:
        waiting_count: how many wait.
    """

    def __init__(self) -> None:
        self.waiting_count = 0
        self._ended = trio.Event()
        # Not the exception: it refers to the frames that it has passed, and one of them to this.
        self._failure: tuple[str, DialFailure] | None = None

    async def wait(self) -> None:
        """Wait until the connection has come, or whoever dials has given up.

        Raises:
            DialError: it will not come.
        """
        self.waiting_count += 1
        try:
            await self._ended.wait()
        finally:
            self.waiting_count -= 1
        if self._failure is not None:
            text, reason = self._failure
            raise DialError(text, reason=reason)

    def fail(self, why: DialError) -> None:
        """Have all who wait fail for this reason, once `end` is called."""
        self._failure = str(why), why.reason

    def end(self) -> None:
        """Let all who wait go on."""
        self._ended.set()
