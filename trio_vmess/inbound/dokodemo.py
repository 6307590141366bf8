"""The dokodemo-door inbound: forwards everything to one fixed destination."""

import logging
import socket
from collections.abc import Sequence
from typing import Final

import trio

from trio_vmess.contracts import SILENT_ANSWER, Dispatch, StreamSide, Transport
from trio_vmess.core import Destination, Flow, Host, Network, User, format_endpoint, parse_host
from trio_vmess.inbound.flow_table import FlowTable, Opening
from trio_vmess.transport import DatagramSocket, SocketAddress

log: Final = logging.getLogger("trio_vmess.inbound.dokodemo")


class DokodemoInbound:
    """Forwards a local port to a fixed host and port.

    Args:
        dispatch: gets every flow.
        tag: the inbound's name; may be empty.
        level: the policy level of all clients.
        host: the destination's address or name.
        port: the destination's port.
    """

    def __init__(self, dispatch: Dispatch, *, tag: str, level: int, host: Host, port: int) -> None:
        self._dispatch = dispatch
        self._tag = tag
        self._user = User(level=level)
        self._host = host
        self._port = port

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        """See `Inbound.serve`."""
        try:
            flow = self._flow(Network.TCP, source)
            await self._dispatch.stream(flow, StreamSide(transport=transport), SILENT_ANSWER)
        finally:
            await transport.aclose()

    async def serve_datagrams(self, sock: socket.socket) -> None:
        """Serve a UDP port; each client address is a flow of its own until that is idle.

        Args:
            sock: bound; owned by the inbound from now on.

        Raises:
            trio.Cancelled: from outside; the socket is closed then. Without a cancellation it
                returns only when the socket fails.
        """
        datagrams = DatagramSocket(sock)
        try:
            async with trio.open_nursery() as nursery:

                def open_flow(address: SocketAddress) -> Opening:
                    def reply(payloads: Sequence[bytes]) -> int:
                        return datagrams.send(payloads, address)

                    return Opening(flow=self._flow(Network.UDP, _format(address)), reply=reply)

                flows = FlowTable(self._dispatch, open_flow=open_flow)
                try:
                    while True:
                        for datagram, address in await datagrams.receive():
                            flows.deliver(address, datagram, nursery)
                except trio.BrokenResourceError as exc:
                    log.warning(
                        "dokodemo.socket_failed tag=%s reason=%r", self._tag or "-", str(exc)
                    )
                    nursery.cancel_scope.cancel()
        finally:
            datagrams.close()

    def _flow(self, network: Network, source: str) -> Flow:
        return Flow(
            destination=Destination(host=self._host, port=self._port, network=network),
            source=source,
            inbound_tag=self._tag,
            user=self._user,
        )


def _format(address: SocketAddress) -> str:
    return format_endpoint(parse_host(address[0].partition("%")[0]), address[1])
