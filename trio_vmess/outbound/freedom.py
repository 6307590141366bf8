"""The freedom outbound: connects directly to the destination.

Remote clients (those of a VMess inbound) must not reach this machine's own services, on whatever
address, or its private networks unless the outbound allows it. The check is made on each address
that is dialled, after name resolution, so no name can bypass it.
"""

import functools
import socket
from collections.abc import Sequence

import trio

from trio_vmess.contracts import Connected, PacketLink, Resolve, ResolveFor, StreamSide
from trio_vmess.core import (
    Destination,
    Flow,
    Host,
    IPAddress,
    embedded_address,
    format_endpoint,
    is_public,
)
from trio_vmess.errors import DialError, DialFailure
from trio_vmess.outbound.shared_sockets import SharedSockets
from trio_vmess.transport import (
    DIAL_TIMEOUT,
    DatagramSocket,
    Refuse,
    SocketOption,
    check_refusal,
    connect_datagram_socket,
    dial,
    is_own_address,
    open_datagram_socket,
    resolve,
)


class FreedomOutbound:
    """Connects directly to destinations.

    Args:
        tag: the outbound's name.
        allow_private: let remote clients reach loopback, private and special addresses.
        family: `AF_INET` or `AF_INET6` to resolve names to one family only.
        redirect_host: replaces every host.
        redirect_port: replaces every port.
        local: the address to connect from; None leaves it to the system.
        options: of the sockets for TCP.
        datagram_options: of those for UDP.
        resolve_for: finds the addresses of names for a flow.
    """

    def __init__(
        self,
        *,
        tag: str,
        allow_private: bool = False,
        family: socket.AddressFamily = socket.AF_UNSPEC,
        redirect_host: Host | None = None,
        redirect_port: int | None = None,
        local: IPAddress | None = None,
        options: Sequence[SocketOption] = (),
        datagram_options: Sequence[SocketOption] = (),
        resolve_for: ResolveFor | None = None,
    ) -> None:
        self.tag = tag
        self._allow_private = allow_private
        self._family = family
        self._redirect_host = redirect_host
        self._redirect_port = redirect_port
        self._local = local
        self._options = options
        self._datagram_options = datagram_options
        self._shared = SharedSockets()
        self._resolve_for = resolve_for or _resolve_for_anybody

    async def connect(self, flow: Flow, /) -> Connected[StreamSide]:
        """See `Outbound.connect`."""
        host, port = self._target(flow.destination)
        transport = await dial(
            host,
            port,
            family=self._family,
            local=self._local,
            refuse=self._refuse(flow, port),
            resolve=self._resolve_for(flow),
            options=self._options,
        )
        return Connected(self.tag, StreamSide(transport=transport))

    async def connect_packets(self, flow: Flow, /) -> Connected[PacketLink]:
        """See `Outbound.connect_packets`; each flow or association has a socket of its own."""
        host, port = self._target(flow.destination)
        target = format_endpoint(host, port)
        if not port:
            raise DialError(f"{target}: port 0 cannot be reached", reason=DialFailure.REFUSED)
        addresses = [host] if not isinstance(host, str) else await self._find(host, target, flow)
        refuse = self._refuse(flow, port)
        failure = f"{target}: the name has no address", DialFailure.NAME_NOT_FOUND
        for address in addresses:
            try:
                if refuse is not None:
                    check_refusal(refuse, address, port)
                return Connected(self.tag, self._open_link(flow, address, port))
            except DialError as exc:
                failure = str(exc), exc.reason
        text, reason = failure
        raise DialError(text, reason=reason)

    def _open_link(self, flow: Flow, address: IPAddress, port: int) -> PacketLink:
        if flow.association is None:
            return SocketPacketLink(
                connect_datagram_socket(
                    address, port, local=self._local, options=self._datagram_options
                )
            )
        open_socket = functools.partial(
            open_datagram_socket, address, port, local=self._local, options=self._datagram_options
        )
        peer = str(address), port
        return self._shared.link(flow.association, address.version, peer, open_socket)

    async def _find(self, name: str, target: str, flow: Flow) -> Sequence[IPAddress]:
        with trio.move_on_after(DIAL_TIMEOUT):
            return await self._resolve_for(flow)(name, self._family)
        raise DialError(f"{target}: no answer in time", reason=DialFailure.TIMED_OUT)

    def _target(self, destination: Destination) -> tuple[Host, int]:
        host = destination.host if self._redirect_host is None else self._redirect_host
        port = destination.port if self._redirect_port is None else self._redirect_port
        return host, port

    def _refuse(self, flow: Flow, port: int) -> Refuse | None:
        """Return what says which addresses a flow must not be connected to, if any."""
        if flow.is_remote and not self._allow_private:
            return _not_for_remote_users
        return _comes_back if flow.looping_port and flow.looping_port == port else None


def _resolve_for_anybody(_flow: Flow) -> Resolve:
    return resolve


def _not_for_remote_users(address: IPAddress) -> str | None:
    if not is_public(address):
        return "remote users may not reach private or special addresses"
    # What listens here is as much this machine's own where it listens on a public address.
    if is_own_address(address) or is_own_address(embedded_address(address)):
        return "remote users may not reach this machine's own addresses"
    return None


def _comes_back(address: IPAddress) -> str | None:
    if is_own_address(embedded_address(address)):
        return "this is the proxy's own address"
    return None


class SocketPacketLink:
    """Datagrams to and from one destination: a `PacketLink`.

    Args:
        datagrams: a connected socket; it belongs to the link from now on.
    """

    def __init__(self, datagrams: DatagramSocket) -> None:
        self._datagrams = datagrams

    async def receive(self) -> Sequence[bytes]:
        """See `PacketLink.receive`."""
        return await self._datagrams.receive_connected()

    async def send(self, datagrams: Sequence[bytes], /) -> int:
        """See `PacketLink.send`; it never waits."""
        return self._datagrams.send(datagrams)

    async def aclose(self) -> None:
        """See `PacketLink.aclose`; it never waits."""
        self._datagrams.close()
