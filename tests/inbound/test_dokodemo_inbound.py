"""Forwarding to a fixed destination: TCP over memory streams, UDP over loopback."""

import socket

import trio
import trio.testing

from tests.kit.inbound_client import SOURCE, open_client
from tests.kit.scripted_remote import open_remote
from trio_vmess.contracts import Dispatch
from trio_vmess.core import Destination, Flow, Network, User
from trio_vmess.errors import DialFailure
from trio_vmess.inbound import DokodemoInbound


def inbound(dispatch: Dispatch) -> DokodemoInbound:
    return DokodemoInbound(dispatch, tag="door", level=1, host="example.com", port=53)


def flow(network: Network, source: str) -> Flow:
    destination = Destination(host="example.com", port=53, network=network)
    return Flow(destination=destination, source=source, inbound_tag="door", user=User(level=1))


async def test_a_stream_goes_to_the_fixed_destination(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_remote() as remote, open_client(inbound(remote.dispatch)) as client:
        await client.send(b"ping")
        assert await client.receive(4) == b"ping"
        await client.stream.send_eof()
        assert await client.receive_rest() == b""
        assert remote.outbound.flows == [flow(Network.TCP, SOURCE)]


async def test_an_unreachable_destination_closes_the_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        open_remote(failure=DialFailure.REFUSED) as remote,
        open_client(inbound(remote.dispatch)) as client,
    ):
        assert await client.receive_rest() == b""


async def test_each_udp_source_is_a_flow_of_its_own() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()
    with (
        trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
    ):
        async with open_remote() as remote, trio.open_nursery() as nursery:
            nursery.start_soon(inbound(remote.dispatch).serve_datagrams, sock)
            for client in (one, two, one):
                await client.sendto(b"ping", port)
                assert await client.recvfrom(100) == (b"udp:example.com:53: ping", port)
            assert remote.outbound.flows == [
                flow(Network.UDP, f"127.0.0.1:{client.getsockname()[1]}") for client in (one, two)
            ]
            nursery.cancel_scope.cancel()
    assert sock.fileno() == -1
    assert remote.outbound.all_closed
