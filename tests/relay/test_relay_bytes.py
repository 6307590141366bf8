"""Bytes through a relay: whole and in order, whatever the two sides speak; and the header."""

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.kit.remote_ends import (
    memory_pair,
    plain_side,
    vmess_client_side,
    vmess_server_side,
)
from tests.kit.sockets import transport_pair
from tests.relay.running import running
from tests.relay.sides import CLIENT_SIDES, REMOTE_SIDES, all_codecs, exchange, some_codecs
from trio_vmess.core.policy import Policy
from trio_vmess.relay import CloseReason

# Bytes --------------------------------------------------------------------------------------------


@all_codecs
async def test_bytes_arrive_as_they_were_sent(client_codec: str, remote_codec: str) -> None:
    client_side, client = CLIENT_SIDES[client_codec](transport_pair)
    remote_side, origin = REMOTE_SIDES[remote_codec](transport_pair)
    async with running(
        client_side, remote_side, policy=Policy(uplink_only=30, downlink_only=30)
    ) as relay:
        await exchange(client, origin, 1_300_000, 2_100_003)
        await relay.ended.wait()
    assert relay.result == (CloseReason.FINISHED, "")
    assert (relay.meter.uplink, relay.meter.downlink) == (1_300_000, 2_100_003)


@some_codecs
async def test_one_byte_at_a_time(client_codec: str, remote_codec: str) -> None:
    client_side, client = CLIENT_SIDES[client_codec](transport_pair)
    remote_side, origin = REMOTE_SIDES[remote_codec](transport_pair)
    async with running(client_side, remote_side):
        for number in range(60):
            byte = bytes([number])
            await client.send(byte)
            assert await origin.receive_exactly(1) == byte
            await origin.send(byte + b"!")
            assert await client.receive_exactly(2) == byte + b"!"


async def test_chunks_may_come_in_any_pieces(autojump_clock: MockClock) -> None:
    client_side, client = vmess_server_side()
    remote_side, origin = plain_side()
    wire = client.seal(b"first chunk, ") + client.seal(b"second chunk") + client.seal_end()
    async with running(client_side, remote_side) as relay:
        for start in range(0, len(wire), 3):
            await client.transport.send_all(wire[start : start + 3])
            await trio.testing.wait_all_tasks_blocked()
        assert await origin.receive_all() == b"first chunk, second chunk"
        await origin.send_eof()
        await relay.ended.wait()
    assert relay.result == (CloseReason.FINISHED, "")


@pytest.mark.parametrize("client_codec", CLIENT_SIDES)
async def test_early_bytes_come_first_and_once(
    client_codec: str, autojump_clock: MockClock
) -> None:
    client_side, client = CLIENT_SIDES[client_codec](memory_pair)
    remote_side, origin = plain_side()
    client_side.early = client.seal(b"early,")
    late = client.seal(b"late")
    async with running(client_side, remote_side) as relay:
        assert await origin.receive() == b"early,"
        await client.transport.send_all(late)
        assert await origin.receive() == b"late"
        assert relay.meter.uplink == len(b"early,late")


async def test_early_bytes_may_be_the_whole_request(autojump_clock: MockClock) -> None:
    client_side, client = vmess_server_side()
    remote_side, origin = plain_side()
    client_side.early = client.seal(b"request") + client.seal_end()
    async with running(client_side, remote_side) as relay:
        assert await origin.receive_all() == b"request"
        await origin.send(b"answer")
        await origin.send_eof()
        assert await client.receive_all() == b"answer"
        await relay.ended.wait()
    assert relay.result == (CloseReason.FINISHED, "")


async def test_early_bytes_of_the_remote_reach_the_client(autojump_clock: MockClock) -> None:
    client_side, client = plain_side()
    remote_side, _ = plain_side()
    remote_side.early = b"welcome"
    async with running(client_side, remote_side):
        assert await client.receive_exactly(7) == b"welcome"


async def test_the_meter_counts_both_directions(autojump_clock: MockClock) -> None:
    client_side, client = plain_side()
    remote_side, origin = plain_side()
    async with running(client_side, remote_side) as relay:
        await client.send(b"12345")
        await origin.send(b"123")
        await origin.receive_exactly(5)
        await client.receive_exactly(3)
        assert (relay.meter.uplink, relay.meter.downlink) == (5, 3)


# The header ---------------------------------------------------------------------------------------


async def test_the_header_goes_alone_when_nothing_comes(autojump_clock: MockClock) -> None:
    client_side, client = plain_side()
    remote_side, server = vmess_client_side(flush_after=0.1)
    start = trio.current_time()
    async with running(client_side, remote_side):
        header = await server.receive_wire()
        assert trio.current_time() - start == pytest.approx(0.1)
        await client.send(b"x")
        rest = await server.receive_wire()
    assert len(header) > 60
    assert 0 < len(rest) < 100


async def test_the_header_goes_with_the_first_payload(autojump_clock: MockClock) -> None:
    client_side, client = plain_side()
    remote_side, server = vmess_client_side(flush_after=0.1)
    start = trio.current_time()
    async with running(client_side, remote_side):
        await trio.sleep(0.05)
        await client.send(b"x" * 1000)
        assert await server.receive() == b"x" * 1000
        assert trio.current_time() - start == pytest.approx(0.05)
    assert len(server.wire_sizes) == 1


async def test_a_server_that_speaks_first_is_heard(autojump_clock: MockClock) -> None:
    client_side, client = plain_side()
    remote_side, server = vmess_client_side(flush_after=0.1)
    async with running(client_side, remote_side) as relay:
        await server.receive_wire()
        await server.send(b"220 welcome")
        assert await client.receive_exactly(11) == b"220 welcome"
        await client.send(b"HELO")
        await server.transport.send_eof()
        # Not the closing chunk, just the end of the stream: that is legal between two chunks.
        assert await client.receive() == b""
        await relay.ended.wait()
    assert relay.result == (CloseReason.UPLINK_ONLY, "")


async def test_the_header_of_an_answer_waits_for_the_answer(autojump_clock: MockClock) -> None:
    client_side, client = vmess_server_side()
    remote_side, origin = plain_side()
    async with running(client_side, remote_side):
        await client.send(b"request")
        await origin.receive_exactly(7)
        with trio.move_on_after(50) as waiting:
            await client.receive_wire()
        assert waiting.cancelled_caught
        await origin.send(b"answer")
        assert await client.receive() == b"answer"
    assert len(client.wire_sizes) == 1
