"""Serves what a client asks to carry more than one connection."""

import logging
from collections.abc import Callable
from typing import Final

import attrs

from trio_vmess.contracts import Dispatch, PacketLink, StreamSide
from trio_vmess.core import Entropy, Flow
from trio_vmess.inbound.mux.carrier import Carrier, Files
from trio_vmess.inbound.mux.global_ids import GlobalIds
from trio_vmess.inbound.mux.packetaddr import PacketAddrSession
from trio_vmess.transport import SideTransport

log: Final = logging.getLogger("trio_vmess.inbound.mux")

_NAME_SIZE: Final = 4


class MuxInbound:
    """Serves the carriers of one port.

    Args:
        dispatch: gets every sub-connection.
        entropy: source of the names of carriers in the log.
        buffer: the read buffer; shared by all connections.
        global_ids: of the inbound, whose ports share them.
        files: sub-connections that cannot have one are refused.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        *,
        entropy: Entropy,
        buffer: memoryview,
        global_ids: GlobalIds,
        files: Files,
    ) -> None:
        self._dispatch = dispatch
        self._entropy = entropy
        self._buffer = buffer
        self._global_ids = global_ids
        self._files = files

    async def serve(self, client: StreamSide, flow: Flow, *, may_open: Callable[[], bool]) -> None:
        """Serve a carrier of Mux.Cool or XUDP until it and its sub-connections have ended.

        Args:
            client: the client's side; closed at the end.
            flow: of whom the sub-connections are; its destination is not used.
            may_open: returns whether the client may still open sub-connections.
        """
        flow = self._name(flow)
        carrier = Carrier(
            SideTransport(client),
            flow,
            self._dispatch,
            global_ids=self._global_ids,
            may_open=may_open,
            files=self._files,
            buffer=self._buffer,
        )
        _log_end(flow, await carrier.run())

    async def serve_packetaddr(self, client: PacketLink, flow: Flow) -> None:
        """Serve a carrier of packetaddr, likewise."""
        flow = self._name(flow)
        _log_end(flow, await PacketAddrSession(client, flow, self._dispatch).run())

    def _name(self, flow: Flow) -> Flow:
        name = self._entropy.token_bytes(_NAME_SIZE).hex()
        log.debug("mux.opened source=%s carrier=%s", flow.source or "-", name)
        return attrs.evolve(flow, carrier=name)


def _log_end(flow: Flow, reason: str) -> None:
    log.debug("mux.closed source=%s carrier=%s reason=%r", flow.source or "-", flow.carrier, reason)
