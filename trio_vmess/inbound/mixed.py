"""The mixed inbound: SOCKS and HTTP on one port, told apart by the first byte."""

import logging
from typing import Final

import trio

from trio_vmess.contracts import Inbound, Transport
from trio_vmess.core import NEED_DATA, ProxyProtocol, detect_proxy_protocol
from trio_vmess.transport import PrefixedTransport

log: Final = logging.getLogger("trio_vmess.inbound.mixed")

READ_SIZE: Final = 4096
"""Bytes of the first read: most handshakes begin with fewer."""


class MixedInbound:
    """Gives each connection to one of two inbounds.

    Args:
        socks: gets what begins with a version of SOCKS.
        http: gets everything else.
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
            if inbound is None:
                await transport.aclose()
        if inbound is not None:
            whole = PrefixedTransport(transport, first_bytes)
            await inbound.serve(whole, source=source, deadline=deadline)

    async def _peek(self, transport: Transport, source: str, deadline: float) -> bytes:
        """Read once; nothing where nothing comes."""
        buffer = memoryview(bytearray(READ_SIZE))
        try:
            with trio.move_on_at(deadline):
                return bytes(buffer[: await transport.receive_into(buffer)])
            log.info("mixed.refused source=%s reason=%r", source, "no request in time")
        except trio.BrokenResourceError:
            log.info("mixed.refused source=%s reason=%r", source, "the connection was reset")
        return b""
