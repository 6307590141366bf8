"""HTTP without TLS on a port that has TLS: told so, in nginx's words."""

import logging
from collections.abc import Callable
from typing import Final

import attrs
import trio

from trio_vmess.contracts import Transport
from trio_vmess.core.carriage import NginxPage
from trio_vmess.core.carriage.site import answer_page
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.fallback.requests import READ_SIZE, Requests

log: Final = logging.getLogger("trio_vmess.fallback.plain_http")


@attrs.frozen(eq=False, kw_only=True)
class PlainHttpFallback:
    """Says that the port speaks TLS: a `Fallback`.

    Attributes:
        clock: returns UTC seconds.
    """

    clock: Callable[[], int]
    _buffer: memoryview = attrs.field(factory=lambda: memoryview(bytearray(READ_SIZE)), init=False)

    async def serve(self, transport: Transport, *, received: bytes, source: str) -> None:
        """See `Fallback.serve`."""
        requests = Requests(transport, received=received, clock=self.clock, buffer=self._buffer)
        try:
            head = await requests.next_head()
            if head is not None:
                is_trace = head.method == "TRACE"
                page = NginxPage.NOT_ALLOWED if is_trace else NginxPage.PLAIN_HTTP
                await requests.send(head, answer_page(head, page))
                await requests.finish()
        except (trio.BrokenResourceError, RemoteProtocolError) as exc:
            log.debug("plain_http.reset source=%s reason=%r", source or "-", str(exc))
