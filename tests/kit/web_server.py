"""Web servers on memory streams, each of which sends what the test specifies."""

from collections.abc import Callable

import attrs
import h11
import trio

from tests.kit.scripted_remote import Script


@attrs.frozen(kw_only=True)
class ReceivedRequest:
    """A request as a server has got it."""

    method: bytes
    target: bytes
    headers: dict[bytes, bytes]
    body: bytes


@attrs.define(eq=False)
class WebServers:
    """The servers behind one outbound: each connection carries one request.

    Args:
        answer: returns the bytes that answer a request.
        delay: seconds between request and answer.
        closes: False lets a server hold its connection open until it is closed from here.

    Attributes:
        requests: the requests, in their order.
    """

    answer: Callable[[ReceivedRequest], bytes]
    delay: float = 0.0
    closes: bool = True
    requests: list[ReceivedRequest] = attrs.field(factory=list)

    @property
    def script(self) -> Script:
        return self._serve

    async def _serve(self, stream: trio.abc.HalfCloseableStream) -> None:
        try:
            request = await self._read(stream)
        except h11.RemoteProtocolError:
            return
        if request is None:
            return
        self.requests.append(request)
        await trio.sleep(self.delay)
        await stream.send_all(self.answer(request))
        if not self.closes:
            while await stream.receive_some(65536):
                pass
            await trio.sleep_forever()

    async def _read(self, stream: trio.abc.HalfCloseableStream) -> ReceivedRequest | None:
        connection = h11.Connection(h11.SERVER)
        head: h11.Request | None = None
        body = b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(bytes(await stream.receive_some(65536)))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return ReceivedRequest(
                    method=head.method, target=head.target, headers=dict(head.headers), body=body
                )
            else:
                return None
