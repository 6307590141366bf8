"""A file through a stream that echoes, so that a test can look around while it is open."""

import hashlib

import trio

from tests.kit.pattern import pattern_pieces, pattern_sha256

_READ_SIZE = 65_536


async def echo_file(stream: trio.abc.Stream, size: int) -> None:
    """Send `size` bytes while reading them back, and compare the hash."""
    digest, count = hashlib.sha256(), 0

    async def send() -> None:
        for piece in pattern_pieces(size):
            await stream.send_all(piece)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while count < size and (data := await stream.receive_some(_READ_SIZE)):
            digest.update(data)
            count += len(data)
    assert (count, digest.hexdigest()) == (size, pattern_sha256(size))
