"""Tasks that outlive the flows which have needed them first."""

from typing import NoReturn

import trio


class Background:
    """A nursery for connections that flows share: a `Service`.

    Args:
        fault: what the error says if somebody needs the nursery while the service does not run.
    """

    def __init__(self, fault: str) -> None:
        self._fault = fault
        self._nursery: trio.Nursery | None = None

    @property
    def is_running(self) -> bool:
        """Whether tasks can be started."""
        return self._nursery is not None

    @property
    def nursery(self) -> trio.Nursery:
        """Where tasks are started.

        Raises:
            RuntimeError: the service does not run.
        """
        if self._nursery is None:
            raise RuntimeError(self._fault)
        return self._nursery

    def check_running(self) -> None:
        """Raise what `nursery` would raise, if the service does not run."""
        if self._nursery is None:
            raise RuntimeError(self._fault)

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
