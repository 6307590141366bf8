"""A range of ports that are all open until cancelled."""

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

_MINUTES_MAX: Final = 255
"""What an offer of a permanent port is valid for: the largest value of its one-byte field."""


class PermanentListener(Generic[InboundT_co]):
    """All ports of a range, or one address.

    Args:
        ports: the range; a single 0 for any free port, or for a Unix socket.
        bind: opens a port.
        make_handler: called once for each port; may return the same handler for all, as V2Ray has
            one set of users for the whole range.
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
        """The open ports."""
        return [each.listener.port for each in self._open_ports]

    async def serve(
        self,
        *,
        connections: trio.Nursery,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> NoReturn:
        """Open all ports and serve them until cancelled; all are closed when this ends.

        Args:
            connections: the nursery for connections; must outlive this task.
            task_status: `started` is called when all ports are open.

        Raises:
            OSError: a port cannot be opened; those opened before it have been closed.
            trio.Cancelled: from outside; connections that were accepted continue.
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
        return offer_switch(self._open_ports, minutes=_MINUTES_MAX, entropy=self._entropy)
