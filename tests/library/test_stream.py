"""VMess as a Trio stream: it behaves like any other, says Trio's test kit."""

import pytest
import trio
import trio.testing
from trio.testing import check_half_closeable_stream

from tests.kit.entropy import SeededEntropy
from tests.kit.pair import NOW, ConnectionPair, request
from trio_vmess.core.vmess import Request, Response, StreamBody
from trio_vmess.library.stream import VMessStream


def over(near: trio.abc.Stream, far: trio.abc.Stream) -> tuple[VMessStream, VMessStream]:
    """Return a client's and a server's stream over two ends that are joined."""
    pair = ConnectionPair(entropy=SeededEntropy(3))
    head = pair.client.send(request(pair.account))
    body = pair.client.hand_over_early(lambda _: None)
    assert isinstance(body, StreamBody)
    pair.server.receive_data(head, now=NOW)
    assert isinstance(pair.server.next_event(), Request)
    header = pair.server.send(Response())
    server = pair.server.hand_over()
    assert isinstance(server, StreamBody)
    # The headers were carried by hand: each test is about the streams behind them.
    body.opener.update_into(header, memoryview(bytearray(100)))
    return (
        VMessStream(near, body, b"", is_request=False),
        VMessStream(far, server, b"", is_request=False),
    )


async def memory_pair() -> tuple[VMessStream, VMessStream]:
    return over(*trio.testing.memory_stream_pair())


async def lockstep_pair() -> tuple[VMessStream, VMessStream]:
    return over(*trio.testing.lockstep_stream_pair())


async def test_conforms() -> None:
    await check_half_closeable_stream(memory_pair, None)


async def test_conforms_when_clogged() -> None:
    await check_half_closeable_stream(lockstep_pair, lockstep_pair)


async def test_a_peer_that_breaks_the_protocol_breaks_the_stream() -> None:
    near, far = trio.testing.memory_stream_pair()
    client, server = over(near, far)
    async with client, server:
        await server.send_all(b"good")
        assert await client.receive_some() == b"good"
        await far.send_all(bytes(70_000))
        with pytest.raises(trio.BrokenResourceError, match="chunk"):
            await client.receive_some()
