"""VMess as a Trio stream, for programs that want no node around it.

`SideTransport` does the protocol. This is what makes a Trio stream of it: conflicts between tasks,
Trio's exceptions, and an orderly end.
"""

import operator
from typing import Final

import trio

from trio_vmess.contracts import StreamSide, Transport
from trio_vmess.core import PrefixedCodec
from trio_vmess.core.vmess import StreamBody
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.library.conflicts import ConflictDetector
from trio_vmess.transport import SideTransport, SocketTransport, StreamTransport

RECEIVE_SIZE: Final = 64 * 1024
"""Bytes that `receive_some` returns at most."""

END_LIMIT: Final = 5.0
"""Seconds that `aclose` waits for a peer that does not read, before it closes without an end."""


class VMessStream(trio.abc.HalfCloseableStream):
    """A connection to a destination through a VMess server; `open_vmess_stream` makes them.

    It behaves as any `trio.abc.HalfCloseableStream`. One task may send while another receives.

    Half-close: `send_eof` ends the request and leaves the answer open. The server tells the
    destination, and the destination's end arrives as `b""` from `receive_some`.

    Errors are Trio's. Whatever the peer does wrong is a `trio.BrokenResourceError`, whose text
    says what it was and whose cause is a `RemoteProtocolError`; this goes for an answer that is cut
    off inside a chunk, and for a server that closes without an answer. VMess servers do not say
    why they refuse, and may say nothing at all, so put `trio.fail_after` around the first
    `receive_some`.

    Cancellation: a cancelled `receive_some` loses nothing. A cancelled `send_all` or `send_eof` may
    have sent a part: the stream can still receive, but not send any more.

    Args:
        connection: to the peer; it belongs to this stream from now on.
        body: the codecs.
        header: our header, which goes out with the first payload; a program that receives first
            sends it alone. Empty for one that was sent before.
    """

    def __init__(
        self, connection: trio.abc.Stream | Transport, body: StreamBody, header: bytes = b""
    ) -> None:
        self._connection = connection
        self._transport = SideTransport(
            StreamSide(
                transport=StreamTransport(connection)
                if isinstance(connection, trio.abc.Stream)
                else connection,
                opener=body.opener,
                sealer=PrefixedCodec(header, body.sealer),
                early=body.trailing,
                flush_after=0.0 if header else None,
            )
        )
        self._send_conflict = ConflictDetector("another task is sending")
        self._receive_conflict = ConflictDetector("another task is receiving")
        self._is_closed = False
        self._has_ended = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send payload, of any size.

        Raises:
            trio.BusyResourceError: another task is sending.
            trio.BrokenResourceError: the connection is gone, or an earlier send was interrupted.
            trio.ClosedResourceError: this side was closed, or ended by `send_eof`.
        """
        with self._send_conflict:
            self._check_open()
            if self._has_ended:
                raise trio.ClosedResourceError("nothing can be sent after send_eof")
            # Whoever is cancelled before anything was sent still has a stream.
            await trio.lowlevel.checkpoint()
            await self._transport.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the connection takes more bytes, or at least probably does.

        Raises:
            trio.BusyResourceError: another task is sending.
            trio.BrokenResourceError: the connection is gone.
            trio.ClosedResourceError: this side was closed.
        """
        with self._send_conflict:
            self._check_open()
            match self._connection:
                case trio.abc.Stream() as stream:
                    await stream.wait_send_all_might_not_block()
                case SocketTransport() as transport:
                    await transport.wait_writable()
                case _:
                    # A layer cannot tell without sending: it may have to say something itself.
                    await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        """Say that no more payload will come; receiving goes on. Doing so again has no effect.

        Raises:
            trio.BusyResourceError: another task is sending.
            trio.BrokenResourceError: the connection is gone, or an earlier send was interrupted.
            trio.ClosedResourceError: this side was closed.
        """
        with self._send_conflict:
            self._check_open()
            await trio.lowlevel.checkpoint()
            if not self._has_ended:
                self._has_ended = True
                await self._transport.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive payload.

        Args:
            max_bytes: how much to return at most; None for whatever is there, up to 64 KiB.

        Returns:
            At least one byte; nothing at the end, however often one asks.

        Raises:
            trio.BusyResourceError: another task is receiving.
            trio.BrokenResourceError: the connection is gone, or the peer broke the protocol.
            trio.ClosedResourceError: this side was closed.
            TypeError: `max_bytes` is not an integer.
            ValueError: it is below 1.
        """
        with self._receive_conflict:
            size = RECEIVE_SIZE if max_bytes is None else operator.index(max_bytes)
            if size < 1:
                raise ValueError(f"max_bytes is {max_bytes}: expected 1 or more")
            self._check_open()
            await trio.lowlevel.checkpoint()
            buffer = memoryview(bytearray(min(size, RECEIVE_SIZE)))
            try:
                return bytes(buffer[: await self._transport.receive_into(buffer)])
            except RemoteProtocolError as exc:
                raise trio.BrokenResourceError(str(exc)) from exc

    async def aclose(self) -> None:
        """Say the end of the request if that is still due, and close the connection.

        A peer that does not read is waited for 5 seconds at most. Nothing is said where the peer
        has not heard of us yet, where another task is in the midst of sending, or when cancelled;
        the connection is closed in any case. What the peer has not read may be lost.
        """
        is_due = not (
            self._is_closed
            or self._has_ended
            or self._send_conflict.is_held
            or self._transport.is_header_due
        )
        self._is_closed = True
        try:
            if is_due:
                with trio.move_on_after(END_LIMIT):
                    await self._transport.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the peer is gone, or another task has closed the connection meanwhile
        finally:
            await self._transport.aclose()

    def _check_open(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError("this stream was closed")
