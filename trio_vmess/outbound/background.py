"""The tasks of an outbound that outlive the flows which have needed them first."""

from typing import NoReturn

import trio


class Background:
    """A nursery for connections that flows share: a `Service`.

    Args:
        tag: of the outbound; may be empty.
    """

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._nursery: trio.Nursery | None = None

    @property
    def nursery(self) -> trio.Nursery:
        """Where tasks are started.

        Raises:
            RuntimeError: the service does not run.
        """
        if self._nursery is None:
            raise RuntimeError(f"the shared connections of outbound {self._tag!r} do not run")
        return self._nursery

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Run tasks until cancelled; see `Service.run`."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None
