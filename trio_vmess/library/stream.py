"""VMess as a Trio stream, for programs that want no node around it.

The header waits for the first payload and goes out with it; a program that receives first sends
it alone. The answer's header is read when it comes. What the relay does with shared buffers is done
here with buffers of the call: a stream belongs to its program.
"""

import operator
from typing import Final

import trio

from trio_vmess.core import PrefixedCodec
from trio_vmess.core.vmess import StreamBody
from trio_vmess.errors import RemoteProtocolError

RECEIVE_SIZE: Final = 64 * 1024


class VMessStream(trio.abc.HalfCloseableStream):
    """A connection through VMess.

    Args:
        stream: the connection to the peer; it belongs to this stream from now on.
        body: the codecs.
        header: our header, which goes out with the first payload.
        is_request: the peer says nothing before it has the header.
    """

    def __init__(
        self, stream: trio.abc.Stream, body: StreamBody, header: bytes, *, is_request: bool
    ) -> None:
        self._stream = stream
        self._opener = body.opener
        self._sealer = PrefixedCodec(header, body.sealer)
        self._wire = body.trailing
        self._payload = b""
        self._header_waits = is_request
        self._ended = False
        self._sending = trio.Lock()
        self._send_conflict = _ConflictDetector("another task is sending")
        self._receive_conflict = _ConflictDetector("another task is receiving")
        self._closed = False
        self._sent_eof = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send payload.

        Raises:
            trio.BusyResourceError: another task is sending.
            trio.BrokenResourceError: the connection is gone. After a cancellation it is, too.
            trio.ClosedResourceError: this side was closed, or ended by `send_eof`.
        """
        with self._send_conflict:
            self._check_open()
            if self._sent_eof:
                raise trio.ClosedResourceError("nothing can be sent after send_eof")
            await self._send(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until sending may go through at once."""
        with self._send_conflict:
            self._check_open()
            await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Say that no more payload will come; receiving goes on."""
        with self._send_conflict:
            self._check_open()
            if self._sent_eof:
                await trio.lowlevel.checkpoint()
                return
            self._sent_eof = True
            self._header_waits = False
            out = bytearray(self._sealer.output_size(0))
            size = self._sealer.finalize_into(memoryview(out))
            async with self._sending:
                await self._stream.send_all(bytes(out[:size]))
                if isinstance(self._stream, trio.abc.HalfCloseableStream):
                    await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive payload.

        Returns:
            At least one byte, or nothing at the end.

        Raises:
            trio.BusyResourceError: another task is receiving.
            trio.BrokenResourceError: the connection is gone, or the peer broke the protocol.
            trio.ClosedResourceError: this side was closed.
            TypeError: `max_bytes` is no int.
            ValueError: it is below 1.
        """
        with self._receive_conflict:
            if max_bytes is not None and operator.index(max_bytes) < 1:
                raise ValueError("max_bytes is at least 1")
            self._check_open()
            if self._header_waits:
                await self._send(b"")
            while not self._payload and not self._ended:
                await self._fill()
            await trio.lowlevel.checkpoint()
            size = len(self._payload) if max_bytes is None else max_bytes
            taken, self._payload = self._payload[:size], self._payload[size:]
            return taken

    async def aclose(self) -> None:
        """Close the connection; what the peer has not read may be lost."""
        self._closed = True
        await self._stream.aclose()

    async def _send(self, data: bytes | bytearray | memoryview) -> None:
        # Two tasks may come here: a sender, and a receiver that has to get the header out.
        async with self._sending:
            self._header_waits = False
            out = bytearray(self._sealer.output_size(len(data)))
            size = self._sealer.update_into(data, memoryview(out))
            await self._stream.send_all(bytes(out[:size]))

    async def _fill(self) -> None:
        data, self._wire = self._wire, b""
        if not data:
            data = bytes(await self._stream.receive_some(RECEIVE_SIZE))
        try:
            out = bytearray(self._opener.output_size(len(data)))
            if data:
                self._payload = bytes(out[: self._opener.update_into(data, memoryview(out))])
                self._ended = self._opener.ended
            else:
                self._opener.finalize_into(memoryview(out))
                self._ended = True
        except RemoteProtocolError as exc:
            raise trio.BrokenResourceError(str(exc)) from exc

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")


class _ConflictDetector:
    """Lets one task in at a time, and refuses the second instead of making it wait."""

    def __init__(self, message: str) -> None:
        self._message = message
        self._is_held = False

    def __enter__(self) -> None:
        if self._is_held:
            raise trio.BusyResourceError(self._message)
        self._is_held = True

    def __exit__(self, *_: object) -> None:
        self._is_held = False
