"""The shapes that the rooms of the shell agree on.

Transport     bytes of one connection, whatever carries them
Connect       how a transport to a host and port is opened
StreamSide    a transport with the codecs that its peer wants
PacketLink    datagrams to and from one peer
Answer        how an inbound tells its client that the outbound is there, or is not
Inbound       what a listener hands a connection to
Dispatch      what an inbound calls when it has understood a request
Resolve       how the addresses of a name are found
Outbound      what dispatch calls to get the other side
Connected     the other side, and which outbound has reached it
"""

import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import attrs

from trio_vmess.core import Codec, Destination, Flow, Host, IPAddress
from trio_vmess.errors import DialFailure

Resolve = Callable[[str, socket.AddressFamily], Awaitable[list[IPAddress]]]
"""Finds the addresses of a name, of one family or of both; raises `DialError` for none."""


class Transport(Protocol):
    """Bytes of one connection, in both directions.

    All connections of a node share their buffers: Trio runs one task at a time, so between a read
    and the write of its result no other task can see them. That makes the two rules below.
    """

    @property
    def local(self) -> Destination | None:
        """Our own address; None where there is no host and port. It may cost a system call."""
        ...

    @property
    def remote(self) -> Destination | None:
        """The peer's address, likewise."""
        ...

    async def receive_into(self, buffer: memoryview, /) -> int:
        """Wait for bytes and put them at the front of `buffer`.

        The buffer is filled right before the return: no checkpoint comes in between.

        Returns:
            How many bytes there are; 0 at the end of the stream, however often one asks.

        Raises:
            trio.BrokenResourceError: the connection was reset.
        """
        ...

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """Send all of `data`, which is not looked at any more after the first checkpoint.

        Raises:
            trio.BrokenResourceError: the connection was reset. What was sent of it is not known;
                the same holds after a cancellation.
        """
        ...

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        """Send the last bytes, and say that nothing more will come; receiving goes on.

        Args:
            last: as for `send_all`.

        Raises:
            trio.BrokenResourceError: the connection was reset.
        """
        ...

    async def aclose(self) -> None:
        """Close both directions; always does, even when cancelled."""
        ...


Connect = Callable[[Host, int], Awaitable[Transport]]
"""Opens a transport to a host and port; raises `DialError`.

A transport layer on the way out is a function from one `Connect` to another.
"""


@attrs.define(eq=False, kw_only=True)
class StreamSide:
    """One side of a relay.

    Attributes:
        transport: carries the bytes.
        opener: from the peer's bytes to payload; None where they are the same.
        sealer: from payload to bytes for the peer; None where they are the same.
        early: bytes of the peer that came with its request.
        payload: what was opened already and is to be carried before anything else: whoever looks at
            a connection's beginning leaves it here.
        flush_after: the sealer holds a header that goes out with the first payload, or alone after
            this many seconds; None where nothing is held back, or may be for as long as it takes.
    """

    transport: Transport
    opener: Codec | None = None
    sealer: Codec | None = None
    early: bytes = attrs.field(default=b"", repr=False)
    payload: bytes = attrs.field(default=b"", repr=False)
    flush_after: float | None = None


class PacketLink(Protocol):
    """Datagrams to and from one peer."""

    async def receive(self) -> Sequence[bytes]:
        """Wait for datagrams.

        Returns:
            One or more, in their order; none when the peer has no more.

        Raises:
            trio.BrokenResourceError: the link is dead.
            RemoteProtocolError: what came is not legal.
        """
        ...

    async def send(self, datagrams: Sequence[bytes], /) -> int:
        """Send datagrams; one that cannot be sent is dropped, as networks do.

        Returns:
            How many were dropped.

        Raises:
            trio.BrokenResourceError: the link is dead.
        """
        ...

    async def aclose(self) -> None:
        """Close the link; always does, even when cancelled."""
        ...


class Answer(Protocol):
    """How an inbound's client learns what became of its request."""

    async def established(self, remote: StreamSide | None, /) -> None:
        """Say that the other side is there.

        Args:
            remote: the destination's side; None where it is not connected yet, but may be.
        """
        ...

    async def refused(self, reason: DialFailure, /) -> None:
        """Say that it is not."""
        ...


class SilentAnswer:
    """Says nothing: VMess has no word for it, dokodemo-door's clients have asked for nothing.

    The client sees data or a close.
    """

    async def established(self, remote: StreamSide | None, /) -> None:
        """Say nothing."""

    async def refused(self, reason: DialFailure, /) -> None:
        """Say nothing."""


SILENT_ANSWER: Final = SilentAnswer()


class Dispatch(Protocol):
    """What an inbound calls when it has understood a request.

    Both return when the flow is over, and raise nothing but cancellation: what goes wrong with one
    flow is logged, not passed on.
    """

    def stream(self, flow: Flow, client: StreamSide, answer: Answer, /) -> Awaitable[None]:
        """Connect `client` with the flow's destination, and close both in the end."""
        ...

    def packets(self, flow: Flow, client: PacketLink, /) -> Awaitable[None]:
        """The same for datagrams."""
        ...


class Inbound(Protocol):
    """A way into the node: it understands one client's requests and hands them to dispatch."""

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        """Serve one connection to its end, and close it.

        Args:
            transport: the client's connection; its `local` is what the client has reached.
            source: where it comes from, as `host:port`; empty for a Unix socket.
            deadline: on Trio's clock: by then the request must be understood. The listener sets it
                when it accepts, and every layer in between passes it on as it is.

        Raises:
            trio.Cancelled: from outside; everything that belongs to the connection is closed then.
        """
        ...


RemoteT_co = TypeVar("RemoteT_co", bound="StreamSide | PacketLink", covariant=True)


class Connected(NamedTuple, Generic[RemoteT_co]):
    """What an outbound has reached.

    Attributes:
        outbound_tag: the tag of the outbound that did; a balancer tries several.
        remote: the destination's side.
    """

    outbound_tag: str
    remote: RemoteT_co


class Outbound(Protocol):
    """Connects flows with their destinations."""

    @property
    def tag(self) -> str:
        """The outbound's name; may be empty."""
        ...

    async def connect(self, flow: Flow, /) -> Connected[StreamSide]:
        """Reach the flow's destination.

        Raises:
            DialError: it cannot be reached.
        """
        ...

    async def connect_packets(self, flow: Flow, /) -> Connected[PacketLink]:
        """The same for datagrams.

        Raises:
            DialError: it cannot be reached.
        """
        ...
