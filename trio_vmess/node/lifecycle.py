"""The order in which the parts of a node start and stop.

Services start first and stop last, because a connection that is still open when the node stops may
need them. Listeners stop first; then connections have a grace period to end by themselves.

    services     |=====================================|
    listeners       |===================|
    connections       |=============================|
                                        ^ stop     ^ last connection ended, or grace period over
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
import trio


class Service(Protocol):
    """A part of a node with a task of its own, such as the control socket."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, or until there is nothing left to do.

        Args:
            task_status: `started` is called when the service is ready.
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
        """Accept connections until cancelled.

        Args:
            connections: where accepted connections run; they outlive this task.
            task_status: `started` is called when all ports are open.
        """
        ...


@attrs.frozen(kw_only=True)
class Lifecycle:
    """The parts of one node.

    Attributes:
        services: started first, one after another in this order; stopped last.
        listeners: started after them, one after another in this order; stopped first.
    """

    services: Sequence[Service]
    listeners: Sequence[ListeningService]

    async def run(
        self, stop: trio.Event, *, on_started: Callable[[], None], on_stopping: Callable[[], float]
    ) -> None:
        """Run everything until `stop` is set and the connections have ended.

        Args:
            stop: the event that stops the listeners.
            on_started: called when everything has started.
            on_stopping: called when the listeners have stopped; returns the grace period in
                seconds, after which the remaining connections are cancelled.

        Raises:
            OSError: a part cannot be started, in an exception group; the others are cancelled.
            trio.Cancelled: from outside.
        """
        # The nesting is the order of the diagram: a nursery's block ends only when its tasks have.
        async with trio.open_nursery() as services:
            for service in self.services:
                await services.start(service.run, name=type(service).__name__)
            async with trio.open_nursery() as connections:
                async with trio.open_nursery() as listeners:
                    for listener in self.listeners:
                        # `start` adds only `task_status`, and `connections` is keyword-only.
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
                # Set while the block is still open: leaving it waits for the connections.
                connections.cancel_scope.deadline = trio.current_time() + on_stopping()
            # Services run until cancelled, so this block would never end by itself.
            services.cancel_scope.cancel()
