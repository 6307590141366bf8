"""Reads from a connection until a codec of `core.carriage` knows what has come."""

from typing import Protocol, TypeVar

from trio_vmess.contracts import Transport
from trio_vmess.core import NeedData

EventT_co = TypeVar("EventT_co", covariant=True)


class EventReader(Protocol[EventT_co]):
    """A codec for what stands in front of a stream."""

    def receive_data(self, data: memoryview, /) -> None:
        """Store what was received."""
        ...

    def next_event(self) -> EventT_co | NeedData:
        """Return the next event, or `NEED_DATA`."""
        ...


async def receive_event(
    reader: EventReader[EventT_co], transport: Transport, buffer: memoryview
) -> EventT_co | None:
    """Read until there is an event; None if the connection ends before.

    Args:
        reader: gets what is read.
        transport: the connection.
        buffer: where reads go to; may be shared, for nothing is kept in it.

    Raises:
        trio.BrokenResourceError: the connection was reset.
        RemoteProtocolError: as `transport` and `reader` raise it.
    """
    while isinstance(event := reader.next_event(), NeedData):
        size = await transport.receive_into(buffer)
        if not size:
            return None
        reader.receive_data(buffer[:size])
    return event
