"""What programs import: a stream through a VMess server, and a whole node in their own nursery."""

import secrets
import socket
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import overload

import trio

from trio_vmess.config import Config, OutboundSettings
from trio_vmess.core import Destination, Network
from trio_vmess.core.vmess import Dialect
from trio_vmess.library.connection import connect_to_server
from trio_vmess.library.datagrams import VMessDatagrams
from trio_vmess.library.stream import VMessStream
from trio_vmess.node import Node, utc_seconds
from trio_vmess.opening import (
    AccountLike,
    DestinationLike,
    HostAndPort,
    Server,
    begin_datagrams,
    begin_stream,
    read_destination,
    read_server,
)


async def serve(
    config: Config, *, task_status: trio.TaskStatus[Node] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a node until it is stopped or cancelled.

    Start it in a nursery to go on when all its inbounds listen, and to get the node:

        async with trio.open_nursery() as nursery:
            node = await nursery.start(trio_vmess.serve, config)
            print(*node.listening)
            ...
            node.stop(grace=5)

    Failures of single connections are logged, never raised here.

    Args:
        config: from `load_config` or `parse_config`, or built in Python and checked by
            `trio_vmess.config.validation`.
        task_status: is given the node when all its inbounds listen. `Node.listening` says where,
            and `Node.stop` ends it: it stops listening at once, and connections have `grace`
            seconds to end. Cancelling the task closes everything at once.

    Raises:
        ConfigError: a file that the configuration names, such as `geosite.dat`, is missing or
            malformed.
        OSError: an inbound cannot listen; nothing was started.
        TypeError: this is not a `Config`; a path or a text has to be read first.
    """
    if not isinstance(config, Config):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            "config: expected a Config, as load_config and parse_config return, "
            f"not {type(config).__name__}"
        )
    await Node(config).run(task_status=task_status)


@overload
def open_vmess_stream(
    server: str | OutboundSettings,
    destination: DestinationLike,
    *,
    security: str | None = None,
    dialect: Dialect | None = None,
) -> AbstractAsyncContextManager[VMessStream]: ...


@overload
def open_vmess_stream(
    server: HostAndPort | str,
    destination: DestinationLike,
    *,
    account: AccountLike,
    security: str | None = None,
    dialect: Dialect | None = None,
) -> AbstractAsyncContextManager[VMessStream]: ...


def open_vmess_stream(
    server: str | OutboundSettings | HostAndPort,
    destination: DestinationLike,
    *,
    account: AccountLike | None = None,
    security: str | None = None,
    dialect: Dialect | None = None,
) -> AbstractAsyncContextManager[VMessStream]:
    """Connect to a destination through a VMess server, and close the connection after the block.

        async with open_vmess_stream("vmess://…", "example.com:80") as stream:
            await stream.send_all(b"hello")

    Nothing is sent before the first payload (or the first `receive_some`), so whether the server
    takes us, and whether it reaches the destination, shows in the first answer. There is no timeout
    parameter: put `trio.fail_after` around the block, or around the first `receive_some`.

    Args:
        server: a `vmess://` share link, an outbound of a configuration, or, together with an
            account, host and port. Links and outbounds bring their TLS and their transport; of
            several servers or users of an outbound, the first is used. `packet_encoding` is about
            datagrams alone.
        destination: where the server is to connect to, by TCP: a `Destination`, host and port, or
            both in one text, as in `example.com:443` or `[2001:db8::1]:443`.
        account: who we are to the server: an `Account`, or a user id; with host and port only.
        security: how payload is encrypted, a word of `trio_vmess.core.vmess.SECURITY_WORDS`; None
            for what the link or outbound says, or else `auto`.
        dialect: which VMess the server speaks; None for what the outbound says, or else that of
            V2Ray, Xray and sing-box.

    Returns:
        An asynchronous context manager whose value is the stream; see `VMessStream` for half-close,
        errors and cancellation. Leaving the block closes it, with its end said first where the
        server expects one.

    Raises:
        ConfigError: the share link is malformed, or names a transport that is not supported here:
            kcp, for example, or HTTP/2 and gRPC, which only nodes speak. Raised by the call. Or a
            certificate of the outbound cannot be used; raised when the block is entered.
        TypeError: an argument has the wrong type, is missing, or is one too many. Raised by the
            call.
        ValueError: a host, a port, the account or the security is not valid, or the outbound has
            `mux` for streams, which takes a node. Raised by the call.
        DialError: the server cannot be reached, or is not who it should be. Raised when the block
            is entered, as the next one.
        LocalProtocolError: the destination has no legal form in VMess.
    """
    return _open(read_server(server, account, security, dialect), read_destination(destination))


@overload
def open_vmess_datagrams(
    server: str | OutboundSettings,
    destination: DestinationLike,
    *,
    security: str | None = None,
    dialect: Dialect | None = None,
) -> AbstractAsyncContextManager[VMessDatagrams]: ...


@overload
def open_vmess_datagrams(
    server: HostAndPort | str,
    destination: DestinationLike,
    *,
    account: AccountLike,
    security: str | None = None,
    dialect: Dialect | None = None,
) -> AbstractAsyncContextManager[VMessDatagrams]: ...


def open_vmess_datagrams(
    server: str | OutboundSettings | HostAndPort,
    destination: DestinationLike,
    *,
    account: AccountLike | None = None,
    security: str | None = None,
    dialect: Dialect | None = None,
) -> AbstractAsyncContextManager[VMessDatagrams]:
    """Exchange datagrams with a destination through a VMess server.

        async with open_vmess_datagrams("vmess://…", "192.0.2.1:53") as datagrams:
            await datagrams.send(query)
            answer = await datagrams.receive()

    The server sends them on by UDP. Nothing is sent to it before the first datagram (or the first
    `receive`), so a server that refuses us shows in the first `receive`: by an error, or by silence
    until a time limit of yours.

    Args:
        server: as for `open_vmess_stream`.
        destination: where the server is to send to, by UDP: host and port, both in one text, or a
            `Destination` whose network is UDP.
        account: as for `open_vmess_stream`.
        security: likewise.
        dialect: likewise.

    Returns:
        An asynchronous context manager whose value sends and receives; leaving it closes the
        connection to the server.

    Raises:
        ConfigError: as for `open_vmess_stream`.
        TypeError: likewise.
        ValueError: likewise.
        DialError: likewise.
        LocalProtocolError: likewise.
    """
    return _open_datagrams(
        read_server(server, account, security, dialect),
        read_destination(destination, network=Network.UDP),
    )


@asynccontextmanager
async def _open_datagrams(
    server: Server, destination: Destination
) -> AsyncGenerator[VMessDatagrams, None]:
    transport, _ = await connect_to_server(server.outbound, server.host, server.port)
    try:
        header, body = begin_datagrams(server, destination, now=utc_seconds(), entropy=secrets)
    except BaseException:
        await transport.aclose()
        raise
    async with VMessDatagrams(transport, body, header) as datagrams:
        yield datagrams


@asynccontextmanager
async def _open(server: Server, destination: Destination) -> AsyncGenerator[VMessStream, None]:
    stream, _ = await connect(server, destination)
    async with stream:
        yield stream


async def connect(
    server: Server, destination: Destination
) -> tuple[VMessStream, socket.socket | None]:
    """Open a stream that the caller closes.

    Returns:
        The stream, and the socket beneath it, if there is one: to be looked at, not to be read.

    Raises:
        ConfigError: as `open_vmess_stream`.
        DialError: likewise.
        LocalProtocolError: likewise.
    """
    transport, sock = await connect_to_server(server.outbound, server.host, server.port)
    try:
        opening = begin_stream(server, destination, now=utc_seconds(), entropy=secrets)
    except BaseException:
        await transport.aclose()
        raise
    return VMessStream(transport, opening.body, opening.header), sock
