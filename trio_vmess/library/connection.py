"""Connecting to a server as an outbound of a node does, without the node."""

import socket
from collections import deque
from typing import Final

import attrs
import trio

from trio_vmess.config import OutboundSettings, StreamSettings
from trio_vmess.contracts import Transport
from trio_vmess.core import Host
from trio_vmess.node import Around, Dialler, LayerBuilder
from trio_vmess.transport import SocketTransport, resolve

_KEPT: Final = 8
"""Outbounds whose layers are kept: making the context of TLS takes 20 ms."""


@attrs.define(eq=False)
class _Layers:
    """What the streams of one Trio run share: buffers, and contexts of TLS."""

    builder: LayerBuilder = attrs.Factory(LayerBuilder)
    kept: deque[tuple[StreamSettings, Around]] = attrs.Factory(
        lambda: deque[tuple[StreamSettings, Around]](maxlen=_KEPT)
    )

    def around(self, outbound: OutboundSettings) -> Around:
        for stream, around in self.kept:
            if stream == outbound.stream:
                return around
        around = self.builder.for_outbound(outbound)
        self.kept.append((outbound.stream, around))
        return around


_layers: Final = trio.lowlevel.RunVar[_Layers]("what library streams share")


async def connect_to_server(
    outbound: OutboundSettings, host: Host, port: int
) -> tuple[Transport, socket.socket | None]:
    """Connect to a server of an outbound, with TLS and carrier.

    Returns:
        The connection, and the socket beneath all layers, if there is one.

    Raises:
        ConfigError: a certificate cannot be used, or this system lacks an option of sockets.
        DialError: the server cannot be reached.
        trio.Cancelled: from outside; nothing stays open.
    """
    try:
        layers = _layers.get()
    except LookupError:
        layers = _Layers()
        _layers.set(layers)
    connect = Dialler.of(outbound, resolve=resolve).connect()
    sock: socket.socket | None = None

    async def connect_and_note(host: Host, port: int) -> Transport:
        nonlocal sock
        transport = await connect(host, port)
        if isinstance(transport, SocketTransport):
            sock = transport.socket
        return transport

    transport = await layers.around(outbound)(connect_and_note)(host, port)
    return transport, sock
