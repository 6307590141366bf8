"""Connecting to a VMess server: a socket, TLS by asyncio, and the tunnel of an upgrade."""

import asyncio
import errno
import os
import secrets
import socket
import ssl
from collections.abc import Iterator
from typing import Final, TypeAlias, assert_never

import attrs

from trio_vmess.asyncio.frames import Framing, NoFraming, WebSocketFraming
from trio_vmess.asyncio.tls import client_context
from trio_vmess.config import (
    GrpcSettings,
    Http2Settings,
    HttpUpgradeSettings,
    SocketSettings,
    StreamSettings,
    TcpSettings,
    TlsSettings,
    WebSocketSettings,
    carrier_alpn,
    locate,
)
from trio_vmess.core import NEED_DATA, format_endpoint
from trio_vmess.core.carriage.upgrade import NotSwitched, UpgradeClient, UpgradeKind
from trio_vmess.core.carriage.websocket import draw_mask_keys
from trio_vmess.errors import (
    ConfigError,
    ConfigProblem,
    DialError,
    DialFailure,
    RemoteProtocolError,
)
from trio_vmess.opening import Server, upgrade_kind, upgrade_request

ATTEMPT_DELAY: Final = 0.25
"""Seconds between two attempts: RFC 8305 section 5, "Connection Attempt Delay"."""

_FAILURES: Final = {
    errno.ECONNREFUSED: DialFailure.REFUSED,
    errno.ETIMEDOUT: DialFailure.TIMED_OUT,
    errno.ENETUNREACH: DialFailure.NETWORK_UNREACHABLE,
    errno.EADDRNOTAVAIL: DialFailure.NETWORK_UNREACHABLE,
    errno.EACCES: DialFailure.FORBIDDEN,
    errno.EPERM: DialFailure.FORBIDDEN,
}

_Carrier: TypeAlias = WebSocketSettings | HttpUpgradeSettings | None


@attrs.frozen(kw_only=True)
class Dialled:
    """A connection to a server, paused: nothing is read from it before somebody resumes it.

    Attributes:
        transport: the connection; with TLS, what is inside of it.
        framing: what is around the stream.
        trailing: what has come already.
    """

    transport: asyncio.Transport
    framing: Framing
    trailing: bytes = attrs.field(repr=False)


async def dial(server: Server) -> Dialled:
    """Connect to a server, with its TLS and its carrier.

    Raises:
        ConfigError: it takes what is not supported under asyncio, or a root cannot be used.
        DialError: it cannot be reached, or is not who it should be.
    """
    stream = server.outbound.stream
    carrier = _check_support(server)
    endpoint = format_endpoint(server.host, server.port)
    context, server_name = None, None
    if stream.tls is not None:
        context = client_context(stream.tls, _alpn_of(stream, stream.tls))
        server_name = stream.tls.server_name or str(server.host)
    client = None
    if carrier is not None:
        name = None if stream.tls is None else stream.tls.server_name
        request = upgrade_request(carrier, server.host, server.port, server_name=name)
        client = UpgradeClient(request, entropy=secrets)
    try:
        transport, handshake = await asyncio.get_running_loop().create_connection(
            lambda: _Handshake(client),
            str(server.host),
            server.port,
            ssl=context,
            server_hostname=server_name,
            happy_eyeballs_delay=ATTEMPT_DELAY,
        )
    except (OSError, UnicodeError) as exc:
        raise _dial_error(exc, endpoint, server_name) from None
    try:
        trailing = await handshake.done
        if handshake.is_lost:
            # Nobody else would be told.
            raise RemoteProtocolError("the server closed the connection")
    except RemoteProtocolError as exc:
        transport.abort()
        kind = "" if carrier is None else f"{upgrade_kind(carrier).value}: "
        raise DialError(f"{endpoint}: {kind}{exc}", reason=DialFailure.PARENT_PROXY) from None
    except BaseException:
        transport.abort()
        raise
    return Dialled(transport=transport, framing=_framing_of(carrier), trailing=trailing)


