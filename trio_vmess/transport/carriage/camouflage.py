"""TCP with `header: http`: one HTTP head in each direction, and then the bytes as they are."""

import logging
from collections.abc import Callable
from typing import Final

import attrs
import trio

from trio_vmess.contracts import Connect, Fallback, Inbound, Transport
from trio_vmess.core import Host
from trio_vmess.core.carriage import CamouflageClient, CamouflageServer, HeadPassed, HeadRefused
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.transport.carriage.reading import receive_event
from trio_vmess.transport.layer import TransportLayer
from trio_vmess.transport.lingering_close import close_lingering
from trio_vmess.transport.prefixed import PrefixedTransport

log: Final = logging.getLogger("trio_vmess.transport.camouflage")

READ_SIZE: Final = 16 * 1024
"""Bytes that one read of a head takes at most."""


class CamouflagedTransport(TransportLayer):
    """A connection whose first bytes in each direction follow an HTTP head: a `Transport`.

    Args:
        transport: owned by this one from now on.
        head: goes out with the first bytes that are sent.
        reader: reads over the peer's head; None if that has been done.
    """

    __slots__ = ("_head", "_reader")

    def __init__(
        self, transport: Transport, *, head: bytes, reader: CamouflageClient | None
    ) -> None:
        super().__init__(transport)
        self._head = head
        self._reader = reader

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`.

        Raises:
            trio.BrokenResourceError: the connection was reset.
            RemoteProtocolError: the peer's head does not end.
        """
        while self._reader is not None:
            size = await self._transport.receive_into(buffer)
            if not size:
                return 0
            self._reader.receive_data(buffer[:size])
            event = self._reader.next_event()
            if isinstance(event, HeadPassed):
                self._reader = None
                if event.trailing:
                    self._transport = PrefixedTransport(self._transport, event.trailing)
        return await self._transport.receive_into(buffer)

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `Transport.send_all`."""
        if self._head and len(data):
            data, self._head = self._head + bytes(data), b""
        await self._transport.send_all(data)

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        """See `Transport.send_eof`."""
        if self._head and last:
            last, self._head = self._head + bytes(last), b""
        await self._transport.send_eof(last)


@attrs.frozen(eq=False, kw_only=True)
class CamouflageFront:
    """Takes the heads off the connections of an inbound: an `Inbound`.

    Attributes:
        inbound: gets what follows them.
        paths: what clients may ask for.
        make_head: returns the head of a response.
        clock: returns UTC seconds, for answers to others.
        fallback: answers everybody else; None for the answers of a web server without pages.
    """

    inbound: Inbound
    paths: tuple[str, ...]
    make_head: Callable[[], bytes]
    clock: Callable[[], int]
    fallback: Fallback | None = None
    _buffer: memoryview = attrs.field(factory=lambda: memoryview(bytearray(READ_SIZE)), init=False)

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        """See `Inbound.serve`."""
        try:
            passed = await self._read_head(transport, source, deadline)
            if isinstance(passed, HeadPassed):
                inside = CamouflagedTransport(
                    PrefixedTransport(transport, passed.trailing),
                    head=self.make_head(),
                    reader=None,
                )
                await self.inbound.serve(inside, source=source, deadline=deadline)
            elif passed and self.fallback is not None:
                await self.fallback.serve(transport, received=passed, source=source)
        except (trio.BrokenResourceError, RemoteProtocolError) as exc:
            log.debug("camouflage.reset source=%s reason=%r", source, str(exc))
        finally:
            await transport.aclose()

    async def _read_head(
        self, transport: Transport, source: str, deadline: float
    ) -> HeadPassed | bytes:
        """Read a client's head.

        Returns:
            The head, or what the fallback is to answer; nothing if it was answered here.

        Raises:
            trio.BrokenResourceError: the connection was reset.
            RemoteProtocolError: TLS below was damaged.
        """
        server = CamouflageServer(self.paths)
        with trio.move_on_at(deadline):
            event = await receive_event(server, transport, self._buffer)
            if isinstance(event, HeadPassed):
                return event
            if isinstance(event, HeadRefused):
                log.warning("camouflage.refused source=%s reason=%r", source, str(event))
                if self.fallback is None:
                    await close_lingering(transport, event.answer(self.clock()))
        return b"" if self.fallback is None else server.received


@attrs.frozen(eq=False, kw_only=True)
class CamouflageConnect:
    """Dials servers, and puts heads in front: a `Connect`.

    Attributes:
        connect: dials.
        make_head: returns the head of a request.
    """

    connect: Connect
    make_head: Callable[[], bytes]

    async def __call__(self, host: Host, port: int) -> Transport:
        """Dial; see `Connect`.

        Raises:
            DialError: the server cannot be reached.
        """
        transport = await self.connect(host, port)
        return CamouflagedTransport(transport, head=self.make_head(), reader=CamouflageClient())
