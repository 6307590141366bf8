"""The HTTP outbound: tunnels through parent HTTP proxies, opened with CONNECT."""

from collections.abc import Mapping, Sequence
from typing import Final

from trio_vmess.contracts import Connect, Connected, PacketLink, StreamSide, Transport
from trio_vmess.core import NEED_DATA, Destination, Flow
from trio_vmess.core.http import Established, HttpConnectClient, TunnelRefused
from trio_vmess.errors import DialError, DialFailure
from trio_vmess.outbound.parent_proxy import READ_SIZE, ParentProxies, ParentProxy, send_pending

FAILURES: Final[Mapping[int, DialFailure]] = {
    403: DialFailure.FORBIDDEN,
    502: DialFailure.HOST_UNREACHABLE,
    504: DialFailure.TIMED_OUT,
}
"""The failure for each status of the parent proxy; any other status is `PARENT_PROXY`."""


class HttpOutbound:
    """Connects through HTTP proxies, which take turns.

    Args:
        tag: the outbound's name; may be empty.
        servers: one or more.
        connect: opens transports to them.

    Raises:
        ValueError: `servers` is empty.
    """

    def __init__(self, *, tag: str, servers: Sequence[ParentProxy], connect: Connect) -> None:
        self.tag = tag
        self._proxies = ParentProxies(servers, connect)

    async def connect(self, flow: Flow, /) -> Connected[StreamSide]:
        """See `Outbound.connect`."""
        destination = flow.destination

        async def negotiate(server: ParentProxy, transport: Transport) -> bytes:
            client = _client(server, destination)
            response = await _negotiate(client, transport)
            if isinstance(response, TunnelRefused):
                raise DialError(
                    f"{server}: {destination}: {response.status} {response.reason}",
                    reason=FAILURES.get(response.status, DialFailure.PARENT_PROXY),
                )
            return client.trailing_data

        transport, early = await self._proxies.open(negotiate)
        return Connected(self.tag, StreamSide(transport=transport, early=early))

    async def connect_packets(self, flow: Flow, /) -> Connected[PacketLink]:
        """See `Outbound.connect_packets`; always fails, because CONNECT is for streams only."""
        raise DialError(
            f"{flow.destination}: an HTTP proxy cannot carry datagrams",
            reason=DialFailure.UNSUPPORTED,
        )


def _client(server: ParentProxy, destination: Destination) -> HttpConnectClient:
    try:
        return HttpConnectClient(
            destination=destination, user=server.user, password=server.password
        )
    except ValueError as exc:
        raise DialError(f"{destination}: {exc}", reason=DialFailure.UNSUPPORTED) from None


async def _negotiate(
    client: HttpConnectClient, transport: Transport
) -> Established | TunnelRefused:
    """Send the CONNECT request and read the response to it.

    Raises:
        RemoteProtocolError: the response is malformed or cut short.
        trio.BrokenResourceError: the connection was reset.
    """
    buffer = memoryview(bytearray(READ_SIZE))
    await send_pending(client, transport)
    while (event := client.next_event()) is NEED_DATA:
        size = await transport.receive_into(buffer)
        if size:
            client.receive_data(buffer[:size])
        else:
            client.receive_eof()
    return event
