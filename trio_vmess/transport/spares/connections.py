"""Connections to servers that are open before anybody asks for them.

The round trips of TCP's handshake, and of those of the layers above it, are paid beforehand:
whoever takes a spare sends at once. Each spare has a task that reads from it while it waits. That
is how its end is noticed, in whatever layer it comes; and what the layers exchange among themselves
meanwhile (tickets of TLS, pings of WebSocket) is dealt with.
"""

import logging
from collections import deque
from typing import Final, NoReturn

import attrs
import trio

from trio_vmess.contracts import Connect, Transport
from trio_vmess.core import Host, format_endpoint
from trio_vmess.errors import DialError, RemoteProtocolError
from trio_vmess.transport.background import Background

log: Final = logging.getLogger("trio_vmess.transport.spares")

READ_SIZE: Final = 4096
"""Bytes that a watching task reads at a time. They are thrown away: no server speaks first."""


@attrs.define(eq=False)
class _Spare:
    """A connection that waits to be taken.

    Attributes:
        transport: the connection; closed by its task, unless it was given away.
        watch: the scope in which the task reads from it.
        is_wanted: somebody takes it.
        is_given: that one owns it now.
        released: the task does not use it any more.
    """

    transport: Transport
    watch: trio.CancelScope
    is_wanted: bool = False
    is_given: bool = False
    released: trio.Event = attrs.Factory(trio.Event)


@attrs.define(eq=False)
class _Server:
    """The spares to one server.

    Attributes:
        opening: how many are on their way.
        ready: those that may be taken, the oldest first.
    """

    opening: int = 0
    ready: deque[_Spare] = attrs.Factory(deque[_Spare])


class SpareConnections:
    """Keeps connections open for whoever connects next: a `Service`, whose `connect` dials.

    They are opened after somebody has connected to the same server, and only while the service
    runs. One that dies in the very moment in which it is used is an error like that of any other
    connection: nobody can tell what the server has done with the bytes that were sent, so they are
    never sent a second time.

    Args:
        connect: opens connections, with all layers that need no payload.
        count: spares for each server, those on their way included.
        keep: seconds from the beginning of its dial for which a spare may be taken.
        tag: the outbound's, for the log; may be empty.
    """

    def __init__(self, connect: Connect, *, count: int, keep: float, tag: str = "") -> None:
        self._connect = connect
        self._count = count
        self._keep = keep
        self._tag = tag or "-"
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._servers: dict[tuple[Host, int], _Server] = {}
        self._background = Background("the spare connections do not run")

    @property
    def ready_count(self) -> int:
        """How many spares may be taken, of all servers."""
        return sum(len(each.ready) for each in self._servers.values())

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Run the tasks of the spares until cancelled; see `Service.run`."""
        await self._background.run(task_status=task_status)

    async def connect(self, host: Host, port: int) -> Transport:
        """Return a living spare, or dial; see `Connect`. The next spares are opened meanwhile.

        Raises:
            DialError: there is no spare, and the server cannot be reached.
        """
        transport = await self._take(host, port)
        if transport is None:
            transport = await self._connect(host, port)
        self._refill(host, port)
        return transport

    # Taking -------------------------------------------------------------------------------------

    async def _take(self, host: Host, port: int) -> Transport | None:
        server = self._servers.get((host, port))
        if server is None or not server.ready:
            return None
        # In this turn of the loop, the system is asked for all events: the task of a spare whose
        # end has arrived already is going to run, and no cancellation can keep it from reading.
        await trio.lowlevel.checkpoint()
        while server.ready:
            spare = server.ready.popleft()
            spare.is_wanted = True
            spare.watch.cancel()
            # Shielded, so that somebody owns the spare; its task only has to stop reading.
            with trio.CancelScope(shield=True):
                await spare.released.wait()
            if spare.is_given:
                self._log("spare.taken tag=%s server=%s ready=%d", host, port)
                return spare.transport
        return None

    # Opening ------------------------------------------------------------------------------------

    def _refill(self, host: Host, port: int) -> None:
        if not self._background.is_running:
            return
        start_soon = self._background.nursery.start_soon
        server = self._servers.setdefault((host, port), _Server())
        while server.opening + len(server.ready) < self._count:
            server.opening += 1
            start_soon(self._run_spare, server, host, port, name="spare connection")

    async def _run_spare(self, server: _Server, host: Host, port: int) -> None:
        """Open a spare, and keep it until it is taken, has ended, or is too old."""
        deadline = trio.current_time() + self._keep
        transport: Transport | None = None
        try:
            try:
                with trio.move_on_at(deadline):
                    transport = await self._connect(host, port)
            finally:
                server.opening -= 1
            if transport is not None:
                spare = _Spare(transport, trio.CancelScope(deadline=deadline))
                reason = await self._hold(spare, server, host, port)
            else:
                reason = "it could not be opened in time"
        except DialError as exc:
            reason = str(exc)
        except Exception:
            # One that is not there harms nobody; an error that ends the node does.
            log.exception("spare.bug tag=%s server=%s", self._tag, format_endpoint(host, port))
            return
        finally:
            is_empty = not server.opening and not server.ready
            # While the last ones of a server were closed, others may have been opened.
            if is_empty and self._servers.get((host, port)) is server:
                del self._servers[host, port]
        if reason:
            self._log("spare.closed tag=%s reason=%r server=%s ready=%d", host, port, reason)

    async def _hold(self, spare: _Spare, server: _Server, host: Host, port: int) -> str:
        """Offer a spare; say why it was closed, or nothing if it was taken."""
        server.ready.append(spare)
        self._log("spare.opened tag=%s server=%s ready=%d", host, port)
        reason = "unused"
        try:
            with spare.watch:
                reason = await self._watch(spare.transport)
            spare.is_given = spare.is_wanted and spare.watch.cancelled_caught
            return "" if spare.is_given else reason
        finally:
            if not spare.is_wanted:
                server.ready.remove(spare)
            spare.released.set()
            if not spare.is_given:
                await spare.transport.aclose()

    async def _watch(self, transport: Transport) -> str:
        """Wait for the end of a connection; say how it came."""
        try:
            size = await transport.receive_into(self._buffer)
        except (trio.BrokenResourceError, RemoteProtocolError) as exc:
            return str(exc)
        return "the server has sent something unasked" if size else "the server has closed it"

    def _log(self, template: str, host: Host, port: int, *reason: str) -> None:
        # Once or twice for each connection of a program: most nodes do not log it.
        if log.isEnabledFor(logging.DEBUG):
            server = format_endpoint(host, port)
            log.debug(template, self._tag, *reason, server, self.ready_count)
