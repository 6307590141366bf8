"""An open port with the inbound behind it, and how one of several is offered to a client.

A VMess inbound can redirect its clients to a port of another inbound. Which port that is, and for
how long it stays open, is known here; which account the client has there, only the inbound knows.
"""

from collections.abc import Callable, Iterable
from typing import Generic, NoReturn, Protocol, TypeVar

import attrs
import trio

from trio_vmess.contracts import Inbound
from trio_vmess.core import Entropy
from trio_vmess.listen.static import Handler

InboundT_co = TypeVar("InboundT_co", bound=Inbound, covariant=True)


def _close_nothing() -> None:
    """Do nothing: most inbounds hold nothing that is theirs alone."""


@attrs.frozen(eq=False, kw_only=True)
class PortHandler(Generic[InboundT_co]):
    """What serves the connections of a port.

    Attributes:
        inbound: does.
        handshake: seconds that a client has until its request is understood.
        close: is called when the port is closed, once for each port that shares the handler.
    """

    inbound: InboundT_co
    handshake: float
    close: Callable[[], None] = _close_nothing


class BoundPort(Protocol):
    """What an open port needs of its listener: `Listener` is one."""

    @property
    def port(self) -> int:
        """The number."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether it has not been closed."""
        ...

    def close(self) -> None:
        """Stop listening; does nothing the second time."""
        ...

    async def serve(
        self, handler: Handler, *, connections: trio.Nursery, handshake: float
    ) -> NoReturn:
        """See `Listener.serve`."""
        ...


Bind = Callable[[int], BoundPort]
"""Opens a port; raises `OSError` with a sentence for the operator."""

MakeHandler = Callable[[int], PortHandler[InboundT_co]]
"""Builds what serves a port."""


@attrs.frozen(eq=False)
class OpenPort(Generic[InboundT_co]):
    """A port that listens, with what serves it."""

    listener: BoundPort
    handler: PortHandler[InboundT_co]

    async def serve(self, connections: trio.Nursery) -> NoReturn:
        """Serve the port until cancelled; its connections run in `connections`."""
        await self.listener.serve(
            self.handler.inbound.serve,
            connections=connections,
            handshake=self.handler.handshake,
        )

    def close(self) -> None:
        """Stop listening; connections that were accepted go on."""
        self.listener.close()
        self.handler.close()


def open_port(
    port: int, bind: Bind, make_handler: MakeHandler[InboundT_co]
) -> OpenPort[InboundT_co]:
    """Open a port, and build what serves it.

    Raises:
        OSError: from `bind`.
    """
    listener = bind(port)
    try:
        return OpenPort(listener, make_handler(listener.port))
    except BaseException:
        listener.close()
        raise


@attrs.frozen(kw_only=True)
class SwitchOffer(Generic[InboundT_co]):
    """A port that a client may be redirected to.

    Attributes:
        port: its number.
        minutes: for how long it stays open at least, 1 to 255.
        inbound: serves it, and has to know the client.
    """

    port: int
    minutes: int
    inbound: InboundT_co


def offer_switch(
    ports: Iterable[OpenPort[InboundT_co]], *, minutes: int, entropy: Entropy
) -> SwitchOffer[InboundT_co] | None:
    """Choose a port to redirect a client to.

    Args:
        ports: each one that is open is equally likely.
        minutes: for how long the offer holds, 1 to 255.
        entropy: chooses.

    Returns:
        None if none is open, or all are Unix sockets.
    """
    # A port may be closed without this room's doing: its listener says.
    open_ports = [each for each in ports if each.listener.is_open and each.listener.port]
    if not open_ports:
        return None
    chosen = open_ports[entropy.randbelow(len(open_ports))]
    return SwitchOffer(port=chosen.listener.port, minutes=minutes, inbound=chosen.handler.inbound)
