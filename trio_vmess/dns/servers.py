"""Name servers: the system's resolver, and servers behind UDP, TCP and HTTPS.

Each answers one query or raises `DialError`, which means: try the next server. They have no time
limit of their own; the caller sets one.
"""

import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

import trio

from trio_vmess.contracts import PacketLink, Transport
from trio_vmess.core import (
    Destination,
    Host,
    IPAddress,
    Network,
    format_endpoint,
    parse_host,
)
from trio_vmess.dns.answers import Answer, Query
from trio_vmess.errors import DialError, DialFailure, RemoteProtocolError

if TYPE_CHECKING:
    from trio_vmess.dns.wire import QueryMessage, Reply

RESEND_AFTER: Final = 1.0
"""Seconds without an answer after which a datagram is taken for lost, and sent once more."""

_READ_SIZE: Final = 4096
_SIZE_FIELD_SIZE: Final = 2

SystemResolve = Callable[[str, socket.AddressFamily], Awaitable[list[IPAddress]]]
"""The system's resolver: from a name and a family to addresses; raises `DialError`."""


class NameServer(Protocol):
    """Answers queries."""

    async def ask(self, query: Query, /) -> Answer:
        """Send a query and wait for the answer, without a time limit.

        Returns:
            The answer; that the name has no address is one, too.

        Raises:
            DialError: the server cannot be reached, or fails.
        """
        ...


class DnsDialer(Protocol):
    """Connects to name servers: through an outbound of the node, say."""

    async def packets(self, destination: Destination, /) -> PacketLink:
        """Open a link for datagrams.

        Raises:
            DialError: there is no way.
        """
        ...

    async def stream(self, destination: Destination, /) -> Transport:
        """Open a connection.

        Raises:
            DialError: there is no way.
        """
        ...


class SystemServer:
    """The system's resolver. It may cache on its own, so its answers are not cached here.

    Args:
        resolve: calls it.
    """

    def __init__(self, resolve: SystemResolve) -> None:
        self._resolve = resolve

    def __str__(self) -> str:
        return "localhost"

    async def ask(self, query: Query, /) -> Answer:
        """See `NameServer.ask`."""
        return Answer(addresses=tuple(await self._resolve(query.name, query.family)))


class DatagramServer:
    """A server behind UDP, and behind TCP where its answer is too large for a datagram.

    Args:
        host: its address.
        port: 1 to 65535.
        dialer: connects to it.
        client_ip: the client's address, a part of which the server is told; None for nothing.
    """

    def __init__(
        self, host: IPAddress, port: int, *, dialer: DnsDialer, client_ip: IPAddress | None = None
    ) -> None:
        self._destination = Destination(host=host, port=port, network=Network.UDP)
        self._dialer = dialer
        self._client_ip = client_ip
        self._by_stream = StreamServer(host, port, dialer=dialer, client_ip=client_ip)

    def __str__(self) -> str:
        return f"udp://{format_endpoint(self._destination.host, self._destination.port)}"

    async def ask(self, query: Query, /) -> Answer:
        """See `NameServer.ask`; each query has a link, and so a source port, of its own."""
        message = _encode(query, self._client_ip)
        link = await self._dialer.packets(self._destination)
        reply: Reply | None = None
        try:
            await link.send([message.wire])
            with trio.move_on_after(RESEND_AFTER):
                reply = await _receive(link, message)
            if reply is None:
                await link.send([message.wire])
                reply = await _receive(link, message)
        except (trio.BrokenResourceError, RemoteProtocolError) as exc:
            raise _failure(str(exc)) from None
        finally:
            await link.aclose()
        if reply.is_truncated:
            return await self._by_stream.ask(query)
        return reply.answer


