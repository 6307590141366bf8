"""A site of files, for strangers: HTTP/1.1 with keep-alive, and nothing to be configured."""

import logging
from collections.abc import Callable
from typing import Final

import attrs
import trio

from trio_vmess.contracts import Transport
from trio_vmess.core.carriage import NginxPage
from trio_vmess.core.carriage.site import (
    FILE_METHODS,
    Answer,
    Target,
    answer_file,
    answer_page,
    parse_target,
    refusal_of,
)
from trio_vmess.core.carriage.upgrade import RequestHead
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.fallback.folder import Folder, OpenFile
from trio_vmess.fallback.requests import READ_SIZE, Requests

log: Final = logging.getLogger("trio_vmess.fallback.site")


@attrs.frozen(eq=False, kw_only=True)
class SiteFallback:
    """Serves the files of a folder: a `Fallback`.

    Attributes:
        folder: what is served.
        clock: returns UTC seconds.
    """

    folder: Folder
    clock: Callable[[], int]
    _buffer: memoryview = attrs.field(factory=lambda: memoryview(bytearray(READ_SIZE)), init=False)

    async def serve(self, transport: Transport, *, received: bytes, source: str) -> None:
        """See `Fallback.serve`."""
        requests = Requests(transport, received=received, clock=self.clock, buffer=self._buffer)
        try:
            while (head := await requests.next_head()) is not None:
                if not await self._serve_request(requests, head):
                    await requests.finish()
                    return
        except (trio.BrokenResourceError, RemoteProtocolError) as exc:
            log.debug("site.reset source=%s reason=%r", source or "-", str(exc))
        except OSError as exc:
            # The client must not take a part for the whole.
            log.warning("site.unreadable source=%s reason=%r", source or "-", str(exc))
            await transport.abort()

    async def answer(self, head: RequestHead) -> tuple[Answer, OpenFile | None]:
        """Answer a request of any version of HTTP.

        Returns:
            The answer, and the file behind it if there is one, which the caller closes.
        """
        if (refusal := refusal_of(head)) is not None:
            return answer_page(head, refusal), None
        if head.method not in FILE_METHODS:
            return answer_page(head, NginxPage.NOT_ALLOWED), None
        try:
            target = parse_target(head.target)
        except ValueError:
            return answer_page(head, NginxPage.BAD_REQUEST), None
        found = await self.folder.open(target)
        if isinstance(found, OpenFile):
            return _with_file(answer_file(head, found.facts), found)
        return await self._answer_page(head, found, target)

    async def _answer_page(
        self, head: RequestHead, page: NginxPage, target: Target
    ) -> tuple[Answer, OpenFile | None]:
        if page is NginxPage.MOVED:
            return answer_page(head, page, location=target.as_folder), None
        if page is NginxPage.NOT_FOUND:
            own = await self.folder.open_error_page()
            if own is not None:
                return _with_file(answer_file(head, own.facts, page=page), own)
        return answer_page(head, page), None

    async def _serve_request(self, requests: Requests, head: RequestHead) -> bool:
        """Answer one request; return whether another may follow.

        Raises:
            trio.BrokenResourceError: the connection was reset, or the client takes nothing.
            OSError: the file could not be read to its end.
        """
        answer, file = await self.answer(head)
        if file is None:
            return await requests.send(head, answer)
        try:
            goes_on = await requests.send(head, answer, file.begin)
            while piece := await file.next_piece():
                await requests.send_piece(piece)
        finally:
            file.close()
        return goes_on


def _with_file(answer: Answer, file: OpenFile) -> tuple[Answer, OpenFile | None]:
    if answer.has_file:
        return answer, file
    file.close()
    return answer, None
