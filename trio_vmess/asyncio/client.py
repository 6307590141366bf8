"""Opening a stream through a VMess server."""

import asyncio
import secrets
import time
from typing import Final, overload

from trio_vmess.asyncio.dial import dial
from trio_vmess.asyncio.transport import VMessTransport
from trio_vmess.config import OutboundSettings
from trio_vmess.core import Destination
from trio_vmess.core.vmess import Dialect
from trio_vmess.opening import (
    AccountLike,
    DestinationLike,
    HostAndPort,
    Server,
    begin_stream,
    read_destination,
    read_server,
)

READ_LIMIT: Final = 64 * 1024
"""Bytes: twice as many may wait in a reader before the connection is not read any more."""


@overload
async def open_vmess_connection(
    server: str | OutboundSettings,
    destination: DestinationLike,
    *,
    security: str | None = None,
    dialect: Dialect | None = None,
    limit: int = READ_LIMIT,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]: ...


@overload
async def open_vmess_connection(
    server: HostAndPort | str,
    destination: DestinationLike,
    *,
    account: AccountLike,
    security: str | None = None,
    dialect: Dialect | None = None,
    limit: int = READ_LIMIT,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]: ...


async def open_vmess_connection(
    server: str | OutboundSettings | HostAndPort,
    destination: DestinationLike,
    *,
    account: AccountLike | None = None,
    security: str | None = None,
    dialect: Dialect | None = None,
    limit: int = READ_LIMIT,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a destination through a VMess server, as `asyncio.open_connection` does without.

        reader, writer = await open_vmess_connection("vmess://…", "example.com:80")

    Both are asyncio's own classes. `drain` waits while the server's connection is full, and a
    reader that is not read stops it from being read. `write_eof` ends the request and leaves the
    answer open. `writer.start_tls` starts TLS with the destination. `close` says the end of the
    request first, where the server expects one.

    Nothing is sent before the first payload, or a moment later if there is none; so whether the
    server takes us, and whether it reaches the destination, shows in the first answer. There is no
    timeout parameter: use `asyncio.timeout`.

    Args:
        server: a `vmess://` share link, an outbound of a configuration, or, together with an
            account, host and port. TLS, WebSocket and HTTPUpgrade are supported; early data is not
            sent.
        destination: where the server is to connect to, by TCP: a `Destination`, host and port, or
            both in one text.
        account: who we are to the server: an `Account`, or a user id; with host and port only.
        security: how payload is encrypted, a word of `trio_vmess.core.vmess.SECURITY_WORDS`; None
            for what the link or outbound says, or else `auto`.
        dialect: which VMess the server speaks; None for what the outbound says, or else that of
            V2Ray, Xray and sing-box.
        limit: bytes; as for `asyncio.open_connection`.

    Returns:
        A reader, whose methods raise `RemoteProtocolError` if the server breaks the protocol or
        closes without an answer; and a writer.

    Raises:
        ConfigError: the share link is malformed, or server or link ask for what is not supported
            here; each problem names one.
        TypeError: an argument has the wrong type, is missing, or is one too many.
        ValueError: a host, a port, the account or the security is not valid.
        DialError: the server cannot be reached, or is not who it should be.
        LocalProtocolError: the destination has no legal form in VMess.
    """
    return await connect(
        read_server(server, account, security, dialect), read_destination(destination), limit
    )


async def connect(
    server: Server, destination: Destination, limit: int = READ_LIMIT
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Do what `open_vmess_connection` does with arguments that were read."""
    loop = asyncio.get_running_loop()
    dialled = await dial(server)
    try:
        opening = begin_stream(server, destination, now=int(time.time()), entropy=secrets)
        reader = asyncio.StreamReader(limit=limit, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport = VMessTransport(dialled, opening, protocol, loop)
    except BaseException:
        dialled.transport.abort()
        raise
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
