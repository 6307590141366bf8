"""One stream of a carrier, as a transport."""

import trio

from trio_vmess.core import Destination
from trio_vmess.core.carriage.http2 import ErrorCode, Stream, name_of_error
from trio_vmess.transport.http2.carrier import Carrier


class Http2Stream:
    """Bytes over one stream of a shared connection: a `Transport`.

    Args:
        carrier: the connection.
        stream: the stream; closed with this.
        is_client: whether we have opened it.
    """

    __slots__ = ("_carrier", "_is_client", "_is_closed", "_readable", "_writable", "stream")

    def __init__(self, carrier: Carrier, stream: Stream, *, is_client: bool) -> None:
        self.stream = stream
        self._carrier = carrier
        self._is_client = is_client
        self._is_closed = False
        self._readable = trio.lowlevel.ParkingLot()
        self._writable = trio.lowlevel.ParkingLot()
        carrier.attach(stream, self)

    @property
    def local(self) -> Destination | None:
        """See `Transport.local`: that of the connection."""
        return self._carrier.local

    @property
    def remote(self) -> Destination | None:
        """See `Transport.remote`: that of the connection."""
        return self._carrier.remote

    @property
    def is_reset(self) -> bool:
        """See `Transport.is_reset`: whether the stream was, or the connection has ended."""
        return self.stream.reset_code is not None or self._carrier.broken is not None

    def limit_receive_buffer(self, size: int | None, /) -> None:
        """See `Transport.limit_receive_buffer`; it limits the window."""
        self.stream.limit_window(size)

    def limit_unsent(self, size: int, /) -> None:
        """See `Transport.limit_unsent`; its own queue is bounded, and the connection shared."""

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`; what came before a reset is still received."""
        carrier, stream = self._carrier, self.stream
        while True:
            if size := carrier.connection.read_into(stream, buffer):
                carrier.wake_sender()  # the window may have been opened
                return size
            if stream.is_remote_ended and stream.fault is None:
                return 0
            self.check()
            await self._readable.park()

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `Transport.send_all`."""
        self.check()
        if len(data):
            await self._carrier.send(self.stream, memoryview(data), is_last=False)

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        """See `Transport.send_eof`; a server sends its trailers, too."""
        self.check()
        if not self.stream.is_local_ended:
            await self._carrier.send(self.stream, memoryview(last), is_last=True)

    async def aclose(self) -> None:
        """See `Transport.aclose`; it never waits.

        A server ends its direction. Whoever still has a direction open then resets the stream.
        """
        if self._is_closed:
            return
        connection, stream = self._carrier.connection, self.stream
        if not self._is_client or stream.is_remote_ended:
            connection.end_stream(stream, self._carrier.trailers_of(stream))
        self._release(ErrorCode.CANCEL if self._is_client else ErrorCode.NO_ERROR)

    async def abort(self) -> None:
        """See `Transport.abort`."""
        if not self._is_closed:
            self._release(ErrorCode.CANCEL)

    def check(self) -> None:
        """Raise what is wrong with the stream, if anything is.

        Raises:
            trio.ClosedResourceError: we have closed it.
            trio.BrokenResourceError: it was reset or refused, or the connection has ended.
        """
        if self._is_closed:
            raise trio.ClosedResourceError("the stream is closed")
        stream = self.stream
        if stream.fault is not None:
            raise trio.BrokenResourceError(stream.fault)
        if stream.reset_code is not None:
            raise trio.BrokenResourceError(f"reset by the peer: {name_of_error(stream.reset_code)}")
        if self._carrier.broken is not None:
            raise trio.BrokenResourceError(self._carrier.broken)

    async def wait_for_window(self) -> None:
        """Wait until the peer may take more bytes.

        Raises:
            trio.ClosedResourceError, trio.BrokenResourceError: see `check`.
        """
        await self._writable.park()
        self.check()

    def wake_reader(self) -> None:
        """Have whoever receives look again."""
        self._readable.unpark_all()

    def wake_writer(self) -> None:
        """Have whoever sends look again."""
        self._writable.unpark_all()

    def _release(self, code: ErrorCode) -> None:
        self._is_closed = True
        self._carrier.connection.reset_stream(self.stream, code)
        self.stream.forget_unread()
        self.wake_reader()
        self.wake_writer()
        self._carrier.release(self.stream)
        self._carrier.wake_sender()
