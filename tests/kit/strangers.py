"""Strangers: what they send to a `Fallback` or to a port, and what they are told."""

import contextlib
import re
from collections.abc import Awaitable, Callable

import attrs
import trio

from tests.kit.remote_ends import RemoteEnd, memory_pair
from trio_vmess.contracts import Fallback, Transport

SOURCE = "192.0.2.9:5000"

Serve = Callable[[Transport], Awaitable[None]]


@attrs.define(eq=False)
class NotingFallback:
    """Notes how it was called, tells everybody the same, and ends with them: a `Fallback`.

    Attributes:
        calls: what had been received, from where, and when on Trio's clock.
        rest: what came afterwards.
    """

    answer: bytes = b"the site"
    calls: list[tuple[bytes, str, float]] = attrs.field(factory=list)
    rest: bytes = b""

    async def serve(self, transport: Transport, *, received: bytes, source: str) -> None:
        """See `Fallback.serve`."""
        self.calls.append((received, source, trio.current_time()))
        await transport.send_all(self.answer)
        with contextlib.suppress(trio.BrokenResourceError):
            self.rest += await RemoteEnd(transport).receive_all()


async def told_by(fallback: Fallback, wire: bytes, *, step: int = 0, source: str = SOURCE) -> bytes:
    """Return all that a fallback sends to a stranger, who then ends the connection.

    Args:
        fallback: is handed the first piece as what was received before.
        wire: all that the stranger sends.
        step: bytes of each piece; 0 for all in one.
        source: the stranger's address.
    """
    size = step or len(wire)

    async def serve(transport: Transport) -> None:
        await fallback.serve(transport, received=wire[:size], source=source)

    return await told(serve, wire[size:], step=step)


async def told(serve: Serve, wire: bytes, *, step: int = 0) -> bytes:
    """Return all that is sent to a stranger, who sends `wire` and ends the connection."""
    ours, theirs = memory_pair()

    async def run() -> None:
        try:
            await serve(ours)
        finally:
            await ours.aclose()

    async def send() -> None:
        size = step or len(wire) or 1
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            for start in range(0, len(wire), size):
                await theirs.send_all(wire[start : start + size])
                await trio.lowlevel.checkpoint()
            await theirs.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        nursery.start_soon(send)
        answer = await RemoteEnd(theirs).receive_all()
        await theirs.aclose()
    return answer


def undated(answer: bytes | str) -> str:
    """Return an answer without its dates."""
    text = answer if isinstance(answer, str) else answer.decode("latin-1")
    return re.sub("Date: [^\r]*", "Date: now", text)
