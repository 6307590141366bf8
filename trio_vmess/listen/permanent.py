"""A range of ports that is open as a whole, for as long as the node runs."""

from collections.abc import Iterable
from typing import Final, Generic, NoReturn

import trio

from trio_vmess.core import Entropy
from trio_vmess.listen.open_port import (
    Bind,
    InboundT_co,
    MakeHandler,
    OpenPort,
    SwitchOffer,
    offer_switch,
    open_port,
)

_FOR_EVER: Final = 255
"""Minutes: the most that the wire can say."""


class PermanentListener(Generic[InboundT_co]):
    """All ports of a range, or one address.

    Args:
        ports: a lone 0 for any free port, or for a Unix socket.
        bind: opens a port.
        make_handler: is asked once for each port, and may give all of them the same answer: V2Ray
            has one set of users for the whole range.
        entropy: chooses among the ports when a client is redirected here.
    """

    def __init__(
        self,
        ports: Iterable[int],
        bind: Bind,
        make_handler: MakeHandler[InboundT_co],
        *,
        entropy: Entropy,
    ) -> None:
        self._ports = tuple(ports)
        self._bind = bind
        self._make_handler = make_handler
        self._entropy = entropy
        self._open_ports: list[OpenPort[InboundT_co]] = []

    @property
    def ports(self) -> list[int]:
        """The ports that are open now."""
        return [each.listener.port for each in self._open_ports]

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
                self._open_ports.append(open_port(port, self._bind, self._make_handler))
            async with trio.open_nursery() as nursery:
                for each in self._open_ports:
                    nursery.start_soon(each.serve, connections, name="listener")
                task_status.started()
                await trio.sleep_forever()
        finally:
            for each in self._open_ports:
                each.close()
            self._open_ports.clear()

    def offer_switch(self) -> SwitchOffer[InboundT_co] | None:
        """Choose a port to redirect a client to; see `DynamicListener.offer_switch`."""
        return offer_switch(self._open_ports, minutes=_FOR_EVER, entropy=self._entropy)
