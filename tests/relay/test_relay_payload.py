"""Payload that was opened before the relay began: it comes first, as it is, and counts once."""

import pytest
import trio
from trio.testing import MockClock

from tests.kit.remote_ends import memory_pair, plain_side, vmess_client_side
from tests.relay.running import running
from tests.relay.sides import FAR, NEAR, some_codecs
from trio_vmess.relay import CloseReason


@some_codecs
async def test_payload_comes_before_all_else(
    near_name: str, far_name: str, autojump_clock: MockClock
) -> None:
    near, client = NEAR[near_name](memory_pair)
    far, origin = FAR[far_name](memory_pair)
    near.payload, near.early = b"opened,", client.seal(b"early,")
    await client.transport.send_all(client.seal(b"late"))
    async with running(near, far) as relay:
        assert await origin.receive_exactly(17) == b"opened,early,late"
        assert relay.meter.uplink == 17
        assert near.payload == b""


async def test_payload_takes_the_header_with_it(autojump_clock: MockClock) -> None:
    near, client = plain_side()
    far, server = vmess_client_side(flush_after=0.1)
    near.payload = b"opened"
    async with running(near, far):
        assert await server.receive() == b"opened"
        assert len(server.wire_sizes) == 1
        assert trio.current_time() == 0
        await client.send(b"late")
        assert await server.receive() == b"late"


@pytest.mark.parametrize("payload", [b"", b"opened"])
async def test_the_end_may_have_been_opened_too(payload: bytes, autojump_clock: MockClock) -> None:
    """Nothing more is read from a client whose body is over."""
    near, client = NEAR["aes-128-gcm"](memory_pair)
    far, origin = plain_side()
    wire = (client.seal(payload) if payload else b"") + client.seal_end()
    assert near.opener is not None
    opened = memoryview(bytearray(len(wire)))
    near.payload = bytes(opened[: near.opener.update_into(wire, opened)])
    async with running(near, far) as relay:
        assert await origin.receive_all() == payload
        await origin.send_eof()
        await relay.ended.wait()
    assert relay.result == (CloseReason.FINISHED, "")


async def test_a_far_side_that_resets_is_named(autojump_clock: MockClock) -> None:
    near, _ = plain_side()
    far, _ = plain_side()
    near.payload = b"opened"

    async def reset(data: object, /) -> None:
        await trio.lowlevel.checkpoint()
        raise trio.BrokenResourceError("reset")

    far.transport.send_all = reset  # type: ignore[method-assign, assignment]
    async with running(near, far) as relay:
        await relay.ended.wait()
    assert relay.result == (CloseReason.REMOTE_RESET, "")
