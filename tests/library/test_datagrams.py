"""Datagrams through a server."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing

from tests.kit.one_server import ACCOUNT, LINK, OneServer, running_server
from tests.kit.origin import Origin, start_udp_echo
from tests.kit.ports import free_port
from trio_vmess import (
    DialError,
    LocalProtocolError,
    RemoteProtocolError,
    VMessDatagrams,
    open_vmess_datagrams,
)
from trio_vmess.config import (
    PLAIN_STREAM,
    StreamSettings,
    WebSocketSettings,
    format_share_link,
)
from trio_vmess.core import NEED_DATA, Destination, Network
from trio_vmess.core.vmess import (
    Data,
    EndOfStream,
    ReplayCache,
    Request,
    Response,
    ServerConnection,
    UserRegistry,
)
from trio_vmess.node import utc_seconds
from trio_vmess.opening import begin_datagrams, read_server
from trio_vmess.transport import StreamTransport


@asynccontextmanager
async def echoing(stream: StreamSettings = PLAIN_STREAM) -> AsyncIterator[tuple[OneServer, Origin]]:
    async with running_server(stream, grace=0) as server, start_udp_echo() as origin:
        yield server, origin


async def check_echo(datagrams: VMessDatagrams) -> None:
    for size in (1, 100, 1950):
        sent = secrets.token_bytes(size)
        await datagrams.send(sent)
        assert await datagrams.receive() == sent


@pytest.mark.parametrize(
    "security", ["aes-128-gcm", "chacha20-poly1305", "aes-128-cfb", "none", "zero"]
)
async def test_each_security(security: str) -> None:
    async with (
        echoing() as (server, origin),
        open_vmess_datagrams(
            server.link, ("127.0.0.1", origin.port), security=security
        ) as datagrams,
    ):
        await check_echo(datagrams)


async def test_host_port_and_account() -> None:
    async with (
        echoing() as (server, origin),
        open_vmess_datagrams(
            f"127.0.0.1:{server.port}", f"127.0.0.1:{origin.port}", account=ACCOUNT
        ) as datagrams,
    ):
        await check_echo(datagrams)


async def test_a_link_brings_its_transport() -> None:
    carried = StreamSettings(carrier=WebSocketSettings(path="/tunnel"))
    async with echoing(carried) as (server, origin):
        link = server.link_with(network="ws", path="/tunnel")
        async with open_vmess_datagrams(link, ("127.0.0.1", origin.port)) as datagrams:
            await check_echo(datagrams)


async def test_one_task_sends_while_another_receives() -> None:
    async with (
        echoing() as (server, origin),
        open_vmess_datagrams(server.link, ("127.0.0.1", origin.port)) as datagrams,
        trio.open_nursery() as nursery,
    ):
        received: list[bytes] = []

        async def receive() -> None:
            async for datagram in datagrams:
                received.append(datagram)
                if len(received) == 20:
                    break

        nursery.start_soon(receive)
        for number in range(20):
            await datagrams.send(b"%d" % number)
            await trio.lowlevel.checkpoint()
    assert sorted(received, key=int) == [b"%d" % number for number in range(20)]


# Over a pair of streams in memory -----------------------------------------------------------------


class Pair:
    """Datagrams, and the server's end of their connection."""

    def __init__(self) -> None:
        near, self.wire = trio.testing.memory_stream_pair()
        header, body = begin_datagrams(
            read_server(format_share_link(LINK), None, None, None),
            Destination(host="a.example", port=53, network=Network.UDP),
            now=utc_seconds(),
            entropy=secrets,
        )
        self.datagrams = VMessDatagrams(StreamTransport(near), body, header)
        users = UserRegistry([ACCOUNT])
        self.server = ServerConnection(users, ReplayCache(window=users.window), entropy=secrets)

    async def next_event(self) -> object:
        while (event := self.server.next_event()) is NEED_DATA:
            self.server.receive_data(await self.wire.receive_some(), now=utc_seconds())
        return event

    async def answer(self, *datagrams: bytes) -> None:
        for datagram in datagrams:
            await self.wire.send_all(self.server.send(Data(payload=datagram)))


async def test_the_request_goes_out_with_the_first_datagram() -> None:
    pair = Pair()
    await pair.datagrams.send(b"query")
    request = await pair.next_event()
    assert isinstance(request, Request)
    assert str(request.destination) == "udp:a.example:53"
    assert await pair.next_event() == Data(payload=b"query")