class StreamServer:
    """A server behind TCP.

    Args:
        host: its address, or its name.
        port: 1 to 65535.
        dialer: connects to it.
        client_ip: the client's address, a part of which the server is told; None for nothing.
    """

    def __init__(
        self, host: Host, port: int, *, dialer: DnsDialer, client_ip: IPAddress | None = None
    ) -> None:
        self._destination = Destination(host=host, port=port)
        self._dialer = dialer
        self._client_ip = client_ip

    def __str__(self) -> str:
        return f"tcp://{format_endpoint(self._destination.host, self._destination.port)}"

    async def ask(self, query: Query, /) -> Answer:
        """See `NameServer.ask`; each query has a connection of its own."""
        message = _encode(query, self._client_ip)
        transport = await self._dialer.stream(self._destination)
        try:
            data = await _exchange(transport, message.wire)
        except (trio.BrokenResourceError, RemoteProtocolError) as exc:
            raise _failure(str(exc)) from None
        finally:
            await transport.aclose()
        reply = None if data is None else message.read(data)
        if reply is None:
            raise _failure("the connection ended without an answer")
        return reply.answer


class HttpsServer:
    """A server behind HTTPS; the connection is made from this machine, not by an outbound.

    Args:
        url: as in `https://dns.example/dns-query`.
        resolve: finds the address of the URL's host.
        client_ip: the client's address, a part of which the server is told; None for nothing.
        tls: how the server is verified; None for the authorities that the system trusts.
    """

    def __init__(
        self,
        url: str,
        *,
        resolve: SystemResolve,
        client_ip: IPAddress | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._url = url
        self._resolve = resolve
        self._client_ip = client_ip
        self._tls = tls

    def __str__(self) -> str:
        return self._url

    async def ask(self, query: Query, /) -> Answer:
        """See `NameServer.ask`."""
        from trio_vmess.dns.wire import ask_https

        message = _encode(query, self._client_ip)
        host = parse_host(urlsplit(self._url).hostname or "")
        bootstrap = None
        if isinstance(host, str):
            bootstrap = str((await self._resolve(host, socket.AF_UNSPEC))[0])
        if self._tls is None:
            self._tls = ssl.create_default_context()
        reply = await ask_https(message, self._url, bootstrap=bootstrap, tls=self._tls)
        return reply.answer


def has_https() -> bool:
    """Tell whether the optional HTTP client that queries by HTTPS need is installed."""
    from dns.query import have_doh

    return bool(have_doh)


def _encode(query: Query, client_ip: IPAddress | None) -> "QueryMessage":
    # Imported here, so that a node that sends no query does not load dnspython.
    from trio_vmess.dns.wire import QueryMessage

    return QueryMessage(query, client_ip)


async def _receive(link: PacketLink, message: "QueryMessage") -> "Reply":
    """Wait for the reply among the datagrams that come, of which anybody may send some.

    Raises:
        DialError: the server answered with an error.
        trio.BrokenResourceError: the link has ended.
        RemoteProtocolError: a proxy in between broke its protocol.
    """
    while datagrams := await link.receive():
        for datagram in datagrams:
            reply = message.read(datagram)
            if reply is not None:
                return reply
    raise trio.BrokenResourceError("the link ended without an answer")


async def _exchange(transport: Transport, request: bytes) -> bytes | None:
    """Send one message and receive one.

    Returns:
        The reply, or None if the connection ended before it was complete.

    Raises:
        trio.BrokenResourceError: the connection was reset.
        RemoteProtocolError: a proxy in between broke its protocol.

    Source:
        RFC 1035 section 4.2.2: two bytes of size go before each message.
    """
    await transport.send_all(len(request).to_bytes(_SIZE_FIELD_SIZE, "big") + request)
    buffer = memoryview(bytearray(_READ_SIZE))
    received = bytearray()
    while size := await transport.receive_into(buffer):
        received += buffer[:size]
        end = _SIZE_FIELD_SIZE + int.from_bytes(received[:_SIZE_FIELD_SIZE], "big")
        if len(received) >= end:
            return bytes(received[_SIZE_FIELD_SIZE:end])
    return None


def _failure(text: str) -> DialError:
    return DialError(text, reason=DialFailure.HOST_UNREACHABLE)
