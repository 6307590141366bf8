"""Proxies in front of an inbound, and the addresses of clients that they pass on.

Anybody can claim any address, so what a PROXY header or X-Forwarded-For says counts only if the
connection comes from a proxy that is trusted: over a Unix socket, from this machine, or from a
network that the settings name.
"""

import ipaddress
import logging
from collections.abc import Iterable, Sequence
from typing import Final

import attrs
import trio

from trio_vmess.contracts import Inbound, Transport
from trio_vmess.core import Destination, IPAddress, format_endpoint, parse_endpoint
from trio_vmess.core.carriage import ProxyHeader, ProxyHeaderReader, find_client
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.transport.carriage.reading import receive_event
from trio_vmess.transport.layer import TransportLayer
from trio_vmess.transport.prefixed import PrefixedTransport

log: Final = logging.getLogger("trio_vmess.transport.proxies")

READ_SIZE: Final = 4096
"""Bytes that one read of a header takes at most."""


@attrs.frozen
class TrustedProxies:
    """Who may say where a client is.

    Attributes:
        networks: those of trusted proxies, besides loopback and Unix sockets.
    """

    networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network] = ()

    def trusts(self, address: IPAddress) -> bool:
        """Return whether a proxy with this address is trusted."""
        return address.is_loopback or any(address in each for each in self.networks)

    def trusts_source(self, source: str) -> bool:
        """Return whether a connection's source is a trusted proxy; empty for a Unix socket."""
        if not source:
            return True
        host, _ = parse_endpoint(source, default_port=0)
        return not isinstance(host, str) and self.trusts(host)

    def forwarded(self, values: Iterable[str], source: str) -> str:
        """Return the source of a request.

        Args:
            values: those of its X-Forwarded-For headers.
            source: the connection's.

        Returns:
            The client's address with port 0, which no header tells; or `source`, if that is nobody
            who is trusted, or does not say.
        """
        if not self.trusts_source(source):
            return source
        client = find_client(values, is_trusted=self.trusts)
        return source if client is None else format_endpoint(client, 0)


class AddressedTransport(TransportLayer):
    """A connection whose addresses are those that a proxy has told: a `Transport`."""

    __slots__ = ("_header",)

    def __init__(self, transport: Transport, header: ProxyHeader) -> None:
        super().__init__(transport)
        self._header = header

    @property
    def local(self) -> Destination | None:
        """See `Transport.local`; the address that the client has connected to."""
        return self._header.destination or self._transport.local

    @property
    def remote(self) -> Destination | None:
        """See `Transport.remote`; the client's address."""
        return self._header.source or self._transport.remote


@attrs.frozen(eq=False, kw_only=True)
class ProxyHeaderFront:
    """Takes PROXY headers off the connections of an inbound, which must have one: an `Inbound`.

    Attributes:
        inbound: gets what follows.
        proxies: whose headers are believed.
    """

    inbound: Inbound
    proxies: TrustedProxies
    _buffer: memoryview = attrs.field(factory=lambda: memoryview(bytearray(READ_SIZE)), init=False)

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        """See `Inbound.serve`."""
        reader = ProxyHeaderReader()
        header: ProxyHeader | None = None
        try:
            with trio.move_on_at(deadline):
                header = await receive_event(reader, transport, self._buffer)
            if header is not None:
                inside: Transport = PrefixedTransport(transport, reader.trailing_data)
                if self.proxies.trusts_source(source):
                    inside = AddressedTransport(inside, header)
                    if header.source is not None:
                        source = format_endpoint(header.source.host, header.source.port)
                else:
                    log.warning(
                        "proxy.untrusted source=%s hint=%r",
                        source,
                        "its PROXY header is not believed; trusted_proxies lists those that are",
                    )
                await self.inbound.serve(inside, source=source, deadline=deadline)
        except RemoteProtocolError as exc:
            log.warning("proxy.refused source=%s reason=%r", source or "-", str(exc))
        except trio.BrokenResourceError as exc:
            log.debug("proxy.reset source=%s reason=%r", source or "-", str(exc))
        finally:
            await transport.aclose()
