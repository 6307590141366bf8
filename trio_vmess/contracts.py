"""The interfaces between the packages that do I/O.

Transport     the bytes of one connection, whatever carries them
Connect       opens a transport to a host and port
StreamSide    a transport with the codecs of its peer's protocol
PacketLink    datagrams to and from one peer
Answer        tells an inbound's client whether its destination was reached
Inbound       serves a connection that a listener has accepted
Fallback      serves those who do not ask for what an inbound serves
Dispatch      what an inbound calls when it has read a request
Resolve       resolves a name; `ResolveFor`: on behalf of a flow
Outbound      what dispatch calls to reach a destination
Connected     a remote side, and the outbound that has reached it
"""

import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import attrs

from trio_vmess.core import Codec, Destination, Flow, Host, IPAddress, Piece
from trio_vmess.errors import DialFailure

Resolve = Callable[[str, socket.AddressFamily], Awaitable[list[IPAddress]]]
"""Resolves a name to addresses of one family or both; raises `DialError` if there are none."""

ResolveFor = Callable[[Flow], Resolve]
"""Returns what resolves names on behalf of a flow: one user's lookups never hold up another's."""


class Transport(Protocol):
    """Bytes of one connection, in both directions.

    All connections of a node share their buffers. That is safe because Trio switches tasks only at
    checkpoints, and no checkpoint lies between a read and the write of its result; the buffer
    rules of `receive_into` and `send_all` ensure this.
    """

    @property
    def local(self) -> Destination | None:
        """Our own address; None if it has no host and port. May cost a system call."""
        ...

    @property
    def remote(self) -> Destination | None:
        """The peer's address, likewise."""
        ...

    async def receive_into(self, buffer: memoryview, /) -> int:
        """Wait for bytes and write them to the beginning of `buffer`.

        There is no checkpoint between filling the buffer and returning.

        Returns:
            The number of bytes; 0 at the end of the stream, and again at each later call.

        Raises:
            trio.BrokenResourceError: the connection was reset.
        """
        ...

    @property
    def is_reset(self) -> bool:
        """Whether the peer is known to have reset the connection. Costs a system call.

        It is for connections that nobody reads from; whoever reads or sends gets an error anyway.
        False where the system does not tell.
        """
        ...

    def limit_receive_buffer(self, size: int | None, /) -> None:
        """Ask the system to hold about `size` received bytes at most; it is no error if it cannot.

        For a peer that is not trusted: its bytes then wait on its own machine.

        Args:
            size: None leaves it to the system again, for a peer that is trusted after all.
        """
        ...

    def limit_unsent(self, size: int, /) -> None:
        """Ask the system to hold about `size` bytes at most that it has not sent yet, if it can.

        For a connection that many share: what waits in front of it delays them all.
        """
        ...

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """Send all of `data`, which is not read any more after the first checkpoint.

        Raises:
            trio.BrokenResourceError: the connection was reset. It is unknown how much was sent, as
                it is after a cancellation.
        """
        ...

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        """Send the last bytes and close the sending direction; receiving is still possible.

        Args:
            last: as `data` of `send_all`.

        Raises:
            trio.BrokenResourceError: the connection was reset.
        """
        ...

    async def aclose(self) -> None:
        """Close both directions; always does, even when cancelled."""
        ...

    async def abort(self) -> None:
        """Close both directions so that the peer sees a reset, not an end, if the system can.

        What has not been sent yet is dropped. It never waits.
        """
        ...


class PieceTransport(Transport, Protocol):
    """A transport that takes what is to be sent in pieces, without joining them first.

    Only what ends in the system can: a layer that encrypts or frames has to write anew anyway.
    """

    async def send_pieces(self, pieces: Sequence[Piece], /) -> None:
        """Send the pieces behind each other; otherwise as `send_all`."""
        ...


Connect = Callable[[Host, int], Awaitable[Transport]]
"""Opens a transport to a host and port; raises `DialError`.

An outgoing transport layer (such as TLS) is a function that turns one `Connect` into another.
"""