class _Handshake(asyncio.Protocol):
    """Waits until a connection is ready for the stream, and leaves it paused.

    Args:
        client: asks for a tunnel; None where the connection is one already.

    Attributes:
        done: what has come behind the answer.
        is_lost: whether the connection was closed, even if that was later.
    """

    def __init__(self, client: UpgradeClient | None) -> None:
        self._client = client
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream needs a transport for streams")
        self._transport = transport
        if self._client is None:
            self._finish(b"")
        else:
            transport.write(self._client.data_to_send())

    def data_received(self, data: bytes) -> None:
        if self._client is None or self.done.done():
            return
        self._client.receive_data(data)
        try:
            event = self._client.next_event()
        except RemoteProtocolError as exc:
            self._fail(exc)
            return
        if event is NEED_DATA:
            return
        if isinstance(event, NotSwitched):
            self._fail(RemoteProtocolError(str(event)))
        else:
            self._finish(self._client.trailing_data)

    def eof_received(self) -> None:
        self.data_received(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        reason = "the connection was reset" if exc else "the server closed the connection"
        self._fail(RemoteProtocolError(reason))

    def _finish(self, trailing: bytes) -> None:
        if self._transport is not None and not self.done.done():
            self._transport.pause_reading()
            self.done.set_result(trailing)

    def _fail(self, exc: RemoteProtocolError) -> None:
        if not self.done.done():
            self.done.set_exception(exc)
            # Whoever is cancelled does not look at it, which is no mistake that is to be logged.
            self.done.exception()


def _alpn_of(stream: StreamSettings, tls: TlsSettings) -> tuple[str, ...]:
    """Return what TLS offers: as the nodes do, what V2Ray's clients offer."""
    default = ("h2", "http/1.1") if isinstance(stream.carrier, TcpSettings) else ("http/1.1",)
    return carrier_alpn(stream.carrier, tls.alpn) or default


def _framing_of(carrier: _Carrier) -> Framing:
    if carrier is None or upgrade_kind(carrier) is UpgradeKind.HTTP_UPGRADE:
        return NoFraming()
    return WebSocketFraming(draw_mask_keys(secrets))


def _dial_error(exc: OSError | UnicodeError, endpoint: str, server_name: str | None) -> DialError:
    match exc:
        case socket.gaierror() | UnicodeError():
            return DialError(f"{endpoint}: {exc}", reason=DialFailure.NAME_NOT_FOUND)
        case ssl.SSLCertVerificationError():
            fault = f"the certificate is not accepted: {exc.verify_message}"
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER"):
            fault = "the server does not speak TLS on this port"
        case ssl.SSLError():
            fault = str(exc.reason or exc)
        case OSError() if server_name is not None and exc.errno is None:
            fault = str(exc) or "the server closed the connection; does it speak TLS on this port?"
        case OSError():
            reason = _FAILURES.get(exc.errno or 0, DialFailure.HOST_UNREACHABLE)
            # asyncio has put its own words in place of the system's.
            text = os.strerror(exc.errno) if exc.errno else str(exc)
            return DialError(f"{endpoint}: {text}", reason=reason)
        case _ as never:
            assert_never(never)
    return DialError(
        f"{endpoint}: TLS with {server_name}: {fault}", reason=DialFailure.PARENT_PROXY
    )


# What is supported ------------------------------------------------------------------------------


def _check_support(server: Server) -> _Carrier:
    """Return the carrier, if any.

    Raises:
        ConfigError: names all that takes Trio.
    """
    stream = server.outbound.stream
    problems = list(_unsupported(stream))
    if server.outbound.send_through is not None:
        problems.append(_problem(stream, "send_through", "a local address"))
    carrier: _Carrier = None
    match stream.carrier:
        case TcpSettings(header=header):
            if header is not None:
                problems.append(_problem(stream, "header", "HTTP camouflage"))
        case WebSocketSettings() as carrier:
            if carrier.heartbeat:
                problems.append(_problem(stream, "heartbeat", "a heartbeat"))
        case HttpUpgradeSettings() as carrier:
            pass
        case Http2Settings() | GrpcSettings():
            problems.append(_problem(stream, "carrier", "HTTP/2 and gRPC"))
        case _ as never:
            assert_never(never)
    if problems:
        raise ConfigError(*problems)
    return carrier


def _unsupported(stream: StreamSettings) -> Iterator[ConfigProblem]:
    if stream.unix is not None:
        yield _problem(stream, "unix", "a Unix socket")
    if stream.socket != SocketSettings():
        yield _problem(stream, "socket", "options of sockets")
    if (tls := stream.tls) is None:
        return
    for key, what in {
        "certificates": "a certificate of the client's",
        "pinned_certificates": "pinned certificates",
        "pinned_chains": "pinned chains",
        "verify_names": "other names than the server's",
    }.items():
        if getattr(tls, key):
            location = locate(tls.locations, key, "tls")
            yield location.problem(f"{what}: {_NOT_HERE}", file="")


_NOT_HERE: Final = "not supported under asyncio; use trio_vmess.open_vmess_stream, or a node"


def _problem(stream: StreamSettings, key: str, what: str) -> ConfigProblem:
    return locate(stream.locations, key, "stream").problem(f"{what}: {_NOT_HERE}", file="")
