"""The sides that a relay is tried with, by the names of what they speak."""

import hashlib
import itertools
from collections.abc import Callable
from functools import partial

import pytest
import trio

from tests.kit.pattern import pattern_pieces, pattern_sha256
from tests.kit.remote_ends import (
    RemoteEnd,
    TransportPair,
    plain_side,
    vmess_client_side,
    vmess_server_side,
)
from trio_vmess.contracts import StreamSide
from trio_vmess.core.vmess import Security

MakeSide = Callable[[TransportPair], tuple[StreamSide, RemoteEnd]]

CLIENT_SIDES: dict[str, MakeSide] = {
    "plain": plain_side,
    **{
        security.word: partial(
            lambda make, security: vmess_server_side(security, make), security=security
        )
        for security in Security
    },
}
REMOTE_SIDES: dict[str, MakeSide] = {
    "plain": plain_side,
    **{
        security.word: partial(
            lambda make, security: vmess_client_side(security, make), security=security
        )
        for security in Security
    },
}
MAIN_REMOTE_CODECS = ("plain", "aes-128-gcm")

all_codecs = pytest.mark.parametrize(
    ("client_codec", "remote_codec"),
    [
        *itertools.product(CLIENT_SIDES, MAIN_REMOTE_CODECS),
        *(("plain", name) for name in REMOTE_SIDES if name not in MAIN_REMOTE_CODECS),
        ("chacha20-poly1305", "aes-128-cfb"),
    ],
)
some_codecs = pytest.mark.parametrize(
    ("client_codec", "remote_codec"), [*itertools.product(("plain", "aes-128-gcm"), repeat=2)]
)


async def exchange(client: RemoteEnd, origin: RemoteEnd, up: int, down: int) -> None:
    """Send in both directions at once, end both, and compare."""

    async def send(end: RemoteEnd, size: int) -> None:
        for piece in pattern_pieces(size):
            await end.send(piece)
        await end.send_eof()

    async def receive(end: RemoteEnd, size: int) -> None:
        digest, count = hashlib.sha256(), 0
        while data := await end.receive():
            digest.update(data)
            count += len(data)
        assert (count, digest.hexdigest()) == (size, pattern_sha256(size))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, client, up)
        nursery.start_soon(send, origin, down)
        nursery.start_soon(receive, origin, up)
        nursery.start_soon(receive, client, down)
