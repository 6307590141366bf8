"""Tunnels whose request carries the first bytes of the stream."""

import secrets

import pytest
import trio
import trio.testing

from tests.kit.remote_ends import memory_pair
from trio_vmess.contracts import Transport
from trio_vmess.core import NEED_DATA, Host
from trio_vmess.core.carriage.upgrade import (
    EARLY_DATA_HEADER,
    Refused,
    Upgraded,
    UpgradeKind,
    UpgradeRequest,
    UpgradeRules,
    UpgradeServer,
)
from trio_vmess.core.carriage.websocket import FrameReader, FrameWriter
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.transport.carriage import FrameBuffer, UpgradeConnect, WebSocketTransport

HOST = "server.example"
BUFFER = FrameBuffer()


async def open_tunnel(below: Transport, *, early_size: int, kind: UpgradeKind) -> Transport:
    async def connect(host: Host, port: int) -> Transport:
        return below

    def request_for(host: Host, port: int) -> UpgradeRequest:
        return UpgradeRequest(
            kind=kind, path="/tunnel", host=HOST, early_data_header=EARLY_DATA_HEADER
        )

    return await UpgradeConnect(
        connect=connect,
        request_for=request_for,
        entropy=secrets,
        buffer=BUFFER,
        early_size=early_size,
        is_eager=not early_size,
    )(HOST, 80)


async def receive(transport: Transport, size: int = 65_536) -> bytes:
    buffer = memoryview(bytearray(size))
    return bytes(buffer[: await transport.receive_into(buffer)])


def read_request(data: bytes, kind: UpgradeKind) -> Upgraded:
    server = UpgradeServer(UpgradeRules(kind=kind, path="/tunnel"))
    server.receive_data(data)
    event = server.next_event()
    assert event is not NEED_DATA
    assert not isinstance(event, Refused)
    return event


async def test_a_websocket_is_silent_between_its_request_and_the_answer() -> None:
    """Xray and sing-box end a connection on which frames come behind the request."""
    below, far = memory_pair()
    tunnel = await open_tunnel(below, early_size=5, kind=UpgradeKind.WEBSOCKET)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tunnel.send_all, b"early, and late")
        await trio.testing.wait_all_tasks_blocked()
        opened = read_request(await receive(far), UpgradeKind.WEBSOCKET)
        assert (opened.early_data, opened.trailing) == (b"early", b"")
        server = WebSocketTransport(
            far, FrameReader(masked=True), FrameWriter(), buffer=BUFFER, early=opened.early_data
        )
        await far.send_all(opened.answer)
        assert await receive(server) == b"early"
        assert await receive(server) == b", and late"
        # The sender has read the answer; what comes behind it is for the receiver.
        await server.send_all(b"hello")
        assert await receive(tunnel) == b"hello"


async def test_an_eager_httpupgrade_waits_for_nothing() -> None:
    below, far = memory_pair()
    tunnel = await open_tunnel(below, early_size=0, kind=UpgradeKind.HTTP_UPGRADE)
    await tunnel.send_all(b"first, ")
    await tunnel.send_all(b"second")
    data = b""
    while not data.endswith(b"second"):
        data += await receive(far)
    assert read_request(data, UpgradeKind.HTTP_UPGRADE).trailing == b"first, second"


async def test_sender_and_receiver_both_hear_of_a_refusal() -> None:
    below, far = memory_pair()
    tunnel = await open_tunnel(below, early_size=5, kind=UpgradeKind.WEBSOCKET)
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            with pytest.raises(trio.BrokenResourceError, match="404"):
                await tunnel.send_all(b"early, and late")

        async def listen() -> None:
            with pytest.raises(RemoteProtocolError, match="404"):
                await receive(tunnel)

        nursery.start_soon(listen)
        nursery.start_soon(send)
        await far.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
