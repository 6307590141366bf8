"""Relays beside each other: backpressure, fairness, and shared buffers."""

import itertools
from collections.abc import Sequence
from functools import partial

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.kit.pattern import pattern
from tests.kit.remote_ends import (
    RemoteEnd,
    TransportPair,
    memory_pair,
    plain_side,
)
from tests.kit.sockets import transport_pair
from tests.relay.running import running
from tests.relay.sides import CLIENT_SIDES, REMOTE_SIDES, all_codecs, exchange, some_codecs
from trio_vmess.contracts import StreamSide
from trio_vmess.core import Piece
from trio_vmess.core.policy import Policy
from trio_vmess.relay import CloseReason, SharedBuffers
from trio_vmess.transport.tcp import SocketTransport


@some_codecs
@pytest.mark.parametrize("direction", ["up", "down"])
async def test_backpressure_reaches_the_sender(
    client_codec: str, remote_codec: str, direction: str
) -> None:
    make = partial(transport_pair, buffer_size=16_384)
    client_side, client = CLIENT_SIDES[client_codec](make)
    remote_side, origin = REMOTE_SIDES[remote_codec](make)
    sender, reader = (client, origin) if direction == "up" else (origin, client)
    sent = 0

    async def send() -> None:
        nonlocal sent
        for piece in itertools.repeat(pattern(16_384), 400):
            await sender.send(piece)
            sent += len(piece)
        await sender.send_eof()

    async with running(client_side, remote_side), trio.open_nursery() as nursery:
        nursery.start_soon(send)
        stuck = -1
        while sent != stuck:
            stuck = sent
            await trio.testing.wait_all_tasks_blocked(0.01)
        # At most two kernel buffers on each connection, and one read inside the relay.
        assert 0 < stuck < 1_000_000
        assert await reader.receive_all() == pattern(16_384) * 400


async def test_a_small_buffer_size_makes_small_reads(autojump_clock: MockClock) -> None:
    client_side, client = plain_side()
    remote_side, origin = plain_side()
    await client.send(pattern(100_000))
    await client.send_eof()
    async with running(client_side, remote_side, policy=Policy(buffer_size=20_000)):
        origin._buffer = memoryview(bytearray(100_000))
        first = await origin.receive()
        assert 0 < len(first) <= 20_000
        assert first + await origin.receive_all() == pattern(100_000)


async def test_two_relays_share_one_run() -> None:
    buffers = SharedBuffers()
    policy = Policy(uplink_only=30, downlink_only=30)
    async with trio.open_nursery() as nursery:
        for name in ("plain", "aes-128-gcm", "chacha20-poly1305"):
            client_side, client = CLIENT_SIDES[name](transport_pair)
            remote_side, origin = REMOTE_SIDES[name](transport_pair)

            async def relay_one(
                client_side: StreamSide,
                remote_side: StreamSide,
                client: RemoteEnd,
                origin: RemoteEnd,
            ) -> None:
                async with running(
                    client_side, remote_side, policy=policy, buffers=buffers
                ) as relay:
                    await exchange(client, origin, 700_000, 900_000)
                    await relay.ended.wait()
                assert relay.result == (CloseReason.FINISHED, "")

            nursery.start_soon(relay_one, client_side, remote_side, client, origin)


async def test_a_busy_relay_lets_other_tasks_run() -> None:
    """A relay whose source and sink are always ready must still let other tasks run."""

    client_side, client = plain_side(transport_pair)
    remote_side, origin = plain_side(transport_pair)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async def feed() -> None:
        for piece in itertools.repeat(bytes(65_536), 200):
            await client.send(piece)
        await client.send_eof()

    async with running(client_side, remote_side), trio.open_nursery() as nursery:
        nursery.start_soon(other)
        nursery.start_soon(feed)
        await origin.receive_all()
        nursery.cancel_scope.cancel()
    assert turns > 20


class _Recording(SocketTransport):
    """Keeps what it was given in pieces, for as long as the buffers do not change."""

    def __init__(self, inner: SocketTransport) -> None:
        super().__init__(inner.socket)
        self.pieces: list[list[Piece]] = []

    async def send_pieces(self, pieces: Sequence[Piece], /) -> None:
        self.pieces.append(list(pieces))
        await super().send_pieces(pieces)


@pytest.mark.parametrize(
    ("client_codec", "remote_codec"), [("none", "plain"), ("plain", "none"), ("none", "none")]
)
async def test_payload_that_no_codec_changes_is_not_copied(
    client_codec: str, remote_codec: str
) -> None:
    client_side, client = CLIENT_SIDES[client_codec](transport_pair)
    remote_side, origin = REMOTE_SIDES[remote_codec](transport_pair)
    assert isinstance(remote_side.transport, SocketTransport)
    remote_side.transport = sink = _Recording(remote_side.transport)
    buffers = SharedBuffers()
    size = 3_000_000
    async with running(
        client_side, remote_side, policy=Policy(uplink_only=30), buffers=buffers
    ) as relay:
        await exchange(client, origin, size, 0)
        await relay.ended.wait()
    assert relay.result == (CloseReason.FINISHED, "")
    assert relay.meter.uplink == size
    assert len(sink.pieces) > 3
    pieces = [piece for each in sink.pieces for piece in each if isinstance(piece, memoryview)]
    # What is not of the read is a chunk that came in two parts: one for each read, at most.
    in_place = [piece for piece in pieces if piece.obj is buffers.received.obj]
    assert len(pieces) - len(in_place) <= len(sink.pieces)
    assert sum(map(len, in_place)) > size / 2


@pytest.mark.parametrize("codec", ["aes-128-gcm", "aes-128-cfb"])
async def test_payload_that_a_codec_changes_is_never_sent_in_pieces(codec: str) -> None:
    client_side, client = plain_side(transport_pair)
    remote_side, origin = REMOTE_SIDES[codec](transport_pair)
    assert isinstance(remote_side.transport, SocketTransport)
    remote_side.transport = sink = _Recording(remote_side.transport)
    async with running(client_side, remote_side, policy=Policy(uplink_only=30)) as relay:
        await exchange(client, origin, 3_000_000, 0)
        await relay.ended.wait()
    assert relay.result == (CloseReason.FINISHED, "")
    assert not sink.pieces


@pytest.mark.parametrize("make", [transport_pair, memory_pair], ids=["socket", "memory"])
@all_codecs
async def test_no_data_is_kept_in_shared_buffers_across_a_checkpoint(
    client_codec: str, remote_codec: str, make: TransportPair
) -> None:
    """Another task overwrites the buffers whenever it runs; the payload must stay intact."""
    if make is transport_pair:
        make = partial(transport_pair, buffer_size=8192)
    client_side, client = CLIENT_SIDES[client_codec](make)
    remote_side, origin = REMOTE_SIDES[remote_codec](make)
    buffers = SharedBuffers()
    junk = b"\xa5" * 70_000

    async def scribble() -> None:
        while True:
            for buffer in (buffers.received, buffers.opened, buffers.sealed):
                buffer[: len(junk)] = junk
            await trio.lowlevel.checkpoint()

    policy = Policy(uplink_only=30, downlink_only=30)
    async with (
        running(client_side, remote_side, policy=policy, buffers=buffers) as relay,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(scribble)
        await exchange(client, origin, 200_000, 300_000)
        await relay.ended.wait()
        nursery.cancel_scope.cancel()
    assert relay.result == (CloseReason.FINISHED, "")
