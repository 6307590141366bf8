"""The order in which the parts of a node start and end.

Services run for as long as anything does: a connection that is still open when the node stops may
need them. Listeners end first, then connections have some seconds to end by themselves.

    services     |=====================================|
    listeners       |===================|
    connections       |=============================|
                                        ^ stop     ^ the last connection, or the grace is over
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
import trio


class Service(Protocol):
    """A part of a node with a task of its own, such as the control socket or a pool of carriers."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, or until there is nothing left to do.

        Args:
            task_status: is told when others may rely on the service.
        """
        ...


class ListeningService(Protocol):
    """A part of a node that accepts connections."""

    async def serve(
        self,
        *,
        connections: trio.Nursery,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen until cancelled.

        Args:
            connections: where accepted connections run; they outlive this task.
            task_status: is told when everything is open.
        """
        ...


@attrs.frozen(kw_only=True)
class Lifecycle:
    """The parts of one node.

    Attributes:
        services: are started first, in their order, and end last.
        listeners: are started then, in their order.
    """

    services: Sequence[Service]
    listeners: Sequence[ListeningService]

    async def run(
        self, stop: trio.Event, *, on_started: Callable[[], None], on_stopping: Callable[[], float]
    ) -> None:
        """Run everything until `stop` is set and the connections have ended.

        Args:
            stop: ends listening.
            on_started: is called when everything has started.
            on_stopping: is called when nothing listens any more; returns the seconds after which
                the remaining connections are cancelled.

        Raises:
            OSError: something cannot be started, in an exception group; nothing runs then.
            trio.Cancelled: from outside.
        """
        async with trio.open_nursery() as services:
            for service in self.services:
                await services.start(service.run, name=type(service).__name__)
            async with trio.open_nursery() as connections:
                async with trio.open_nursery() as listeners:
                    for listener in self.listeners:
                        # A closure, because `start` hands on `task_status` alone.
                        async def serve(
                            *,
                            task_status: trio.TaskStatus[None],
                            listener: ListeningService = listener,
                        ) -> None:
                            await listener.serve(connections=connections, task_status=task_status)

                        await listeners.start(serve, name=type(listener).__name__)
                    on_started()
                    await stop.wait()
                    listeners.cancel_scope.cancel()
                connections.cancel_scope.deadline = trio.current_time() + on_stopping()
            services.cancel_scope.cancel()
