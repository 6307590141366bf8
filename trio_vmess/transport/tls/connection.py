"""TLS over any transport: OpenSSL in memory, and our own pump around it.

`ssl.SSLObject` reads and writes two `MemoryBIO`s; this module carries bytes between these and the
transport below. The usual wrapper, `trio.SSLStream`, takes three times the CPU for bulk data.

A `MemoryBIO` never shrinks, so whatever passes through one is cut into pieces: a connection that
was busy once must not hold a megabyte for the rest of its life.
"""

import contextlib
import ssl
from collections.abc import Callable
from typing import Final, cast

import trio

from trio_vmess.contracts import Transport
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.transport.layer import TransportLayer
from trio_vmess.transport.outbox import Outbox

PIECE: Final = 64 * 1024
"""Bytes that are handed to OpenSSL at once; a connection keeps some 1.4 times as many for ever."""

RECORD_SIZE_MAX: Final = 5 + 256 + 16 * 1024
"""Bytes of a TLS record: RFC 8446 section 5.2."""

_SEALED_SIZE: Final = 1024 * 1024
_RECEIVED_SIZE: Final = 512 * 1024


class TlsBuffers:
    """One set of buffers for all TLS connections of a Trio run; see `relay.SharedBuffers`.

    Attributes:
        received: records that were read.
        sealed: records that are to be sent.
    """

    __slots__ = ("received", "sealed")

    def __init__(self) -> None:
        self.received = memoryview(bytearray(_RECEIVED_SIZE))
        self.sealed = memoryview(bytearray(_SEALED_SIZE))


