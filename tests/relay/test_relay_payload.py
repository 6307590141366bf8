"""Payload that was opened before the relay began: it comes first, as it is, and counts once."""

import pytest
import trio
from trio.testing import MockClock

from tests.kit.remote_ends import memory_pair, plain_side, vmess_client_side
from tests.relay.running import running
from tests.relay.sides import CLIENT_SIDES, REMOTE_SIDES, some_codecs
from trio_vmess.relay import CloseReason


@some_codecs
async def test_payload_comes_before_all_else(
    client_codec: str, remote_codec: str, autojump_clock: MockClock
) -> None:
    client_side, client = CLIENT_SIDES[client_codec](memory_pair)
    remote_side, origin = REMOTE_SIDES[remote_codec](memory_pair)
    client_side.payload, client_side.early = b"opened,", client.seal(b"early,")
    await client.transport.send_all(client.seal(b"late"))
    async with running(client_side, remote_side) as relay:
        assert await origin.receive_exactly(17) == b"opened,early,late"
        assert relay.meter.uplink == 17
        assert client_side.payload == b""


async def test_payload_and_header_go_out_together(autojump_clock: MockClock) -> None:
    client_side, client = plain_side()
    remote_side, server = vmess_client_side(flush_after=0.1)
    client_side.payload = b"opened"
    async with running(client_side, remote_side):
        assert await server.receive() == b"opened"
        assert len(server.wire_sizes) == 1
        assert trio.current_time() == 0
        await client.send(b"late")
        assert await server.receive() == b"late"


@pytest.mark.parametrize("payload", [b"", b"opened"])
async def test_a_body_that_has_ended_already(payload: bytes, autojump_clock: MockClock) -> None:
    """Nothing more is read from a client whose body is over."""
    client_side, client = CLIENT_SIDES["aes-128-gcm"](memory_pair)
    remote_side, origin = plain_side()
    wire = (client.seal(payload) if payload else b"") + client.seal_end()
    assert client_side.opener is not None
    opened = memoryview(bytearray(len(wire)))
    client_side.payload = bytes(opened[: client_side.opener.update_into(wire, opened)])
    async with running(client_side, remote_side) as relay:
        assert await origin.receive_all() == payload
        await origin.send_eof()
        await relay.ended.wait()
    assert relay.result == (CloseReason.FINISHED, "")


async def test_a_remote_reset_while_sending_payload(autojump_clock: MockClock) -> None:
    client_side, _ = plain_side()
    remote_side, _ = plain_side()
    client_side.payload = b"opened"

    async def reset(data: object, /) -> None:
        await trio.lowlevel.checkpoint()
        raise trio.BrokenResourceError("reset")

    remote_side.transport.send_all = reset  # type: ignore[method-assign, assignment]
    async with running(client_side, remote_side) as relay:
        await relay.ended.wait()
    assert relay.result == (CloseReason.REMOTE_RESET, "")
