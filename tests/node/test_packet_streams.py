"""A stream of datagrams to a VMess server that breaks: the next datagram opens another."""

import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from tests.kit.nodes import start_client_node, start_server_node
from tests.kit.origin import start_udp_echo
from tests.kit.peer_specs import ClientSpec
from tests.kit.ports import free_port
from tests.kit.socks_client import SocksUdpAssociation, open_socks_udp
from trio_vmess.node import endpoints


@attrs.define(eq=False)
class Middleman:
    """Passes connections on to a server until one is broken.

    Attributes:
        port: where it listens.
        to_client: the clients' connections, in their order.
        is_stalled: nothing more is passed on in the connections that are there.
    """

    port: int
    to_client: list[trio.SocketStream] = attrs.field(factory=list)
    is_stalled: list[trio.Event] = attrs.field(factory=list)

    async def break_off(self, how: str) -> None:
        stream = self.to_client[-1]
        if how == "reset":
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await stream.aclose()
        elif how == "end":
            await stream.send_eof()
        elif how == "garbage":
            # The client hangs up as soon as it has read what cannot be.
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(bytes(range(256)) * 1000)
        else:
            self.is_stalled[-1].set()


@asynccontextmanager
async def start_middleman(server_port: int) -> AsyncIterator[Middleman]:
    middleman = Middleman(free_port())

    async def serve(client: trio.SocketStream) -> None:
        stalled = trio.Event()
        middleman.to_client.append(client)
        middleman.is_stalled.append(stalled)
        async with await trio.open_tcp_stream("127.0.0.1", server_port) as server:

            async def copy(source: trio.SocketStream, sink: trio.SocketStream) -> None:
                try:
                    while data := await source.receive_some(65_536):
                        await sink.send_all(data)
                        if stalled.is_set():
                            await trio.sleep_forever()
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass

            async with trio.open_nursery() as nursery:
                nursery.start_soon(copy, client, server)
                nursery.start_soon(copy, server, client)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(middleman.port, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, serve, listeners)
        yield middleman
        nursery.cancel_scope.cancel()


async def ask(association: SocksUdpAssociation, port: int, text: bytes, *, fill: int = 0) -> None:
    """Send a datagram until it is answered, as programs do."""
    for _ in range(40):
        for _ in range(fill):
            await association.send_to("127.0.0.1", port, bytes(1900))
        await association.send_to("127.0.0.1", port, text)
        with trio.move_on_after(0.2):
            while (await association.receive())[2] != text:
                pass
            return
    raise AssertionError("no answer")


@pytest.mark.parametrize("how", ["reset", "end", "garbage", "stall"])
async def test_a_broken_stream_is_replaced(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "PACKETS_PATIENCE", 0.5)
    async with (
        start_udp_echo() as echo,
        start_server_node() as server,
        start_middleman(server.port) as middleman,
        start_client_node(ClientSpec(server_port=middleman.port)) as client,
        open_socks_udp(client.port) as association,
    ):
        await ask(association, echo.port, b"first")
        assert len(middleman.to_client) == 1
        await middleman.break_off(how)
        # A peer that takes nothing is noticed when it has something to take.
        await ask(association, echo.port, b"second", fill=100 if how == "stall" else 0)
        assert len(middleman.to_client) == 2