async def test_who_receives_first_sends_the_request_alone() -> None:
    pair = Pair()
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            assert await pair.datagrams.receive() == b"hello"

        nursery.start_soon(receive)
        assert isinstance(await pair.next_event(), Request)
        await pair.wire.send_all(pair.server.send(Response()))
        await pair.answer(b"hello")


async def test_datagrams_that_come_together_are_received_one_by_one() -> None:
    pair = Pair()
    await pair.datagrams.send(b"query")
    await pair.next_event()
    answers = [b"one", b"two", b"three"]
    wire = pair.server.send(Response())
    wire += b"".join(pair.server.send(Data(payload=answer)) for answer in answers)
    wire += pair.server.send(EndOfStream())
    await pair.wire.send_all(wire)
    assert [datagram async for datagram in pair.datagrams] == answers
    with pytest.raises(trio.EndOfChannel):
        await pair.datagrams.receive()


async def test_a_cancelled_receive_loses_nothing() -> None:
    pair = Pair()
    await pair.datagrams.send(b"query")
    await pair.next_event()
    with trio.move_on_after(0) as scope:
        await pair.datagrams.receive()
    assert scope.cancelled_caught
    await pair.wire.send_all(pair.server.send(Response()))
    await pair.answer(b"hello")
    assert await pair.datagrams.receive() == b"hello"


async def test_a_server_that_breaks_the_protocol() -> None:
    pair = Pair()
    await pair.datagrams.send(b"query")
    await pair.wire.send_all(bytes(100))
    for _ in range(2):
        with pytest.raises(trio.BrokenResourceError) as caught:
            await pair.datagrams.receive()
        assert isinstance(caught.value.__cause__, RemoteProtocolError)


async def test_an_interrupted_send_is_the_last() -> None:
    near, far = trio.testing.lockstep_stream_pair()
    header, body = begin_datagrams(
        read_server(format_share_link(LINK), None, None, None),
        Destination(host="a.example", port=53, network=Network.UDP),
        now=utc_seconds(),
        entropy=secrets,
    )
    datagrams = VMessDatagrams(StreamTransport(near), body, header)
    with trio.move_on_after(0.01) as scope:
        await datagrams.send(b"query")
    assert scope.cancelled_caught
    with pytest.raises(trio.BrokenResourceError, match="an earlier send was interrupted"):
        await datagrams.send(b"query")
    await far.aclose()


async def test_a_second_task_in_the_same_direction_is_refused() -> None:
    pair = Pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.datagrams.receive)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="another task is receiving"):
            await pair.datagrams.receive()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("datagram", "message"),
    [
        (b"", "an empty datagram cannot be sent: VMess takes it for the end"),
        (bytes(1951), "a datagram of 1951 bytes cannot be sent: the limit is 1950"),
    ],
)
async def test_what_vmess_cannot_express_is_not_sent(datagram: bytes, message: str) -> None:
    pair = Pair()
    assert pair.datagrams.payload_max == 1950
    with pytest.raises(LocalProtocolError, match=message):
        await pair.datagrams.send(datagram)
    await pair.datagrams.send(b"goes on")
    await pair.next_event()
    assert await pair.next_event() == Data(payload=b"goes on")


async def test_nothing_can_be_done_with_closed_datagrams() -> None:
    pair = Pair()
    await pair.datagrams.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await pair.datagrams.send(b"x")
    with pytest.raises(trio.ClosedResourceError):
        await pair.datagrams.receive()
    assert await pair.wire.receive_some() == b""


# Refusals -----------------------------------------------------------------------------------------


async def test_a_server_that_is_not_there_is_a_dial_error() -> None:
    opening = open_vmess_datagrams(("127.0.0.1", free_port()), "a.example:53", account=ACCOUNT)
    with pytest.raises(DialError, match="Connection refused"):
        async with opening:
            raise AssertionError("there is no server")


@pytest.mark.parametrize(
    ("destination", "error", "message"),
    [
        (53, TypeError, "destination: expected a Destination, (host, port) or 'host:port'"),
        ("a.example", ValueError, "destination: 'a.example': the port is missing"),
        (Destination(host="a.example", port=53), ValueError, "tcp:a.example:53 is for streams"),
    ],
)
def test_a_wrong_destination_is_refused_by_the_call(
    destination: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        open_vmess_datagrams(format_share_link(LINK), destination)
    assert message in str(caught.value)
