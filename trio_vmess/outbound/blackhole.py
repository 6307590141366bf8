"""The blackhole outbound: drops everything that is sent to it."""

from collections.abc import Sequence
from typing import Final, Literal

import trio

from trio_vmess.contracts import Connected, PacketLink, StreamSide
from trio_vmess.core import Destination, Flow

FORBIDDEN: Final = (
    b"HTTP/1.1 403 Forbidden\r\n"
    b"Connection: close\r\n"
    b"Cache-Control: max-age=3600, public\r\n"
    b"Content-Length: 0\r\n"
    b"\r\n"
)
"""Source: v2ray-core, proxy/blackhole/config.go."""

RESPONSE_LINGER: Final = 1.0
"""Seconds between the response and the end of the stream.

Source:
    v2ray-core, proxy/blackhole/blackhole.go.
"""


class BlackholeOutbound:
    """Accepts every flow and connects none.

    Args:
        tag: the outbound's name; may be empty.
        response: what the client receives before the end of the stream: nothing, or an HTTP 403.
    """

    def __init__(self, *, tag: str, response: Literal["none", "http"] = "none") -> None:
        self.tag = tag
        self._response = FORBIDDEN if response == "http" else b""

    async def connect(self, flow: Flow, /) -> Connected[StreamSide]:
        """See `Outbound.connect`; it never fails."""
        linger = RESPONSE_LINGER if self._response else 0.0
        side = StreamSide(transport=BlackholeTransport(linger), early=self._response)
        return Connected(self.tag, side)

    async def connect_packets(self, flow: Flow, /) -> Connected[PacketLink]:
        """See `Outbound.connect_packets`; it never fails."""
        return Connected(self.tag, BlackholePacketLink())


class BlackholeTransport:
    """Discards what is sent, and ends soon: a `Transport`.

    Args:
        linger: seconds until the end of the stream.
    """

    def __init__(self, linger: float) -> None:
        self._linger = linger
        self._ended = False

    @property
    def local(self) -> Destination | None:
        """See `Transport.local`; there is none."""
        return None

    @property
    def remote(self) -> Destination | None:
        """See `Transport.remote`; there is none."""
        return None

    @property
    def is_reset(self) -> bool:
        """See `Transport.is_reset`; nobody is there to do it."""
        return False

    def limit_receive_buffer(self, size: int | None, /) -> None:
        """See `Transport.limit_receive_buffer`; nothing is received."""

    def limit_unsent(self, size: int, /) -> None:
        """See `Transport.limit_unsent`; nothing is sent."""

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`; there is never a byte."""
        await trio.sleep(self._linger)
        self._ended = True
        return 0

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `Transport.send_all`; the bytes are discarded.

        Raises:
            trio.BrokenResourceError: the stream has ended; otherwise a client that keeps sending
                would keep the connection open.
        """
        await trio.lowlevel.checkpoint()
        if self._ended:
            raise trio.BrokenResourceError("the blackhole outbound has ended the stream")

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        """See `Transport.send_eof`."""
        await trio.lowlevel.checkpoint()

    async def abort(self) -> None:
        """See `Transport.abort`."""
        await self.aclose()

    async def aclose(self) -> None:
        """See `Transport.aclose`; it never waits."""
        self._ended = True


class BlackholePacketLink:
    """A peer that never answers: a `PacketLink`. The flow's idle limit ends it."""

    async def receive(self) -> Sequence[bytes]:
        """See `PacketLink.receive`; nothing ever comes."""
        await trio.sleep_forever()

    async def send(self, datagrams: Sequence[bytes], /) -> int:
        """See `PacketLink.send`; the datagrams are discarded, but not counted as dropped."""
        await trio.lowlevel.checkpoint()
        return 0

    async def aclose(self) -> None:
        """See `PacketLink.aclose`; it never waits."""
