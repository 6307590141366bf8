"""An open port with its handler, and the choice of a port to redirect a client to.

A VMess inbound can redirect its clients to a port of another inbound. This module chooses the port
and knows for how long it stays open; the inbound behind the port assigns the client's account.
"""

from collections.abc import Callable, Iterable
from typing import Generic, NoReturn, Protocol, TypeVar

import attrs
import trio

from trio_vmess.contracts import Inbound
from trio_vmess.core import Entropy
from trio_vmess.listen.listener import Handler

InboundT_co = TypeVar("InboundT_co", bound=Inbound, covariant=True)


def _close_nothing() -> None:
    """Do nothing: most inbounds have no resources of their own to release."""


@attrs.frozen(eq=False, kw_only=True)
class PortHandler(Generic[InboundT_co]):
    """What serves the connections of a port.

    Attributes:
        inbound: serves them.
        front: what they are handed to: the outermost of the layers in front of the inbound, or the
            inbound itself.
        handshake: seconds from accepting a connection until its request must be complete.
        close: called when a port is closed, once for each port that shares the handler.
    """

    inbound: InboundT_co
    front: Inbound
    handshake: float
    close: Callable[[], None] = _close_nothing


class BoundPort(Protocol):
    """The interface of a port's listener; `Listener` implements it."""

    @property
    def port(self) -> int:
        """The port number."""
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
"""Opens a port; raises `OSError` with a message for the operator."""

MakeHandler = Callable[[int], PortHandler[InboundT_co]]
"""Builds the handler of a port."""


@attrs.frozen(eq=False)
class OpenPort(Generic[InboundT_co]):
    """A listening port with its handler."""

    listener: BoundPort
    handler: PortHandler[InboundT_co]

    async def serve(self, connections: trio.Nursery) -> NoReturn:
        """Accept connections until cancelled; they run in `connections`."""
        await self.listener.serve(
            self.handler.front.serve,
            connections=connections,
            handshake=self.handler.handshake,
        )

    def close(self) -> None:
        """Stop listening; connections that were accepted continue."""
        self.listener.close()
        self.handler.close()


def open_port(
    port: int, bind: Bind, make_handler: MakeHandler[InboundT_co]
) -> OpenPort[InboundT_co]:
    """Open a port, and build its handler.

    Raises:
        OSError: the port cannot be opened.
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
        port: the port number.
        minutes: how long it stays open at least, 1 to 255.
        inbound: serves the port, and must be given an account for the client.
    """

    port: int
    minutes: int
    inbound: InboundT_co


def offer_switch(
    ports: Iterable[OpenPort[InboundT_co]], *, minutes: int, entropy: Entropy
) -> SwitchOffer[InboundT_co] | None:
    """Choose a port to redirect a client to.

    Args:
        ports: the candidates; each open one is equally likely.
        minutes: how long the offer is valid, 1 to 255.
        entropy: used for the choice.

    Returns:
        None if no port is open, or all are Unix sockets.
    """
    # A listener can be closed from outside while its `OpenPort` is still listed.
    open_ports = [each for each in ports if each.listener.is_open and each.listener.port]
    if not open_ports:
        return None
    chosen = open_ports[entropy.randbelow(len(open_ports))]
    return SwitchOffer(port=chosen.listener.port, minutes=minutes, inbound=chosen.handler.inbound)
