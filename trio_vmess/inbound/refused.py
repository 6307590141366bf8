"""Refused connections: read in silence, slowly, and not too many of them.

To a stranger, every refusal looks alike: whatever is sent is read, nothing is answered, and the
connection is closed when the peer closes it or when the handshake deadline is over. Reading as fast
as a stranger can send would take the processor from honest users, and holding every stranger would
take the memory. So the first bytes are read at once, as those of any request, and what comes behind
them at a few reads a second; the kernel is told to hold little. Beyond a number, in all and for
each source, the connections that were refused first are closed.

One task reads all of them; see `inbound.silent_reader`. What it cannot read, such as a transport
that is not a socket, is held in the same way by its own task.
"""

import ipaddress
import math
from collections import OrderedDict
from typing import Final, TypeAlias

import trio

from trio_vmess.contracts import Transport
from trio_vmess.inbound.silent_reader import (
    FREE_SIZE,
    READ_PAUSE,
    READ_SIZE,
    RECEIVE_BUFFER_SIZE,
    Silenced,
    SilentReader,
)
from trio_vmess.transport import SocketTransport

HELD_MAX: Final = 2048
"""Refused connections that are held in silence, in all."""

HELD_PER_SOURCE_MAX: Final = 64
"""The same for one source: an IPv4 address, or the /64 network of an IPv6 address."""

_SOURCE_PREFIX: Final = 64

_Held: TypeAlias = trio.CancelScope | Silenced
"""A connection that is held, by the task that has accepted it or by the reader."""


class SlowReader:
    """Reads a connection at the pace of strangers: the first bytes at once, the rest slowly.

    Whoever reads it for a while hands it on, so that no change of hands can be seen from outside.

    Args:
        transport: is not closed.
    """

    __slots__ = ("_free", "_next_read", "_transport")

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._free = FREE_SIZE
        self._next_read = -math.inf
        transport.limit_receive_buffer(RECEIVE_BUFFER_SIZE)

    async def receive_into(self, buffer: memoryview) -> int:
        """See `Transport.receive_into`; a cancellation loses nothing, and no time either."""
        if self._free < 0:
            await trio.sleep_until(self._next_read)
        size = await self._transport.receive_into(buffer[:READ_SIZE])
        self._free -= size
        if size:
            self._next_read = trio.current_time() + READ_PAUSE
        return size

    def release(self) -> None:
        """Lift the limit of what the kernel holds: the peer is no stranger."""
        self._transport.limit_receive_buffer(None)


class RefusedConnections:
    """The refused connections of one node: a `Service`.

    Args:
        held_max: connections that are held in all.
        held_per_source_max: connections that are held of one source.
    """

    def __init__(
        self, *, held_max: int = HELD_MAX, held_per_source_max: int = HELD_PER_SOURCE_MAX
    ) -> None:
        self._held_max = held_max
        self._held_per_source_max = held_per_source_max
        # In the order of refusal: the first is the oldest.
        self._held: OrderedDict[_Held, str] = OrderedDict()
        self._by_source: dict[str, OrderedDict[_Held, None]] = {}
        self._reader = SilentReader(self._remove)

    def __len__(self) -> int:
        return len(self._held)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read the connections that were taken over, until cancelled; see `Service.run`."""
        await self._reader.run(task_status=task_status)

    def take_over(self, transport: Transport, source: str, deadline: float) -> bool:
        """Take a refused connection from its task, if possible.

        It is read in silence and closed when its peer ends it, when the deadline is over, or when
        others take its place.

        Args:
            transport: closed for its task from now on, if it was taken.
            source: where it comes from, as `host:port`.
            deadline: by Trio's clock.

        Returns:
            Whether it was taken. Otherwise `hold` does the same in the caller's task.
        """
        if not self._reader.is_running or not isinstance(transport, SocketTransport):
            return False
        transport.limit_receive_buffer(RECEIVE_BUFFER_SIZE)
        connection = Silenced(transport.detach(), source, deadline)
        self._add(connection, source_key(source))
        self._reader.add(connection)
        return True

    async def hold(self, reader: SlowReader, source: str, buffer: memoryview) -> None:
        """Read a refused connection in silence until its peer ends it, or others take its place.

        Args:
            reader: reads it.
            source: where it comes from, as `host:port`.
            buffer: where reads go to; what is read is not looked at.

        Raises:
            trio.BrokenResourceError: the connection was reset.
            trio.Cancelled: the handshake deadline is over.
        """
        key = source_key(source)
        with trio.CancelScope() as scope:
            self._add(scope, key)
            try:
                while await reader.receive_into(buffer):
                    pass
            finally:
                self._remove(scope)

    def _add(self, held: _Held, key: str) -> None:
        same = self._by_source.get(key, ())
        if len(same) >= self._held_per_source_max:
            self._end(next(iter(same)))
        elif len(self._held) >= self._held_max:
            self._end(next(iter(self._held)))
        self._held[held] = key
        self._by_source.setdefault(key, OrderedDict())[held] = None

    def _end(self, held: _Held) -> None:
        if isinstance(held, Silenced):
            self._reader.end(held)
        else:
            # Not later, when the task of the connection has its turn.
            self._remove(held)
            held.cancel()

    def _remove(self, held: _Held) -> None:
        key = self._held.pop(held, None)
        if key is None:
            return
        same = self._by_source[key]
        del same[held]
        if not same:
            del self._by_source[key]


def source_key(source: str) -> str:
    """Return what is counted as one source.

    Args:
        source: `host:port`, `[host]:port`, or nothing for a Unix socket.

    Returns:
        An IPv4 address as it is; of an IPv6 address its /64 network, which one machine may have.
    """
    host = source.rpartition(":")[0]
    if not host.startswith("["):
        return host
    address = ipaddress.IPv6Address(host[1:-1])
    return str(ipaddress.IPv6Network((address, _SOURCE_PREFIX), strict=False))
