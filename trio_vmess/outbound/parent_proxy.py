"""Parent proxies: which one is next, connecting to it, and negotiating with it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

import attrs
import trio

from trio_vmess.contracts import Connect, Transport
from trio_vmess.core import Host, format_endpoint
from trio_vmess.errors import DialError, DialFailure, RemoteProtocolError

NEGOTIATION_TIMEOUT: Final = 30.0
"""Seconds for the negotiation, in which the parent proxy has to dial the destination."""

READ_SIZE: Final = 4096
"""Bytes that one read of its reply takes; what follows the reply is early data."""

_T = TypeVar("_T")


@attrs.frozen(kw_only=True)
class ParentProxy:
    """A proxy that connections go through.

    Attributes:
        host: its address or name.
        port: 1 to 65535.
        user: None for no authentication.
        password: goes with `user`.
    """

    host: Host
    port: int
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)

    def __str__(self) -> str:
        return format_endpoint(self.host, self.port)


class Negotiation(Protocol):
    """The part of a sans-IO client that sends and receives bytes."""

    def data_to_send(self) -> bytes:
        """Take what is to be sent."""
        ...

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Store what was received."""
        ...


class ParentProxies:
    """Takes servers in turn; one that cannot be reached is replaced by the next.

    Args:
        servers: one or more.
        connect: opens transports to them.

    Raises:
        ValueError: `servers` is empty.
    """

    def __init__(self, servers: Sequence[ParentProxy], connect: Connect) -> None:
        if not servers:
            raise ValueError("servers: expected at least one parent proxy")
        self._servers = tuple(servers)
        self._connect = connect
        self._next = 0

    async def open(
        self, negotiate: Callable[[ParentProxy, Transport], Awaitable[_T]]
    ) -> tuple[Transport, _T]:
        """Connect to the next server that can be reached, and negotiate with it.

        Args:
            negotiate: runs the protocol's handshake. It may raise `RemoteProtocolError` for a
                server that does not speak the protocol, and `DialError` for one that refuses.

        Returns:
            The connection, and what `negotiate` returned.

        Raises:
            DialError: no server could be reached, or the negotiation failed or timed out.
            trio.Cancelled: from outside; nothing stays open.
        """
        server, transport = await self._dial()
        try:
            with trio.move_on_after(NEGOTIATION_TIMEOUT):
                return transport, await negotiate(server, transport)
            raise _proxy_error(server, "negotiation timed out")
        except (RemoteProtocolError, trio.BrokenResourceError) as exc:
            await transport.aclose()
            raise _proxy_error(server, exc) from None
        except BaseException:
            await transport.aclose()
            raise

    async def _dial(self) -> tuple[ParentProxy, Transport]:
        start = self._next
        self._next = (start + 1) % len(self._servers)
        failures: list[str] = []
        for server in self._servers[start:] + self._servers[:start]:
            try:
                return server, await self._connect(server.host, server.port)
            except DialError as exc:
                failures.append(str(exc))
        raise DialError(
            f"no parent proxy could be reached: {'; '.join(failures)}",
            reason=DialFailure.PARENT_PROXY,
        )


def _proxy_error(server: ParentProxy, message: object) -> DialError:
    """Return the error for a server that was reached but failed."""
    return DialError(f"{server}: {message}", reason=DialFailure.PARENT_PROXY)


async def send_pending(client: Negotiation, transport: Transport) -> None:
    """Send the bytes that a sans-IO client has ready.

    Raises:
        trio.BrokenResourceError: the connection was reset.
    """
    if data := client.data_to_send():
        await transport.send_all(data)
