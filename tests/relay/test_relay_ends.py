"""How a relay ends without faults: each direction on its own, and by idle limits."""

import hashlib
from functools import partial

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.kit.pattern import pattern, pattern_pieces, pattern_sha256
from tests.kit.remote_ends import (
    memory_pair,
    plain_side,
    vmess_server_side,
)
from tests.kit.sockets import transport_pair
from tests.relay.running import running
from tests.relay.sides import CLIENT_SIDES, REMOTE_SIDES, some_codecs
from trio_vmess.core.policy import Policy
from trio_vmess.relay import CloseReason

# Ends ---------------------------------------------------------------------------------------------


@some_codecs
async def test_a_reply_of_megabytes_after_the_end_of_the_request(
    client_codec: str, remote_codec: str
) -> None:
    client_side, client = CLIENT_SIDES[client_codec](transport_pair)
    remote_side, origin = REMOTE_SIDES[remote_codec](transport_pair)
    size = 5_000_011
    async with running(client_side, remote_side, policy=Policy(downlink_only=30)) as relay:

        async def answer() -> None:
            assert await origin.receive_all() == b"the request"
            for piece in pattern_pieces(size):
                await origin.send(piece)
            await origin.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            await client.send(b"the request")
            await client.send_eof()
            assert hashlib.sha256(await client.receive_all()).hexdigest() == pattern_sha256(size)
        await relay.ended.wait()
    assert relay.result == (CloseReason.FINISHED, "")


@some_codecs
async def test_an_upload_goes_on_after_the_end_of_the_answer(
    client_codec: str, remote_codec: str, autojump_clock: MockClock
) -> None:
    client_side, client = CLIENT_SIDES[client_codec](memory_pair)
    remote_side, origin = REMOTE_SIDES[remote_codec](memory_pair)
    async with running(client_side, remote_side) as relay:
        await origin.send_eof()
        assert await client.receive_all() == b""
        for number in range(8):
            await trio.sleep(0.8)
            await client.send(bytes([number]))
            assert await origin.receive_exactly(1) == bytes([number])
        await client.send_eof()
        assert await origin.receive_all() == b""
        await relay.ended.wait()
    assert relay.result == (CloseReason.FINISHED, "")


async def test_the_terminator_ends_a_direction_before_the_connection_closes(
    autojump_clock: MockClock,
) -> None:
    client_side, client = vmess_server_side()
    remote_side, origin = plain_side()
    async with running(client_side, remote_side) as relay:
        await client.transport.send_all(client.seal(b"x") + client.seal_end() + b"trailing junk")
        assert await origin.receive_all() == b"x"
        await origin.send_eof()
        await relay.ended.wait()
    assert relay.result == (CloseReason.FINISHED, "")


async def test_an_empty_response_still_carries_the_header(
    autojump_clock: MockClock,
) -> None:
    client_side, client = vmess_server_side()
    remote_side, origin = plain_side()
    async with running(client_side, remote_side):
        await origin.send_eof()
        # The client's opener raises if the header or the closing chunk is missing.
        assert await client.receive() == b""
    assert client.wire_sizes[0] > 38


# Limits -------------------------------------------------------------------------------------------

LIMITS = Policy(connection_idle=100, uplink_only=7, downlink_only=13)
GRAIN = 1.0


async def test_the_idle_limit_ends_the_relay(autojump_clock: MockClock) -> None:
    client_side, _ = plain_side()
    remote_side, _ = plain_side()
    start = trio.current_time()
    async with running(client_side, remote_side, policy=LIMITS) as relay:
        await relay.ended.wait()
    assert relay.result == (CloseReason.IDLE, "")
    assert 100 <= relay.at - start <= 100 + GRAIN


@pytest.mark.parametrize("speaker", ["client", "origin"])
async def test_data_in_either_direction_extends_the_idle_limit(
    speaker: str, autojump_clock: MockClock
) -> None:
    client_side, client = plain_side()
    remote_side, origin = plain_side()
    async with running(client_side, remote_side, policy=LIMITS) as relay:
        for _ in range(6):
            await trio.sleep(99)
            await (client if speaker == "client" else origin).send(b"still here")
        last = trio.current_time()
        await relay.ended.wait()
    assert relay.result == (CloseReason.IDLE, "")
    assert 100 <= relay.at - last <= 100 + GRAIN


async def test_frequent_small_reads_extend_the_idle_limit(autojump_clock: MockClock) -> None:
    client_side, client = plain_side()
    remote_side, _ = plain_side()
    async with running(client_side, remote_side, policy=Policy(connection_idle=1)) as relay:
        for _ in range(50):
            await trio.sleep(0.3)
            await client.send(b".")
        last = trio.current_time()
        await relay.ended.wait()
    # The deadline moves in grains, but never so that it comes too early.
    assert 1 <= relay.at - last <= 1 + GRAIN


@pytest.mark.parametrize(
    ("ends_first", "ending", "limit"),
    [("client", CloseReason.DOWNLINK_ONLY, 13), ("origin", CloseReason.UPLINK_ONLY, 7)],
)
async def test_a_half_closed_relay_has_its_own_idle_limit(
    ends_first: str, ending: CloseReason, limit: float, autojump_clock: MockClock
) -> None:
    client_side, client = plain_side()
    remote_side, origin = plain_side()
    first, second = (client, origin) if ends_first == "client" else (origin, client)
    async with running(client_side, remote_side, policy=LIMITS) as relay:
        await trio.sleep(50)
        await first.send_eof()
        assert await second.receive_all() == b""
        await trio.sleep(limit - 1)
        await second.send(b"late, but in time")
        last = trio.current_time()
        await relay.ended.wait()
    assert relay.result == (ending, "")
    assert limit <= relay.at - last <= limit + GRAIN


@pytest.mark.parametrize(("ends_first", "limit"), [("client", 13), ("origin", 7)])
async def test_the_half_closed_limit_starts_at_the_end_of_the_first_direction(
    ends_first: str, limit: float, autojump_clock: MockClock
) -> None:
    client_side, client = plain_side()
    remote_side, origin = plain_side()
    async with running(client_side, remote_side, policy=LIMITS) as relay:
        await trio.sleep(60)
        await (client if ends_first == "client" else origin).send_eof()
        last = trio.current_time()
        await relay.ended.wait()
    assert relay.at - last == limit


async def test_a_client_that_does_not_read_reaches_the_idle_limit(fast_clock: MockClock) -> None:
    client_side, _client = plain_side(partial(transport_pair, buffer_size=4096))
    remote_side, origin = plain_side(partial(transport_pair, buffer_size=4096))
    async with running(client_side, remote_side, policy=Policy(connection_idle=5)) as relay:
        with pytest.raises(trio.BrokenResourceError):
            await origin.send(pattern(2_000_000))
        await relay.ended.wait()
    assert relay.result == (CloseReason.IDLE, "")
