"""The blackhole outbound drops everything, and ends streams soon."""

import pytest
import trio
import trio.testing

from tests.kit.inbound_client import open_client
from trio_vmess.core import Destination, Flow, Network, Policy
from trio_vmess.dispatch.access_log import AccessLog
from trio_vmess.dispatch.dispatcher import Dispatcher
from trio_vmess.dispatch.first_outbound import FirstOutbound
from trio_vmess.inbound import DokodemoInbound
from trio_vmess.outbound import BlackholeOutbound
from trio_vmess.relay import SharedBuffers

FLOW = Flow(destination=Destination(host="example.com", port=80))


def inbound_to(outbound: BlackholeOutbound) -> DokodemoInbound:
    dispatch = Dispatcher(
        FirstOutbound([outbound]),
        policy_of=lambda _: Policy(),
        buffers=SharedBuffers(),
        observers=[AccessLog()],
    )
    return DokodemoInbound(dispatch, tag="", level=0, host="example.com", port=80)


async def test_the_connection_closes_without_a_byte(autojump_clock: trio.testing.MockClock) -> None:
    async with open_client(inbound_to(BlackholeOutbound(tag="drop"))) as client:
        assert await client.receive_rest() == b""
        assert trio.current_time() == 0
        # A client that keeps sending does not keep the connection open.
        with pytest.raises(trio.BrokenResourceError):  # noqa: PT012  (the end takes a moment)
            while True:
                await client.send(b"x")
                await trio.sleep(0.1)
        assert trio.current_time() <= 1.5


async def test_the_http_response_is_403_forbidden(autojump_clock: trio.testing.MockClock) -> None:
    async with open_client(inbound_to(BlackholeOutbound(tag="drop", response="http"))) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
        head = await client.receive_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 403 Forbidden\r\n")
        assert b"Connection: close\r\n" in head
        assert b"Content-Length: 0\r\n" in head
        assert await client.receive_rest() == b""
        assert trio.current_time() == pytest.approx(1.0)


async def test_datagrams_are_dropped(autojump_clock: trio.testing.MockClock) -> None:
    flow = Flow(destination=Destination(host="example.com", port=53, network=Network.UDP))
    link = (await BlackholeOutbound(tag="").connect_packets(flow)).remote
    await link.send([b"one", b"two"])
    with trio.move_on_after(1000) as scope:
        await link.receive()
    assert scope.cancelled_caught
    await link.aclose()
