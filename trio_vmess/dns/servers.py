"""Name servers: the system's own, and those that are asked by UDP, TCP or HTTPS.

Each answers one query or raises `DialError`, which means: ask another one. How long that may
take is the caller's business.
"""

import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

import trio

from trio_vmess.contracts import PacketLink, StreamSide
from trio_vmess.core import (
    Destination,
    Host,
    IdentityCodec,
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
"""Seconds without an answer after which a datagram counts as lost, and is sent once more."""

_READ_SIZE: Final = 4096
SystemResolve = Callable[[str, socket.AddressFamily], Awaitable[list[IPAddress]]]
"""The system's resolver: name and address family; raises `DialError`."""


class NameServer(Protocol):
    """Somebody who knows addresses."""

    async def ask(self, query: Query, /) -> Answer:
        """Ask, and wait for the answer, if need be for ever.

        Raises:
            DialError: there is no answer to be had; no addresses are an answer, too.
        """
        ...


class DnsDialer(Protocol):
    """How servers are reached: the way out that the node has for its own questions."""

    async def packets(self, destination: Destination, /) -> PacketLink:
        """Open a link for datagrams.

        Raises:
            DialError: there is no way.
        """
        ...

    async def stream(self, destination: Destination, /) -> StreamSide:
        """Open a connection.

        Raises:
            DialError: there is no way.
        """
        ...


class SystemServer:
    """The system's resolver. It has a memory of its own, so its answers are not remembered.

    Args:
        resolve: asks it.
    """

    def __init__(self, resolve: SystemResolve) -> None:
        self._resolve = resolve

    def __str__(self) -> str:
        return "localhost"

    async def ask(self, query: Query, /) -> Answer:
        """See `NameServer.ask`."""
        return Answer(addresses=tuple(await self._resolve(query.name, query.family)))


class DatagramServer:
    """A server that is asked by UDP, and by TCP if its answer has no room in a datagram.

    Args:
        host: its address.
        port: 1 to 65535.
        dialer: the way there.
        client_ip: what it is told about us.
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
        """See `NameServer.ask`; each query has a link, and so a port, of its own."""
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
    """A server that is asked by TCP.

    Args:
        host: its address, or its name.
        port: 1 to 65535.
        dialer: the way there.
        client_ip: what it is told about us.
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
        side = await self._dialer.stream(self._destination)
        try:
            data = await _exchange(side, message.wire)
        except (trio.BrokenResourceError, RemoteProtocolError) as exc:
            raise _failure(str(exc)) from None
        finally:
            await side.transport.aclose()
        reply = None if data is None else message.read(data)
        if reply is None:
            raise _failure("the connection ended without an answer")
        return reply.answer


class HttpsServer:
    """A server that is asked by HTTPS, straight from this machine.

    Args:
        url: as in `https://dns.example/dns-query`.
        resolve: finds the host that the URL names.
        client_ip: what it is told about us.
        tls: how it proves who it is; None for the certificates that the system trusts.
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
    """Tell whether servers can be asked by HTTPS: it takes an HTTP client that is an extra."""
    from dns.query import have_doh

    return bool(have_doh)


def _encode(query: Query, client_ip: IPAddress | None) -> "QueryMessage":
    # Not above: only a node that asks servers has to carry the library.
    from trio_vmess.dns.wire import QueryMessage

    return QueryMessage(query, client_ip)


async def _receive(link: PacketLink, message: "QueryMessage") -> "Reply":
    """Wait for the answer among the datagrams that come.

    Raises:
        DialError: the server says that it could not find out.
        trio.BrokenResourceError: the link has ended.
        RemoteProtocolError: the link's protocol was broken.
    """
    while datagrams := await link.receive():
        for datagram in datagrams:
            reply = message.read(datagram)
            if reply is not None:
                return reply
    raise trio.BrokenResourceError("the link ended without an answer")


async def _exchange(side: StreamSide, request: bytes) -> bytes | None:
    """Send one message and receive one.

    Returns:
        None if the connection ended before there was a whole one.

    Raises:
        trio.BrokenResourceError: the connection was reset.
        RemoteProtocolError: the proxy on the way broke its protocol.

    Source:
        RFC 1035 section 4.2.2: two bytes of size go before each message.
    """
    sealer, opener = side.sealer or IdentityCodec(), side.opener or IdentityCodec()
    framed = len(request).to_bytes(2, "big") + request
    out = memoryview(bytearray(sealer.output_size(len(framed))))
    await side.transport.send_all(out[: sealer.update_into(framed, out)])
    buffer = memoryview(bytearray(_READ_SIZE))
    received = bytearray()
    data: bytes | memoryview = side.early
    while True:
        if data:
            middle = memoryview(bytearray(opener.output_size(len(data))))
            received += middle[: opener.update_into(data, middle)]
        end = 2 + int.from_bytes(received[:2], "big")
        if 2 < end <= len(received):
            return bytes(received[2:end])
        if opener.ended or not (size := await side.transport.receive_into(buffer)):
            return None
        data = buffer[:size]


def _failure(text: str) -> DialError:
    return DialError(text, reason=DialFailure.HOST_UNREACHABLE)
