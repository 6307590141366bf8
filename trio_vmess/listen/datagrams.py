"""UDP ports that are open until cancelled."""

import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import NoReturn

import trio

BindDatagrams = Callable[[int], socket.socket]
"""Binds a UDP port; raises `OSError` with a message for the operator."""

ServeDatagrams = Callable[[socket.socket], Awaitable[None]]
"""Serves a bound UDP socket until cancelled, and closes it."""


class DatagramListener:
    """A set of UDP ports.

    Args:
        find_ports: returns the ports; called when they are opened, because they may be those that
            the system has chosen for TCP.
        bind: opens a port.
        serve: serves a port; its flows end when it is cancelled.
    """

    def __init__(
        self, find_ports: Callable[[], Iterable[int]], bind: BindDatagrams, serve: ServeDatagrams
    ) -> None:
        self._find_ports = find_ports
        self._bind = bind
        self._serve = serve

    async def serve(
        self,
        *,
        connections: trio.Nursery,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> NoReturn:
        """Open all ports and serve them until cancelled; all are closed when this ends.

        Args:
            connections: not used, as datagrams have no connections that could outlive their port.
            task_status: `started` is called when all ports are open.

        Raises:
            OSError: a port cannot be opened; those opened before it have been closed.
            trio.Cancelled: from outside.
        """
        del connections
        sockets: list[socket.socket] = []
        try:
            for port in self._find_ports():
                sockets.append(self._bind(port))  # noqa: PERF401  (those before a failure are closed)
            async with trio.open_nursery() as nursery:
                for sock in sockets:
                    nursery.start_soon(self._serve, sock, name="datagrams")
                task_status.started()
                await trio.sleep_forever()
        finally:
            for sock in sockets:
                sock.close()