@attrs.define(eq=False, kw_only=True)
class StreamSide:
    """One side of a relay.

    Attributes:
        transport: carries the bytes.
        opener: decodes the peer's bytes to payload; None if the bytes are the payload.
        sealer: encodes payload for the peer; None if the bytes are the payload.
        early: bytes of the peer that were received with its request; not opened yet.
        payload: payload that was opened already, for example by sniffing; relayed first.
        flush_after: seconds after which a header held back by the sealer is sent alone, unless
            payload was sent with it before. None if there is none, or if it may wait for ever.
        turn_size: bytes that a relay may read for this side at a time; None for as many as it will.
            For sides that share a connection: what is read waits for a turn there.
        is_ended: the peer was told that nothing more will come.
    """

    transport: Transport
    opener: Codec | None = None
    sealer: Codec | None = None
    early: bytes = attrs.field(default=b"", repr=False)
    payload: bytes = attrs.field(default=b"", repr=False)
    flush_after: float | None = None
    turn_size: int | None = None
    is_ended: bool = False


class PacketLink(Protocol):
    """Datagrams to and from one peer."""

    async def receive(self) -> Sequence[bytes]:
        """Wait for datagrams.

        Returns:
            One or more, in order; none at the end.

        Raises:
            trio.BrokenResourceError: the link failed.
            RemoteProtocolError: the peer broke the protocol.
        """
        ...

    async def send(self, datagrams: Sequence[bytes], /) -> int:
        """Send datagrams; one that cannot be sent is dropped, as in any network.

        Returns:
            How many were dropped.

        Raises:
            trio.BrokenResourceError: the link failed.
        """
        ...

    async def aclose(self) -> None:
        """Close the link; always does, even when cancelled."""
        ...


class Answer(Protocol):
    """Tells an inbound's client the result of its request."""

    async def established(self, remote: StreamSide | None, /) -> None:
        """Tell the client that it may send data.

        Args:
            remote: the destination's side; None if the destination is not connected yet (dispatch
                wants to sniff the client's first bytes).
        """
        ...

    async def refused(self, reason: DialFailure, /) -> None:
        """Tell the client that the destination was not reached."""
        ...


class SilentAnswer:
    """Sends nothing: the client sees data or a close.

    For protocols without a reply: VMess has none, and clients of dokodemo-door send no request.
    """

    async def established(self, remote: StreamSide | None, /) -> None:
        """Say nothing."""

    async def refused(self, reason: DialFailure, /) -> None:
        """Say nothing."""


SILENT_ANSWER: Final = SilentAnswer()


class Dispatch(Protocol):
    """What an inbound calls when it has read a request.

    Both methods return when the flow has ended. They raise nothing but `trio.Cancelled`: failures
    of a flow are logged, not raised.
    """

    def stream(self, flow: Flow, client: StreamSide, answer: Answer, /) -> Awaitable[None]:
        """Connect to the flow's destination, relay, and close both sides."""
        ...

    def packets(self, flow: Flow, client: PacketLink, /) -> Awaitable[None]:
        """Do the same for datagrams."""
        ...


class Inbound(Protocol):
    """Reads the requests of clients by one protocol, and passes them to dispatch."""

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        """Serve one connection to its end, and close it, or give it to a task that does.

        Args:
            transport: the client's connection; its `local` is the address that the client reached.
            source: the client's address as `host:port`; empty for a Unix socket.
            deadline: on Trio's clock, for the complete request. The listener sets it when it
                accepts the connection, and every layer in between passes it on unchanged.

        Raises:
            trio.Cancelled: from outside; everything that belongs to the connection is closed.
        """
        ...


class Fallback(Protocol):
    """Serves strangers: those who do not ask for what an inbound serves."""

    async def serve(self, transport: Transport, *, received: bytes, source: str) -> None:
        """Serve one connection to its end; the caller closes it.

        Args:
            transport: the stranger's connection.
            received: what has been read from it already.
            source: the stranger's address as `host:port`; empty for a Unix socket.

        Raises:
            trio.Cancelled: from outside.
        """
        ...


RemoteT_co = TypeVar("RemoteT_co", bound="StreamSide | PacketLink", covariant=True)


class Connected(NamedTuple, Generic[RemoteT_co]):
    """The result of `Outbound.connect`.

    Attributes:
        outbound_tag: the outbound that connected; a balancer may have tried several.
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
        """Do the same for datagrams.

        Raises:
            DialError: it cannot be reached.
        """
        ...
