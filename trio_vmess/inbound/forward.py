"""A forwarded HTTP request, seen by the relay as a client's connection.

What the relay reads here is the rewritten request, and what it writes here is the server's
response, which goes through `HttpProxyServer` to the client. The client's connection itself stays
with the inbound, for it may carry the next request.

The two directions end together. After the request the relay has to wait: an end given to it now
would close the server's connection on one side, which many servers take for a cancellation, and
the response would have to come under the short limit of a one-sided connection. So the request
ends for the relay when the response does.
"""

from typing import Final

import trio

from trio_vmess.contracts import Transport
from trio_vmess.core import NEED_DATA, Destination
from trio_vmess.core.http import Data, EndOfMessage, HttpProxyServer, ResponseEnd
from trio_vmess.errors import RemoteProtocolError

READ_SIZE: Final = 64 * 1024
"""Bytes that one read of a request's body takes; what is behind it belongs to the next request."""


class ForwardTransport:
    """The client's side of one forwarded request: a `Transport`.

    Args:
        server: has just given out a `Forward`, whose head is the relay's early data.
        client: the client's connection; closing this transport leaves it open.

    Attributes:
        over: set when this object touches neither of the two any more.
        keep_alive: the client may send its next request.
        failure: what was wrong with the response; empty for nothing.
    """

    def __init__(self, server: HttpProxyServer, client: Transport) -> None:
        self.over = trio.Event()
        self.keep_alive = False
        self.failure = ""
        self._server = server
        self._client = client
        self._request = bytearray()
        self._request_ended = False
        self._response_ended = False
        self._delivered = trio.Event()
        self._may_read = True
        self._reading: trio.CancelScope | None = None

    @property
    def local(self) -> Destination | None:
        """See `Transport.local`."""
        return self._client.local

    @property
    def remote(self) -> Destination | None:
        """See `Transport.remote`."""
        return self._client.remote

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`; the request, which ends when the response does.

        Raises:
            RemoteProtocolError: the client broke the protocol.
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
            else:
                await self._delivered.wait()
        return 0

    def _take_events(self) -> None:
        while (event := self._server.next_event()) is not NEED_DATA:
            if isinstance(event, Data | EndOfMessage):
                self._request += event.payload
            if not isinstance(event, Data):
                self._request_ended = True
                return

    async def _read(self, buffer: memoryview) -> None:
        """Read once, unless the response is delivered before anything has come.

        Behind the request, too: a reset is seen there, and one read of the next request may wait.
        """
        try:
            with trio.CancelScope() as self._reading:
                size = await self._client.receive_into(buffer)
                if size:
                    self._server.receive_data(buffer[:size])
                else:
                    self._server.receive_eof()
                if not size or self._request_ended:
                    self._may_read = False
        finally:
            self._reading = None
            if self._delivered.is_set():
                self.over.set()

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `Transport.send_all`; a piece of the response, for the client.

        Raises:
            trio.BrokenResourceError: the client is gone, or the response was over already.
            RemoteProtocolError: the server broke the protocol.
        """
        if self._response_ended:
            raise trio.BrokenResourceError("the response is over")
        if not len(data):
            return
        self._server.receive_origin_data(data)
        await self._pass_on()

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        """See `Transport.send_eof`; the server has ended its stream.

        Raises:
            trio.BrokenResourceError: the client is gone.
            RemoteProtocolError: the response is not whole.
        """
        if last:
            await self.send_all(last)
        if self._response_ended:
            return
        self._server.receive_origin_eof()
        await self._pass_on()

    async def _pass_on(self) -> None:
        payloads: list[bytes] = []
        end: ResponseEnd | None = None
        try:
            while (event := self._server.next_origin_event()) is not NEED_DATA:
                payloads.append(event.payload)
                if isinstance(event, ResponseEnd):
                    # At once: from here on the server would give out the next request.
                    self._request_ended = self._response_ended = True
                    end = event
                    break
        except RemoteProtocolError as exc:
            self.failure = str(exc)
            raise
        if data := b"".join(payloads):
            await self._client.send_all(data)
        if end is not None:
            self.keep_alive = end.keep_alive
            self._delivered.set()
            if self._reading is None:
                self.over.set()
            else:
                # Nobody else may read from the client before this read has let go.
                self._reading.cancel()

    async def aclose(self) -> None:
        """See `Transport.aclose`; the client's connection stays open. It never waits."""
        self._request_ended = self._response_ended = True
        self._delivered.set()
        if self._reading is None:
            self.over.set()
        else:
            self._reading.cancel()
