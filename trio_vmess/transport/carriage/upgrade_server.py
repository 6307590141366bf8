"""WebSocket and HTTPUpgrade in front of an inbound."""

import itertools
import logging
from collections.abc import Callable
from typing import Final

import attrs
import trio

from trio_vmess.contracts import Fallback, Inbound, Transport
from trio_vmess.core.carriage.upgrade import (
    Refused,
    RequestHead,
    Upgraded,
    UpgradeKind,
    UpgradeRules,
    UpgradeServer,
)
from trio_vmess.core.carriage.websocket import FrameReader, FrameWriter
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.transport.carriage.reading import receive_event
from trio_vmess.transport.carriage.websocket import FrameBuffer, WebSocketTransport
from trio_vmess.transport.lingering_close import close_lingering
from trio_vmess.transport.prefixed import PrefixedTransport

log: Final = logging.getLogger("trio_vmess.transport.upgrade")

READ_SIZE: Final = 16 * 1024
"""Bytes that one read of a request's head takes at most."""


SourceOf = Callable[[RequestHead, str], str]
"""Returns where a request comes from, by its headers and the address of the connection."""


def _address_of_connection(_head: RequestHead, source: str) -> str:
    return source


@attrs.frozen
class _Visitor:
    """Somebody who does not ask for the tunnel.

    Attributes:
        received: what has been read of the connection.
        source: the visitor's address.
    """

    received: bytes = attrs.field(repr=False)
    source: str


@attrs.frozen(eq=False, kw_only=True)
class UpgradeFront:
    """Opens tunnels by HTTP heads, and takes them off the connections of an inbound: an `Inbound`.

    Attributes:
        inbound: gets what is in the tunnels.
        rules: who gets a tunnel.
        clock: returns UTC seconds, for answers to others.
        buffer: shared by all WebSockets of this Trio run.
        next_heartbeat: see `WebSocketTransport`.
        fallback: answers everybody else; None for the answers of a web server without pages.
        source_of: believes headers where the connection is that of a known proxy.
    """

    inbound: Inbound
    rules: UpgradeRules
    clock: Callable[[], int]
    buffer: FrameBuffer
    next_heartbeat: Callable[[], float] | None = None
    fallback: Fallback | None = None
    source_of: SourceOf = _address_of_connection
    _head_buffer: memoryview = attrs.field(
        factory=lambda: memoryview(bytearray(READ_SIZE)), init=False
    )

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        """See `Inbound.serve`."""
        try:
            opened = await self._negotiate(transport, source, deadline)
            if isinstance(opened, Upgraded):
                await self._serve_tunnel(transport, opened, source, deadline)
            elif opened is not None and self.fallback is not None:
                await self.fallback.serve(transport, received=opened.received, source=opened.source)
        except (trio.BrokenResourceError, RemoteProtocolError) as exc:
            log.debug("upgrade.reset source=%s reason=%r", source, str(exc))
        finally:
            await transport.aclose()

    async def _serve_tunnel(
        self, transport: Transport, opened: Upgraded, source: str, deadline: float
    ) -> None:
        tunnel = self._tunnel(transport, opened)
        source = self.source_of(opened.head, source)
        await self.inbound.serve(tunnel, source=source, deadline=deadline)

    def _tunnel(self, transport: Transport, opened: Upgraded) -> Transport:
        if self.rules.kind is UpgradeKind.HTTP_UPGRADE:
            return PrefixedTransport(transport, opened.early_data + opened.trailing)
        return WebSocketTransport(
            transport,
            FrameReader(masked=True),
            FrameWriter(),
            buffer=self.buffer,
            early=opened.early_data,
            trailing=opened.trailing,
            next_heartbeat=self.next_heartbeat,
        )

    async def _negotiate(
        self, transport: Transport, source: str, deadline: float
    ) -> Upgraded | _Visitor | None:
        """Read requests until one opens the tunnel.

        Returns:
            The tunnel's request once it is answered; somebody whom the fallback is to serve; or
            None when the connection has been served to its end.

        Raises:
            trio.BrokenResourceError: the connection was reset.
            RemoteProtocolError: TLS below was damaged.
        """
        server = UpgradeServer(self.rules, judges_early=self.fallback is not None)
        with trio.move_on_at(deadline) as limit:
            opened = await self._answer_until_upgraded(server, transport, source)
            if isinstance(opened, Upgraded):
                return opened
            if isinstance(opened, Refused) and opened.head is not None:
                source = self.source_of(opened.head, source)
        if limit.cancelled_caught:
            log.info(
                "upgrade.timeout source=%s reason=%r",
                source,
                "no complete request before the handshake deadline",
            )
        received = b"" if self.fallback is None else server.received
        return _Visitor(received, source) if received else None

    async def _answer_until_upgraded(
        self, server: UpgradeServer, transport: Transport, source: str
    ) -> Upgraded | Refused | None:
        """Answer requests; return the first that is not to be answered here, or None at the end.

        Raises:
            trio.BrokenResourceError: the connection was reset.
            RemoteProtocolError: TLS below was damaged.
        """
        for number in itertools.count():
            event: Upgraded | Refused | None
            event = await receive_event(server, transport, self._head_buffer)
            if event is None:
                return None
            if isinstance(event, Upgraded):
                await transport.send_all(event.answer)
                return event
            if not number:
                # The first says enough: what follows on the connection is the same visitor.
                log.warning("upgrade.refused source=%s reason=%r", source, str(event))
            if self.fallback is not None:
                return event
            answer = event.answer(self.clock())
            if not event.keep_alive:
                await close_lingering(transport, answer)
                return None
            await transport.send_all(answer)
        return None
