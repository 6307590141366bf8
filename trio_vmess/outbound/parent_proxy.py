"""Other proxies that connections go through: which one is next, and the way to it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

import attrs
import trio

from trio_vmess.contracts import Connect, Transport
from trio_vmess.core import Host, format_endpoint
from trio_vmess.errors import DialError, DialFailure, RemoteProtocolError

NEGOTIATION_TIMEOUT: Final = 30.0
"""Seconds that the other proxy has to reach a destination: it has to dial, as we do."""

READ_SIZE: Final = 4096
"""Bytes that one read of its answer takes; what is behind the answer is early data."""

_T = TypeVar("_T")


@attrs.frozen(kw_only=True)
class ParentProxy:
    """Another proxy.

    Attributes:
        host: its address or name.
        port: 1 to 65535.
        user: None authenticates nobody.
        password: goes with `user`.
    """

    host: Host
    port: int
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)

    def __str__(self) -> str:
        return format_endpoint(self.host, self.port)


class Negotiation(Protocol):
    """A sans-IO client, as far as driving it goes."""

    def data_to_send(self) -> bytes:
        """Take what is to be sent."""
        ...

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Store what was received."""
        ...


class ParentProxies:
    """Servers that take turns; the next one steps in for one that cannot be reached.

    Args:
        servers: one or more.
        connect: opens transports to them.

    Raises:
        ValueError: there is no server.
    """

    def __init__(self, servers: Sequence[ParentProxy], connect: Connect) -> None:
        if not servers:
            raise ValueError("there is no server to go through")
        self._servers = tuple(servers)
        self._connect = connect
        self._next = 0

    async def open(
        self, negotiate: Callable[[ParentProxy, Transport], Awaitable[_T]]
    ) -> tuple[Transport, _T]:
        """Connect to the server whose turn it is, or to one behind it, and come to terms with it.

        Args:
            negotiate: does so in the words of its protocol. It may raise `RemoteProtocolError` for
                a server that does not speak it, and `DialError` for one that refuses.

        Returns:
            The connection, and what `negotiate` returned.

        Raises:
            DialError: none could be reached, or the one that was does not do its part.
            trio.Cancelled: from outside; nothing stays open.
        """
        server, transport = await self._dial()
        try:
            with trio.move_on_after(NEGOTIATION_TIMEOUT):
                return transport, await negotiate(server, transport)
            raise _proxy_error(server, "no answer in time")
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
        raise DialError(f"no server: {'; '.join(failures)}", reason=DialFailure.PARENT_PROXY)


def _proxy_error(server: ParentProxy, message: object) -> DialError:
    """Return the error for a server that does not do its part."""
    return DialError(f"{server}: {message}", reason=DialFailure.PARENT_PROXY)


async def send_pending(client: Negotiation, transport: Transport) -> None:
    """Send what a client has to say.

    Raises:
        trio.BrokenResourceError: the connection was reset.
    """
    if data := client.data_to_send():
        await transport.send_all(data)
