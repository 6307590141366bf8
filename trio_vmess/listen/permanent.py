"""A range of ports that is open as a whole, for as long as the node runs."""

from collections.abc import Iterable
from typing import Final, NoReturn

import trio

from trio_vmess.core import Entropy
from trio_vmess.core.vmess import ReplayCache, SwitchAccount, UserRegistry
from trio_vmess.listen.worker import (
    Bind,
    MakeInbound,
    Worker,
    offer,
    open_worker,
    registries_of,
    replays_of,
)

_FOR_EVER: Final = 255
"""Minutes: the most that the wire can say."""


class PermanentListener:
    """All ports of a range, or one address.

    Args:
        ports: a lone 0 for any free port, or for a Unix socket.
        bind: opens a port.
        make_inbound: is asked once for each port, and may give all of them the same answer: V2Ray
            has one set of users for the whole range.
        entropy: chooses among the ports when users are asked over.
    """

    def __init__(
        self, ports: Iterable[int], bind: Bind, make_inbound: MakeInbound, *, entropy: Entropy
    ) -> None:
        self._ports = tuple(ports)
        self._bind = bind
        self._make_inbound = make_inbound
        self._entropy = entropy
        self._workers: list[Worker] = []

    @property
    def ports(self) -> list[int]:
        """The ports that are open now."""
        return [worker.listener.port for worker in self._workers]

    @property
    def registries(self) -> list[UserRegistry]:
        """The user registries behind the ports that are open now."""
        return registries_of(self._workers)

    @property
    def replays(self) -> list[ReplayCache]:
        """The replay caches behind the ports that are open now."""
        return replays_of(self._workers)

    async def serve(
        self,
        *,
        connections: trio.Nursery,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> NoReturn:
        """Open all ports and serve them for ever; all are closed when this ends.

        Args:
            connections: where connections run; to outlive this task.
            task_status: is told when all ports are open.

        Raises:
            OSError: a port cannot be opened; none is open then.
            trio.Cancelled: from outside; connections that were accepted go on.
        """
        try:
            for port in self._ports:
                self._workers.append(open_worker(port, self._bind, self._make_inbound))
            async with trio.open_nursery() as nursery:
                for worker in self._workers:
                    nursery.start_soon(worker.serve, connections)
                task_status.started()
                await trio.sleep_forever()
        finally:
            for worker in self._workers:
                worker.listener.close()
            self._workers.clear()

    def switch_account(self, email: str) -> SwitchAccount | None:
        """Ask a user over to one of the ports; see `DynamicListener.switch_account`."""
        return offer(self._workers, email, minutes=_FOR_EVER, entropy=self._entropy)