class TlsTransport(TransportLayer):
    """The inside of a TLS connection: a `Transport`.

    Args:
        transport: owned by this one from now on.
        context: has the certificates and settings.
        server_name: what a client asks for and checks; None for the server's side.
        session: of an earlier connection to the same server, to resume.
        buffers: shared by all TLS connections of this Trio run.
        on_close: called before the connection is closed in good order.
    """

    __slots__ = (
        "_buffers",
        "_incoming",
        "_is_closed",
        "_is_ended",
        "_on_close",
        "_outbox",
        "_outgoing",
        "_tls",
    )

    def __init__(
        self,
        transport: Transport,
        context: ssl.SSLContext,
        *,
        server_name: str | None = None,
        session: ssl.SSLSession | None = None,
        buffers: TlsBuffers,
        on_close: Callable[[ssl.SSLObject], None] | None = None,
    ) -> None:
        super().__init__(transport)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_name is None,
            server_hostname=server_name,
            session=session,
        )
        self._buffers = buffers
        self._on_close = on_close
        self._is_ended = self._is_closed = False
        self._outbox = Outbox(transport, self._outgoing)

    @property
    def tls(self) -> ssl.SSLObject:
        """The connection's parameters: version, cipher, certificate, protocol, session."""
        return self._tls

    async def handshake(self, received: bytes = b"", *, sends_next: bool = False) -> None:
        """Agree on keys; both sides call it before anything else.

        Args:
            received: what has been read from the connection already, `PIECE` bytes at most.
            sends_next: the caller sends data at once, which a client's last message may share a
                packet with: that saves both sides a system call, and the server a wake-up.

        Raises:
            ssl.SSLError: the peer speaks no TLS, or one side refuses the other. The alert that
                says so has been sent.
            trio.BrokenResourceError: the connection was reset or closed.
        """
        self._incoming.write(received)
        buffer = self._buffers.received[:PIECE]
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._outbox.flush()
                size = await self._transport.receive_into(buffer)
                if not size:
                    raise trio.BrokenResourceError(
                        "the connection ended in the TLS handshake"
                    ) from None
                self._incoming.write(buffer[:size])
            except ssl.SSLError:
                await self._outbox.flush()
                raise
            else:
                # A client's last message, or a server's tickets.
                if not sends_next:
                    await self._outbox.flush()
                return

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`; a peer's end needs no close_notify: many send none.

        Raises:
            trio.BrokenResourceError: the connection was reset, or broken before.
            RemoteProtocolError: a record is damaged.
        """
        # The first records may have come with the end of the handshake.
        filled = self._open(buffer, 0)
        # Records are longer than what is in them, so whatever is read fits; what does not (a record
        # of which a part was here already) stays with OpenSSL.
        received = self._buffers.received[: max(len(buffer), RECORD_SIZE_MAX)]
        while not filled and not self._is_ended:
            if self._outgoing.pending:
                # Here, because no checkpoint may lie between filling the buffer and returning.
                await self._outbox.flush()
            size = await self._transport.receive_into(received)
            if not size:
                self._is_ended = True
            for start in range(0, size, PIECE):
                self._incoming.write(received[start : min(start + PIECE, size)])
                filled = self._open(buffer, filled)
        return filled

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `Transport.send_all`."""
        if len(data):
            await self._outbox.send(self._seal(data))

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        """See `Transport.send_eof`.

        Last bytes are taken for the end that the protocol inside has of its own, and nothing
        follows them: a close_notify would have web servers on the way close both directions.
        Without last bytes, close_notify is the only way to say it.
        """
        if last:
            await self._outbox.send(self._seal(last))
        else:
            await self._outbox.send(self._close_notify())

    async def abort(self) -> None:
        """See `Transport.abort`; without close_notify, so that a cut looks like one."""
        self._is_ended = self._is_closed = True
        await self._transport.abort()

    async def aclose(self) -> None:
        """See `Transport.aclose`; announces the end if that can be sent without waiting."""
        if self._on_close is not None:
            on_close, self._on_close = self._on_close, None
            on_close(self._tls)
        # Layers above close more than once, and trying to send costs more than being told not to.
        if not self._is_closed and not self._outbox.is_busy:
            broken = contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError)
            with trio.CancelScope(deadline=-1, shield=True), broken:
                await self._transport.send_all(self._close_notify())
        self._is_closed = True
        await self._transport.aclose()

    # OpenSSL ------------------------------------------------------------------------------------

    def _open(self, buffer: memoryview, filled: int) -> int:
        """Write what OpenSSL can open behind the first `filled` bytes; return how many there are.

        Each call of `read` opens one record.
        """
        # Its stub knows bytearray alone; the documentation, any buffer.
        read = cast("Callable[[int, memoryview], int]", self._tls.read)
        try:
            while filled < len(buffer):
                size = read(len(buffer) - filled, buffer[filled:])
                if not size:
                    self._is_ended = True
                    break
                filled += size
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._is_ended = True
        except ssl.SSLError as exc:
            was_ended, self._is_ended = self._is_ended, True
            if not filled and not was_ended:
                raise RemoteProtocolError(f"TLS: {reason_of(exc)}") from None
        return filled

    def _seal(self, data: bytes | bytearray | memoryview) -> bytes | memoryview:
        """Return the records for all of `data`; they may be in the shared buffer."""
        view, sealed = memoryview(data), self._buffers.sealed
        taken = self._tls.write(view[:PIECE])
        if taken == len(view):
            return self._outgoing.read()
        if len(view) * 2 > len(sealed):
            sealed = memoryview(bytearray(len(view) * 2))
        filled = 0
        while records := self._outgoing.read():
            sealed[filled : filled + len(records)] = records
            filled += len(records)
            if taken < len(view):
                taken += self._tls.write(view[taken : taken + PIECE])
        return sealed[:filled]

    def _close_notify(self) -> bytes:
        """Return the alert that ends our direction; nothing if there can be none any more."""
        # Mostly `SSLWantReadError`: the peer's own is not there yet, and nobody waits for it.
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        return self._outgoing.read()


def reason_of(exc: ssl.SSLError) -> str:
    """Return OpenSSL's reason in plain words, without the line of its source."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return exc.verify_message
    return (exc.reason or str(exc)).replace("_", " ").lower()
