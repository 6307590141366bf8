"""Datagrams to and from one destination, through a VMess server."""

from collections import deque
from typing import Final

import trio

from trio_vmess.contracts import Transport
from trio_vmess.core.vmess import PacketBody
from trio_vmess.errors import LocalProtocolError, RemoteProtocolError
from trio_vmess.library.conflicts import ConflictDetector
from trio_vmess.transport import BodyPacketLink

_READ_SIZE: Final = 64 * 1024


class VMessDatagrams(trio.abc.Channel[bytes]):
    """Datagrams to and from one destination; `open_vmess_datagrams` makes them.

    They travel to the server in a connection, whole and in order, and by UDP from there. So they
    may be lost behind the server, but never between it and us: a server that is slow, or gone, is
    noticed by `send`. `async for datagram in datagrams` receives until the server ends.

    One task may send while another receives. Whatever the server does wrong is a
    `trio.BrokenResourceError`, whose cause is a `RemoteProtocolError`.

    Cancellation: a cancelled `receive` loses nothing. A cancelled `send` may have sent a part: the
    channel can still receive, but not send any more.

    Args:
        connection: to the server; it belongs to this object from now on.
        body: the codecs; its sealer says which size is the largest.
        header: the request, which goes out with the first datagram.
    """

    def __init__(self, connection: Transport, body: PacketBody, header: bytes) -> None:
        self._payload_max = body.sealer.payload_max
        buffer = memoryview(bytearray(_READ_SIZE))
        self._link = BodyPacketLink(connection, body, prefix=header, buffer=buffer)
        self._received: deque[bytes] = deque()
        self._send_conflict = ConflictDetector("another task is sending")
        self._receive_conflict = ConflictDetector("another task is receiving")
        # A sender and a receiver that sends the request may both be here.
        self._turn = trio.Lock()
        self._is_header_due = True
        self._is_closed = self._is_broken = self._has_ended = False
        self._fault: RemoteProtocolError | None = None

    @property
    def payload_max(self) -> int | None:
        """Bytes of the largest datagram that can be sent; None for no limit but UDP's."""
        return self._payload_max

    async def send(self, value: bytes | bytearray | memoryview) -> None:
        """Send a datagram.

        Raises:
            LocalProtocolError: it is empty, or larger than `payload_max`, which VMess cannot
                express; nothing was sent.
            trio.BusyResourceError: another task is sending.
            trio.BrokenResourceError: the connection is gone, or an earlier send was interrupted.
            trio.ClosedResourceError: this side was closed.
        """
        datagram = bytes(value)
        limit = self._payload_max
        if not datagram:
            raise LocalProtocolError("an empty datagram cannot be sent: VMess takes it for the end")
        if limit is not None and len(datagram) > limit:
            raise LocalProtocolError(
                f"a datagram of {len(datagram)} bytes cannot be sent: the limit is {limit}"
            )
        with self._send_conflict:
            self._check_open()
            await trio.lowlevel.checkpoint_if_cancelled()
            await self._send((datagram,))

    async def receive(self) -> bytes:
        """Receive a datagram.

        Raises:
            trio.EndOfChannel: the server has ended the connection; there will be no more.
            trio.BusyResourceError: another task is receiving.
            trio.BrokenResourceError: the connection is gone, or the server broke the protocol.
            trio.ClosedResourceError: this side was closed.
        """
        with self._receive_conflict:
            self._check_open()
            await trio.lowlevel.checkpoint()
            if self._is_header_due:
                await self._send(())
            if not self._received:
                await self._receive_more()
            return self._received.popleft()

    async def aclose(self) -> None:
        """Close the connection, without waiting for anything."""
        self._is_closed = True
        self._received.clear()
        await self._link.aclose()

    async def _send(self, datagrams: tuple[bytes, ...]) -> None:
        async with self._turn:
            if self._is_broken:
                raise trio.BrokenResourceError("an earlier send was interrupted")
            if not datagrams and not self._is_header_due:
                return
            self._is_header_due = False
            try:
                await self._link.send(datagrams)
            except BaseException:
                # It is unknown how much was sent, and a sealer cannot rewind: nothing may follow.
                self._is_broken = True
                raise

    async def _receive_more(self) -> None:
        if self._fault is not None:
            raise trio.BrokenResourceError(str(self._fault)) from self._fault.copy()
        if not self._has_ended:
            try:
                self._received.extend(await self._link.receive())
            except RemoteProtocolError as exc:
                self._fault = exc.copy()
                raise trio.BrokenResourceError(str(exc)) from exc
        if not self._received:
            self._has_ended = True
            raise trio.EndOfChannel

    def _check_open(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError("these datagrams were closed")
