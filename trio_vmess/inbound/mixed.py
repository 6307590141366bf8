"""The mixed inbound: SOCKS and HTTP on one port, distinguished by the first byte."""

import logging
from typing import Final

import trio

from trio_vmess.contracts import Inbound, Transport
from trio_vmess.core import NEED_DATA, ProxyProtocol, detect_proxy_protocol
from trio_vmess.transport import PrefixedTransport

log: Final = logging.getLogger("trio_vmess.inbound.mixed")

READ_SIZE: Final = 4096
"""Bytes of the first read: more than most handshakes begin with."""


class MixedInbound:
    """Passes each connection to one of two inbounds.

    Args:
        socks: serves connections that begin with a SOCKS version byte.
        http: serves all others.
    """

    def __init__(self, socks: Inbound, http: Inbound) -> None:
        self._socks = socks
        self._http = http

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        """See `Inbound.serve`."""
        inbound, first_bytes = None, b""
        try:
            first_bytes = await self._peek(transport, source, deadline)
            verdict = detect_proxy_protocol(first_bytes)
            if verdict is not NEED_DATA:
                inbound = self._socks if verdict is ProxyProtocol.SOCKS else self._http
        finally:
            # A chosen inbound closes the transport itself.
            if inbound is None:
                await transport.aclose()
        if inbound is not None:
            whole = PrefixedTransport(transport, first_bytes)
            await inbound.serve(whole, source=source, deadline=deadline)

    async def _peek(self, transport: Transport, source: str, deadline: float) -> bytes:
        """Read once; return no bytes on timeout, close or reset."""
        buffer = memoryview(bytearray(READ_SIZE))
        try:
            with trio.move_on_at(deadline):
                return bytes(buffer[: await transport.receive_into(buffer)])
            log.info(
                "mixed.refused source=%s reason=%r", source, "no data before the handshake deadline"
            )
        except trio.BrokenResourceError:
            log.info("mixed.refused source=%s reason=%r", source, "the connection was reset")
        return b""
