"""The dokodemo-door inbound of a transparent proxy: everything goes on to where it was going."""

import functools
import logging
import socket
from collections.abc import Callable, Collection, Sequence
from typing import Final

import trio

from trio_vmess.contracts import SILENT_ANSWER, Dispatch, StreamSide, Transport
from trio_vmess.core import Destination, Flow, Host, Network, User, format_endpoint, parse_host
from trio_vmess.inbound.answer_sockets import AnswerSockets
from trio_vmess.inbound.flow_table import FlowTable, Opening
from trio_vmess.transport import (
    DatagramSocket,
    SocketAddress,
    destination_of,
    is_own_address,
    receive_to,
)

log: Final = logging.getLogger("trio_vmess.inbound.dokodemo")

_FlowKey = tuple[SocketAddress, bytes]
"""Who has sent the datagrams of a flow, and where they were going, as `receive_to` names it."""


class TransparentInbound:
    """Takes over connections and datagrams that a firewall hands to it.

    What was going to the inbound's own port was not handed over by anybody. It goes to the
    fallback; without one it is refused, for it would come back here for ever.

    Args:
        dispatch: gets every flow.
        tag: the inbound's name; may be empty.
        level: the policy level of all clients.
        fallback: host and port for all of which it is not known where it was going; None for none.
        find_ports: returns the ports on which the inbound accepts connections.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        *,
        tag: str,
        level: int,
        fallback: tuple[Host, int] | None,
        find_ports: Callable[[], Collection[int]],
    ) -> None:
        self._dispatch = dispatch
        self._tag = tag
        self._user = User(level=level)
        self._fallback = fallback
        self._find_ports = find_ports

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        """See `Inbound.serve`; the connection was going to the transport's local address."""
        try:
            reached, ports = transport.local, self._find_ports()
            destination = reached
            if reached is None or _is_own(reached, ports):
                destination = self._instead_of(reached, Network.TCP, source)
            if destination is not None:
                flow = self._flow(destination, source, ports)
                await self._dispatch.stream(flow, StreamSide(transport=transport), SILENT_ANSWER)
        finally:
            await transport.aclose()

    async def serve_datagrams(self, sock: socket.socket) -> None:
        """Serve a UDP port; each pair of a client and a destination is a flow until that is idle.

        Args:
            sock: bound, and transparent if it is to receive datagrams to other addresses; owned by
                the inbound from now on.

        Raises:
            trio.Cancelled: from outside; the socket is closed then. Without a cancellation it
                returns only when the socket fails.
        """
        datagrams = DatagramSocket(sock)
        try:
            async with trio.open_nursery() as nursery:
                answers = AnswerSockets(sock, nursery=nursery, tag=self._tag)
                open_flow = functools.partial(self._open_flow, datagrams, answers)
                flows = FlowTable(self._dispatch, open_flow=open_flow)

                def deliver(client: SocketAddress, name: bytes, datagram: bytes) -> None:
                    flows.deliver((client, name), datagram, nursery)

                answers.deliver = deliver
                receive = functools.partial(receive_to, sock)
                try:
                    while True:
                        for datagram, client, name in await datagrams.receive_by(receive):
                            deliver(client, name, datagram)
                except trio.BrokenResourceError as exc:
                    log.warning(
                        "dokodemo.socket_failed tag=%s reason=%r", self._tag or "-", str(exc)
                    )
                    nursery.cancel_scope.cancel()
        finally:
            datagrams.close()

    def _open_flow(
        self, datagrams: DatagramSocket, answers: AnswerSockets, key: _FlowKey
    ) -> Opening | None:
        client, name = key
        source = format_endpoint(parse_host(client[0].partition("%")[0]), client[1])
        reached = destination_of(name, Network.UDP) if name else None
        ports = (datagrams.socket.getsockname()[1],)
        if reached is None or _is_own(reached, ports):
            destination = self._instead_of(reached, Network.UDP, source)
            if destination is None:
                return None

            def reply_from_port(payloads: Sequence[bytes]) -> int:
                return datagrams.send(payloads, client)

            return Opening(flow=self._flow(destination, source, ports), reply=reply_from_port)

        def reply(payloads: Sequence[bytes]) -> int:
            return answers.send(name, payloads, client)

        answers.hold(name)
        return Opening(
            flow=self._flow(reached, source, ports),
            reply=reply,
            close=functools.partial(answers.release, name),
        )

    def _instead_of(
        self, reached: Destination | None, network: Network, source: str
    ) -> Destination | None:
        """Return where something goes that was not handed over; None, and a log line, for nowhere.

        Args:
            reached: where it was going; None if nobody knows.
            network: by which it came.
            source: who has sent it.
        """
        if self._fallback is not None:
            host, port = self._fallback
            return Destination(host=host, port=port, network=network)
        log.warning(
            "dokodemo.not_redirected tag=%s source=%s destination=%s hint=%r",
            self._tag or "-",
            source,
            reached or "-",
            "refused: it came to the port itself, or the system has forgotten where it was going; "
            "connect elsewhere, and let the firewall redirect that",
        )
        return None

    def _flow(self, destination: Destination, source: str, ports: Collection[int]) -> Flow:
        # A sniffed name may turn out to be this machine's.
        port = destination.port
        return Flow(
            destination=destination,
            source=source,
            inbound_tag=self._tag,
            user=self._user,
            looping_port=port if port in ports else 0,
        )


def _is_own(reached: Destination, ports: Collection[int]) -> bool:
    """Tell whether something was going to the inbound itself, on one of its ports."""
    if reached.port not in ports or isinstance(reached.host, str):
        return False
    try:
        return is_own_address(reached.host)
    except OSError:  # no socket left to find out
        return True
