"""Datagrams of one UDP port, sorted into flows.

Each flow has a queue that the port's only reader fills, and a task in which dispatch empties it.
The reader never waits for a full queue: datagrams that do not fit are dropped, as in any network.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from typing import Final, Generic, TypeVar

import attrs
import trio

from trio_vmess.contracts import Dispatch
from trio_vmess.core import Flow

QUEUE_COUNT_MAX: Final = 256
"""Datagrams in one flow's queue; further ones are dropped."""

QUEUE_SIZE_MAX: Final = 1024 * 1024
"""Bytes of all datagrams in one flow's queue."""

FLOW_COUNT_MAX: Final = 1024
"""Flows of one port; a further one evicts the flow whose client was silent for longest."""

INVITED_COUNT_MAX: Final = 32
"""Flows of one association that peers may open at a time: anybody can send datagrams."""

Reply = Callable[[Sequence[bytes]], int]
"""Sends datagrams to the client without waiting; returns how many were dropped."""

Key = TypeVar("Key", bound=Hashable)


class QueuedLink:
    """A client's side of one flow of datagrams: a `PacketLink`.

    Args:
        reply: sends the destination's datagrams to the client.
    """

    __slots__ = ("_closed", "_lot", "_reply", "_size", "_waiting", "scope")

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._lot = trio.lowlevel.ParkingLot()
        self._closed = False
        self.scope = trio.CancelScope()
        """Ends the flow when it is cancelled."""

    def put(self, datagram: bytes) -> bool:
        """Queue a datagram from the client; return False if the queue is full or closed."""
        if (
            self._closed
            or len(self._waiting) >= QUEUE_COUNT_MAX
            or self._size + len(datagram) > QUEUE_SIZE_MAX
        ):
            return False
        if not self._waiting:
            # The receiver waits only while the queue is empty.
            self._lot.unpark_all()
        self._waiting.append(datagram)
        self._size += len(datagram)
        return True

    async def receive(self) -> Sequence[bytes]:
        """See `PacketLink.receive`; returns the whole queue."""
        while not self._waiting:
            if self._closed:
                return ()
            await self._lot.park()
        datagrams = list(self._waiting)
        self._waiting.clear()
        self._size = 0
        return datagrams

    async def send(self, datagrams: Sequence[bytes], /) -> int:
        """See `PacketLink.send`."""
        if self._closed:
            raise trio.BrokenResourceError("the flow has ended")
        return self._reply(datagrams)

    async def aclose(self) -> None:
        """See `PacketLink.aclose`."""
        self.close()

    def close(self) -> None:
        """Drop queued datagrams; `put` and `send` refuse new ones from now on."""
        self._closed = True
        self._waiting.clear()
        self._size = 0
        self._lot.unpark_all()


def _close_nothing() -> None:
    """Do nothing: most flows share the port's socket."""


@attrs.frozen(kw_only=True)
class Opening:
    """What is needed to open a new flow.

    Attributes:
        flow: its description, for dispatch.
        reply: sends datagrams to its client.
        close: called once, when the flow has ended.
    """

    flow: Flow
    reply: Reply
    close: Callable[[], None] = _close_nothing


class FlowTable(Generic[Key]):
    """The flows of one UDP port, by key; least recently used first.

    Args:
        dispatch: gets each flow with its link.
        open_flow: describes the flow for a new key; None drops its datagrams.
        limit: how many flows there are at most.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        *,
        open_flow: Callable[[Key], Opening | None],
        limit: int = FLOW_COUNT_MAX,
    ) -> None:
        self._dispatch = dispatch
        self._open_flow = open_flow
        self._limit = limit
        self._links: OrderedDict[Key, QueuedLink] = OrderedDict()

    def __len__(self) -> int:
        return len(self._links)

    def __contains__(self, key: Key) -> bool:
        return key in self._links

    def deliver(self, key: Key, datagram: bytes, nursery: trio.Nursery) -> bool:
        """Queue a datagram for its flow; open the flow if it is new.

        Args:
            key: identifies the flow.
            datagram: from the client.
            nursery: runs the task of a new flow.

        Returns:
            False if the datagram is dropped: the flow's queue is full, or there is to be no flow.
        """
        link = self._links.get(key)
        if link is None:
            link = self.open(key, nursery)
            if link is None:
                return False
        else:
            self._links.move_to_end(key)
        return link.put(datagram)

    def open(self, key: Key, nursery: trio.Nursery) -> QueuedLink | None:
        """Open a flow, whose key must be new, before its client has sent anything.

        Returns:
            None if there is to be no flow.
        """
        opening = self._open_flow(key)
        if opening is None:
            return None
        if len(self._links) >= self._limit:
            _, evicted = self._links.popitem(last=False)
            evicted.scope.cancel()
            evicted.close()
        link = self._links[key] = QueuedLink(opening.reply)
        nursery.start_soon(self._run, key, link, opening, name="datagram flow")
        return link

    async def _run(self, key: Key, link: QueuedLink, opening: Opening) -> None:
        try:
            with link.scope:
                await self._dispatch.packets(opening.flow, link)
        finally:
            link.close()
            opening.close()
            # An evicted flow ends late: by now a new flow may have its key.
            if self._links.get(key) is link:
                del self._links[key]
