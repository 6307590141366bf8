"""A `StreamSide` as a plain transport: callers read and write payload, codecs run underneath.

The relay drives the codecs of both sides itself, over buffers that all connections share. All other
callers (DNS over TCP, the library's streams, one protocol inside another) use this transport. It
allocates its buffers per call, so no caller sees another connection's bytes, and it keeps nothing
between calls but payload that did not fit into the caller's buffer.
"""

from typing import Final

import trio

from trio_vmess.contracts import StreamSide
from trio_vmess.core import Codec, Destination
from trio_vmess.errors import RemoteProtocolError

READ_SIZE_MIN: Final = 16 * 1024
"""Bytes. Reads into a smaller buffer would need several system calls for one chunk."""


class SideTransport:
    """The payload of a side, in both directions: a `Transport`.

    A header that the sealer holds back is sent with the first payload, or alone, `flush_after`
    seconds after the first call of `receive_into`. One task may send while another one receives.

    Args:
        side: owned by this transport from now on.
    """

    __slots__ = (
        "_early",
        "_fault",
        "_flush_after",
        "_header_taken",
        "_is_broken",
        "_is_ended",
        "_opened",
        "_sending",
        "_side",
    )

    def __init__(self, side: StreamSide) -> None:
        self._side = side
        self._early, self._opened = side.early, memoryview(side.payload)
        if side.opener is None:
            self._early, self._opened = b"", memoryview(side.payload + side.early)
        # The caller may still hold the side, but these bytes must not be delivered a second time.
        side.early = side.payload = b""
        self._is_ended = side.opener is not None and side.opener.ended
        self._fault: RemoteProtocolError | None = None
        self._is_broken = False
        self._sending = trio.Lock()
        self._header_taken = trio.Event()
        self._flush_after = side.flush_after or 0.0
        if side.sealer is None or side.flush_after is None:
            self._header_taken.set()

    @property
    def local(self) -> Destination | None:
        """See `Transport.local`."""
        return self._side.transport.local

    @property
    def remote(self) -> Destination | None:
        """See `Transport.remote`."""
        return self._side.transport.remote

    @property
    def is_header_due(self) -> bool:
        """True while the header has not been sent, so that the peer has seen nothing of us."""
        return not self._header_taken.is_set()

    @property
    def is_reset(self) -> bool:
        """See `Transport.is_reset`."""
        return self._side.transport.is_reset

    def limit_receive_buffer(self, size: int | None, /) -> None:
        """See `Transport.limit_receive_buffer`."""
        self._side.transport.limit_receive_buffer(size)

    def limit_unsent(self, size: int, /) -> None:
        """See `Transport.limit_unsent`."""
        self._side.transport.limit_unsent(size)

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`; payload that does not fit is kept for the next call.

        Raises:
            trio.BrokenResourceError: the connection was reset, or the header could not be sent.
            RemoteProtocolError: the peer broke the protocol, or closed the connection inside a
                chunk. Every later call raises the same error.
        """
        if self.is_header_due:
            await self._flush_header()
        if self._fault is not None:
            raise self._fault.copy()
        opener = self._side.opener
        if opener is None and not self._opened:
            return await self._side.transport.receive_into(buffer)
        while opener is not None and not self._opened and not self._is_ended:
            await self._receive(opener, buffer)
        size = min(len(self._opened), len(buffer))
        buffer[:size] = self._opened[:size]
        self._opened = self._opened[size:]
        return size

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `Transport.send_all`."""
        sealer = self._side.sealer
        if sealer is None:
            await self._side.transport.send_all(data)
            return
        # Not a shared buffer: the sealed bytes may wait for the lock while the header is sent.
        out = memoryview(bytearray(sealer.output_size(len(data))))
        await self._send(out[: sealer.update_into(data, out)])

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        """See `Transport.send_eof`; first the sealer's terminator, then the transport's end."""
        sealer = self._side.sealer
        if sealer is None:
            await self._side.transport.send_eof(last)
            return
        out = memoryview(bytearray(sealer.output_size(len(last)) + sealer.output_size(0)))
        size = sealer.update_into(last, out) if last else 0
        size += sealer.finalize_into(out[size:])
        await self._send(out[:size], is_last=True)

    async def abort(self) -> None:
        """See `Transport.abort`."""
        await self._side.transport.abort()

    async def aclose(self) -> None:
        """See `Transport.aclose`; the terminator is not sent: `send_eof` does that."""
        self._opened = memoryview(b"")
        await self._side.transport.aclose()

    async def _receive(self, opener: Codec, buffer: memoryview) -> None:
        """Read and open once; that may yield no payload yet, or the end."""
        wire: bytes | memoryview = self._early
        self._early = b""
        if not wire:
            # The caller's buffer is unused until we return, so it can hold the sealed bytes.
            if len(buffer) < READ_SIZE_MIN:
                buffer = memoryview(bytearray(READ_SIZE_MIN))
            wire = buffer[: await self._side.transport.receive_into(buffer)]
        out = memoryview(bytearray(opener.output_size(len(wire))))
        try:
            if wire:
                size = opener.update_into(wire, out)
                self._is_ended = opener.ended
            else:
                size = opener.finalize_into(out)
                self._is_ended = True
        except RemoteProtocolError as exc:
            self._fault = exc.copy()
            raise
        self._opened = out[:size]

    async def _flush_header(self) -> None:
        """Send the header alone, unless payload is sent (and the header with it) in time."""
        with trio.move_on_after(self._flush_after):
            await self._header_taken.wait()
        if self.is_header_due:
            await self.send_all(b"")

    async def _send(self, wire: memoryview, *, is_last: bool = False) -> None:
        self._header_taken.set()
        try:
            # A sender and a receiver that flushes the header may both be here. Both have sealed
            # already, and the lock is fair: bytes are sent in the order in which they were sealed.
            if self._sending.locked():
                await self._sending.acquire()
            else:
                # `acquire` gives way to all other tasks first, even if nobody has the lock.
                self._sending.acquire_nowait()
            try:
                if self._is_broken:
                    raise trio.BrokenResourceError("an earlier send was interrupted")
                if is_last:
                    await self._side.transport.send_eof(wire)
                elif wire:
                    await self._side.transport.send_all(wire)
            finally:
                self._sending.release()
        except BaseException:
            # It is unknown how much was sent, and a sealer cannot rewind: nothing may follow.
            self._is_broken = True
            raise
