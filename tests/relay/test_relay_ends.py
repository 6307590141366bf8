"""How a relay ends when all is well: each direction for itself, and by its limits."""

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
from tests.relay.sides import FAR, NEAR, some_codecs
from trio_vmess.core.policy import Policy
from trio_vmess.relay import CloseReason

# Ends ---------------------------------------------------------------------------------------------


@some_codecs
async def test_a_reply_of_megabytes_after_the_end_of_the_request(
    near_name: str, far_name: str
) -> None:
    near, client = NEAR[near_name](transport_pair)
    far, origin = FAR[far_name](transport_pair)
    size = 5_000_011
    async with running(near, far, policy=Policy(downlink_only=30)) as relay:

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
    near_name: str, far_name: str, autojump_clock: MockClock
) -> None:
    near, client = NEAR[near_name](memory_pair)
    far, origin = FAR[far_name](memory_pair)
    async with running(near, far) as relay:
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


async def test_the_end_that_the_protocol_says_needs_no_end_of_the_connection(
    autojump_clock: MockClock,
) -> None:
    near, client = vmess_server_side()
    far, origin = plain_side()
    async with running(near, far) as relay:
        await client.transport.send_all(client.seal(b"x") + client.seal_end() + b"trailing junk")
        assert await origin.receive_all() == b"x"
        await origin.send_eof()
        await relay.ended.wait()
    assert relay.result == (CloseReason.FINISHED, "")


async def test_an_end_without_any_answer_still_carries_the_header(
    autojump_clock: MockClock,
) -> None:
    near, client = vmess_server_side()
    far, origin = plain_side()
    async with running(near, far):
        await origin.send_eof()
        # The opener of the far end would raise, were the header or the closing chunk not there.
        assert await client.receive() == b""
    assert client.wire_sizes[0] > 38


# Limits -------------------------------------------------------------------------------------------

LIMITS = Policy(connection_idle=100, uplink_only=7, downlink_only=13)
GRAIN = 1.0


async def test_silence_ends_it(autojump_clock: MockClock) -> None:
    near, _ = plain_side()
    far, _ = plain_side()
    start = trio.current_time()
    async with running(near, far, policy=LIMITS) as relay:
        await relay.ended.wait()
    assert relay.result == (CloseReason.IDLE, "")
    assert 100 <= relay.at - start <= 100 + GRAIN


@pytest.mark.parametrize("speaker", ["client", "origin"])
async def test_data_of_either_side_puts_the_limit_off(
    speaker: str, autojump_clock: MockClock
) -> None:
    near, client = plain_side()
    far, origin = plain_side()
    async with running(near, far, policy=LIMITS) as relay:
        for _ in range(6):
            await trio.sleep(99)
            await (client if speaker == "client" else origin).send(b"still here")
        last = trio.current_time()
        await relay.ended.wait()
    assert relay.result == (CloseReason.IDLE, "")
    assert 100 <= relay.at - last <= 100 + GRAIN


async def test_small_steps_put_the_limit_off_too(autojump_clock: MockClock) -> None:
    near, client = plain_side()
    far, _ = plain_side()
    async with running(near, far, policy=Policy(connection_idle=1)) as relay:
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
async def test_half_a_relay_has_a_limit_of_its_own(
    ends_first: str, ending: CloseReason, limit: float, autojump_clock: MockClock
) -> None:
    near, client = plain_side()
    far, origin = plain_side()
    first, second = (client, origin) if ends_first == "client" else (origin, client)
    async with running(near, far, policy=LIMITS) as relay:
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
async def test_the_limit_of_half_a_relay_counts_from_the_end(
    ends_first: str, limit: float, autojump_clock: MockClock
) -> None:
    near, client = plain_side()
    far, origin = plain_side()
    async with running(near, far, policy=LIMITS) as relay:
        await trio.sleep(60)
        await (client if ends_first == "client" else origin).send_eof()
        last = trio.current_time()
        await relay.ended.wait()
    assert relay.at - last == limit


async def test_a_client_that_does_not_read_is_idle_in_the_end(fast_clock: MockClock) -> None:
    near, _client = plain_side(partial(transport_pair, buffer_size=4096))
    far, origin = plain_side(partial(transport_pair, buffer_size=4096))
    async with running(near, far, policy=Policy(connection_idle=5)) as relay:
        with pytest.raises(trio.BrokenResourceError):
            await origin.send(pattern(2_000_000))
        await relay.ended.wait()
    assert relay.result == (CloseReason.IDLE, "")
