"""The origin's side of one forwarded request: what is written to it, and what it answers.

Each request has a connection of its own, because the server closes it after the response: see
`origin_request`. Two h11 connections meet here. One is the client of the origin; the other, the
server of the proxy's own client, frames the response anew for that hop.
"""

import h11

from trio_vmess.core.buffer import NEED_DATA, NeedData
from trio_vmess.core.http.answer import CLOSE, describe
from trio_vmess.core.http.connection import BoundedConnection
from trio_vmess.core.http.events import OriginEvent, ResponseData, ResponseEnd, ResponseHead
from trio_vmess.core.http.message import (
    Target,
    client_response,
    comma_list,
    end_to_end_headers,
    origin_request,
)
from trio_vmess.errors import RemoteProtocolError


class OriginSide:
    """One request on its way to an origin, and the response on its way back.

    Args:
        request: as the client sent it.
        target: where it goes.
        client: the connection that the response is framed for.

    Attributes:
        headers: names and values as they go to the origin.
        head: request line and headers, to be written to the origin first.
    """

    def __init__(self, request: h11.Request, target: Target, client: BoundedConnection) -> None:
        rewritten = origin_request(request, target)
        self._request = request
        self._client = client
        self._connection = BoundedConnection(h11.CLIENT)
        self.headers = tuple(rewritten.headers.raw_items())
        self.head = self._connection.send(rewritten)

    # To the origin ----------------------------------------------------------------------------

    def send_data(self, data: bytes) -> bytes:
        """Frame a piece of the request's body."""
        return self._connection.send(h11.Data(data=data))

    def send_end(self) -> bytes:
        """Frame the end of the request."""
        return self._connection.send(h11.EndOfMessage())

    # From the origin --------------------------------------------------------------------------

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Store what the origin sent; no bytes mean the same as `receive_eof`.

        Raises:
            RemoteProtocolError: more than a mebibyte waits.
            LocalProtocolError: the stream has ended before.
        """
        self._connection.receive_data(data)

    def receive_eof(self) -> None:
        """Note that the origin has ended its stream."""
        self._connection.receive_eof()

    def next_event(self) -> OriginEvent | NeedData:
        """Parse the origin's next event, and frame it for the client.

        Raises:
            RemoteProtocolError: the origin broke the protocol.
        """
        try:
            while (event := self._connection.next_event()) is not NEED_DATA:
                passed_on = self._pass_on(event)
                if passed_on is not None:
                    return passed_on
        except h11.RemoteProtocolError as exc:
            if self._connection.ended and self._client.may_respond:
                message = "the server closed the connection without a whole response"
            else:
                message = f"the server's response is malformed: {describe(exc)}"
            raise RemoteProtocolError(message) from None
        except h11.LocalProtocolError as exc:
            raise RemoteProtocolError(
                f"the server's response cannot be passed on: {describe(exc)}"
            ) from None
        return NEED_DATA

    def _pass_on(self, event: h11.Event) -> OriginEvent | None:
        match event:
            case h11.InformationalResponse():
                return self._pass_on_preliminary(event)
            case h11.Response():
                extra = [CLOSE] if self._client_wants_close() else []
                payload = self._client.send(client_response(event, extra=extra))
                return ResponseHead(status=event.status_code, payload=payload)
            case h11.Data():
                return ResponseData(payload=self._client.send(h11.Data(data=event.data)))
            case h11.EndOfMessage():
                payload = self._client.send(h11.EndOfMessage())
                return ResponseEnd(payload=payload, keep_alive=self._client.reusable)
            case _:
                # h11.ConnectionClosed, which the end of the response has announced.
                return None

    def _pass_on_preliminary(self, event: h11.InformationalResponse) -> ResponseHead | None:
        # RFC 9110 section 15.2: no 1xx for a client of HTTP/1.0.
        if self._request.http_version == b"1.0":
            return None
        preliminary = h11.InformationalResponse(
            status_code=event.status_code,
            reason=event.reason,
            headers=end_to_end_headers(event),
        )
        return ResponseHead(status=event.status_code, payload=self._client.send(preliminary))

    def _client_wants_close(self) -> bool:
        """Look at the header that old browsers use for proxies; h11 looks at the standard one."""
        return b"close" in comma_list(self._request, b"proxy-connection")
