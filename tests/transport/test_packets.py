"""Datagrams over a VMess body: one chunk each, and a header in front of the first."""

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.kit.pair import ConnectionPair, request
from tests.kit.remote_ends import memory_pair
from trio_vmess.core import Destination, Network, parse_host
from trio_vmess.core.vmess import Command, PacketBody, Request, Response, Security
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.transport.packets import BodyPacketLink

TARGET = Destination(host=parse_host("192.0.2.1"), port=53, network=Network.UDP)
BUFFER = memoryview(bytearray(65_536))

securities = pytest.mark.parametrize("security", Security, ids=lambda each: each.word)


def links(
    security: Security = Security.AES_128_GCM,
) -> tuple[BodyPacketLink, BodyPacketLink, list[Response]]:
    """Return a client's link and a server's, joined in memory, and what the client was told."""
    pair = ConnectionPair()
    options = 0x01 if security is Security.AES_128_CFB else 0x0D if security.is_aead else 0x05
    header = pair.client.send(
        request(
            pair.account,
            security=security,
            options=options,
            command=Command.UDP,
            destination=TARGET,
        )
    )
    responses: list[Response] = []
    client_body = pair.client.hand_over_early(responses.append)
    pair.server.receive_data(header, now=1_700_000_000)
    event = pair.server.next_event()
    assert isinstance(event, Request)
    assert event.destination == TARGET
    answer = pair.server.send(Response())
    server_body = pair.server.hand_over()
    assert isinstance(client_body, PacketBody)
    assert isinstance(server_body, PacketBody)
    client_transport, server_transport = memory_pair()
    # The request header was read above; only the answer's is still to come.
    return (
        BodyPacketLink(client_transport, client_body, prefix=b"", buffer=BUFFER),
        BodyPacketLink(server_transport, server_body, prefix=answer, buffer=BUFFER),
        responses,
    )


async def receive(link: BodyPacketLink, count: int) -> list[bytes]:
    """Return `count` datagrams, however they come together."""
    datagrams: list[bytes] = []
    while len(datagrams) < count and (batch := await link.receive()):
        datagrams += batch
    return datagrams


@securities
async def test_datagram_boundaries_are_kept(security: Security, autojump_clock: MockClock) -> None:
    client, server, responses = links(security)
    sent = [b"one", b"", b"t", b"three" * 300, bytes(1400)]
    await client.send(sent)
    await client.send([b"last"])
    # An empty chunk would close the body: an empty datagram is dropped.
    arrived = [datagram for datagram in sent if datagram] + [b"last"]
    assert await receive(server, len(arrived)) == arrived
    assert not responses
    await server.send([b"answer", b"another"])
    assert await receive(client, 2) == [b"answer", b"another"]
    await server.send([b"the header comes once"])
    assert await receive(client, 1) == [b"the header comes once"]
    assert responses == [Response()]


async def test_datagrams_too_large_for_a_chunk_are_dropped(autojump_clock: MockClock) -> None:
    client, server, _ = links()
    assert await client.send([b"before", bytes(60_000), b"after"]) == 1
    assert await receive(server, 2) == [b"before", b"after"]


async def test_the_end_of_the_stream_is_the_end_of_the_link(autojump_clock: MockClock) -> None:
    client, server, _ = links()
    await client.send([b"x"])
    await client.aclose()
    assert await receive(server, 2) == [b"x"]
    assert await server.receive() == ()
    with pytest.raises(trio.BrokenResourceError):
        await server.send([b"too late"])


async def test_a_truncated_datagram_is_a_protocol_error(autojump_clock: MockClock) -> None:
    client, server, _ = links()
    wire = client._sealer.seal(b"datagram")
    await client._transport.send_all(wire[:-1])
    await client.aclose()
    with pytest.raises(RemoteProtocolError, match="cut off"):
        await server.receive()


async def test_a_connection_closed_without_a_response(autojump_clock: MockClock) -> None:
    client, server, _ = links()
    await server.aclose()
    with pytest.raises(RemoteProtocolError, match="closed the connection without an answer"):
        await client.receive()
