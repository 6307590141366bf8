"""One forwarded HTTP request, presented to the relay as a client's connection.

The relay reads the rewritten request from this transport and writes the server's response to it.
The response passes through `HttpProxyServer` on its way to the client. The client's connection
stays with the inbound, because it may carry further requests.

Both directions end together, when the response is complete. If the request ended earlier, the relay
would half-close the connection to the server, which many servers take for an abort, and would apply
the short idle limit of half-closed connections to the wait for the response. So after the request
`receive_into` waits until the response has been delivered, and only then returns 0.

A client that closes its connection while it waits looks like one that only ends its direction. So
it is waited for, but not as long as others, and then taken to have left.
"""

from typing import Final

import trio

from trio_vmess.contracts import Transport
from trio_vmess.core import NEED_DATA, Destination
from trio_vmess.core.http import Data, EndOfMessage, HttpProxyServer, ResponseEnd
from trio_vmess.errors import RemoteProtocolError

READ_SIZE: Final = 64 * 1024
"""Bytes that one read of a request's body takes; what follows the body is the next request."""

LEFT_AFTER: Final = 10.0
"""Seconds without a byte of the response for a client that has ended its direction.

Other proxies close at once then. Clients that end their direction after the request are rare, but
theirs is a complete request, and most servers begin to answer within this time.
"""


class ForwardTransport:
    """The client's side of one forwarded request: a `Transport`.

    Args:
        server: its last event was a `Forward`, whose head the relay gets as early data.
        client: the client's connection; it stays open when this transport is closed.

    Attributes:
        over: set when this object no longer uses `server` and `client`.
        has_begun: whether the client has got a part of the response.
        is_complete: whether the client has got the whole response.
        keep_alive: whether the client may send another request.
        failure: what was wrong with the response; empty if nothing was.
    """

    def __init__(self, server: HttpProxyServer, client: Transport) -> None:
        self.over = trio.Event()
        self.keep_alive = False
        self.has_begun = False
        self.is_complete = False
        self.failure = ""
        self._server = server
        self._client = client
        self._request = bytearray()
        self._request_ended = False
        self._response_ended = False
        self._delivered = trio.Event()
        self._may_read = True
        self._is_client_ended = False
        self._response_size = 0
        self._reading: trio.CancelScope | None = None

    @property
    def local(self) -> Destination | None:
        """See `Transport.local`."""
        return self._client.local

    @property
    def remote(self) -> Destination | None:
        """See `Transport.remote`."""
        return self._client.remote

    @property
    def is_reset(self) -> bool:
        """See `Transport.is_reset`."""
        return self._client.is_reset

    def limit_receive_buffer(self, size: int | None, /) -> None:
        """See `Transport.limit_receive_buffer`."""
        self._client.limit_receive_buffer(size)

    def limit_unsent(self, size: int, /) -> None:
        """See `Transport.limit_unsent`."""
        self._client.limit_unsent(size)

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`; reads the request, which ends when the response does.

        Raises:
            RemoteProtocolError: the client broke the protocol.
            trio.BrokenResourceError: the client's connection was reset, or the client has left.
        """
        while not self._delivered.is_set():
            if not self._request_ended:
                self._take_events()
            if self._request:
                size = min(len(buffer), len(self._request))
                buffer[:size] = self._request[:size]
                del self._request[:size]
                return size
            if self._may_read:
                await self._read(buffer[:READ_SIZE])
            elif self._is_client_ended:
                await self._wait_for_one_that_may_have_left()
            else:
                await self._delivered.wait()
        return 0

    async def _wait_for_one_that_may_have_left(self) -> None:
        size = self._response_size
        with trio.move_on_after(LEFT_AFTER):
            await self._delivered.wait()
        if not self._delivered.is_set() and self._response_size == size:
            raise trio.BrokenResourceError("the client has left before the response")

    def _take_events(self) -> None:
        while (event := self._server.next_event()) is not NEED_DATA:
            if isinstance(event, Data | EndOfMessage):
                self._request += event.payload
            if not isinstance(event, Data):
                self._request_ended = True
                return

    async def _read(self, buffer: memoryview) -> None:
        """Read from the client once; cancelled when the response has been delivered.

        This goes on after the end of the request, so that a reset by the client is noticed while
        the server works. What it reads then is the beginning of the next request, which stays in
        `HttpProxyServer`; after one such read it stops, so that a client cannot fill our memory.
        """
        try:
            # The scope lets `_pass_on` and `aclose` take the client's connection from this read.
            with trio.CancelScope() as self._reading:
                size = await self._client.receive_into(buffer)
                if size:
                    self._server.receive_data(buffer[:size])
                else:
                    self._server.receive_eof()
                    self._is_client_ended = True
                if not size or self._request_ended:
                    self._may_read = False
        finally:
            self._reading = None
            # Whoever delivered the response left it to this read to report the end.
            if self._delivered.is_set():
                self.over.set()

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `Transport.send_all`; takes a piece of the server's response.

        Raises:
            trio.BrokenResourceError: the client's connection was reset, or the response had ended.
            RemoteProtocolError: the server broke the protocol.
        """
        if self._response_ended:
            raise trio.BrokenResourceError("the response has ended")
        if not len(data):
            return
        self._response_size += len(data)
        self._server.receive_origin_data(data)
        await self._pass_on()

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        """See `Transport.send_eof`; the server has closed its direction.

        Raises:
            trio.BrokenResourceError: the client's connection was reset.
            RemoteProtocolError: the response is incomplete.
        """
        if last:
            await self.send_all(last)
        if self._response_ended:
            return
        self._server.receive_origin_eof()
        await self._pass_on()

    async def _pass_on(self) -> None:
        """Send the client what `HttpProxyServer` has made of the response so far."""
        payloads: list[bytes] = []
        end: ResponseEnd | None = None
        try:
            while (event := self._server.next_origin_event()) is not NEED_DATA:
                payloads.append(event.payload)
                if isinstance(event, ResponseEnd):
                    # Before the next checkpoint: from now on `server` may have events of the next
                    # request, which `receive_into` must not take for this one.
                    self._request_ended = self._response_ended = True
                    end = event
                    break
        except RemoteProtocolError as exc:
            self.failure = str(exc)
            raise
        if data := b"".join(payloads):
            self.has_begun = True
            await self._client.send_all(data)
        if end is not None:
            self.keep_alive = end.keep_alive
            self.is_complete = True
            self._delivered.set()
            if self._reading is None:
                self.over.set()
            else:
                # `over` has to wait: two tasks must not read from the client at the same time.
                self._reading.cancel()

    async def abort(self) -> None:
        """See `Transport.abort`; whoever owns the client's connection sees `is_complete`."""
        await self.aclose()

    async def aclose(self) -> None:
        """See `Transport.aclose`; the client's connection stays open. It never waits."""
        self._request_ended = self._response_ended = True
        self._delivered.set()
        if self._reading is None:
            self.over.set()
        else:
            self._reading.cancel()
