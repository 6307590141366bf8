"""What is read through a recorded transport can be read again."""

import trio

from tests.kit.remote_ends import RemoteEnd, memory_pair
from trio_vmess.transport import RecordedTransport
from trio_vmess.transport.recorded import READ_SIZE


async def test_what_was_read_is_kept_until_it_is_taken() -> None:
    ours, theirs = memory_pair()
    recorded = RecordedTransport(ours)
    end = RemoteEnd(recorded)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.send_all, bytes(3 * READ_SIZE))
        assert await end.receive() == bytes(READ_SIZE)
        assert await end.receive() == bytes(READ_SIZE)
        assert recorded.take_received() == bytes(2 * READ_SIZE)
        assert await end.receive() == bytes(READ_SIZE)
        assert recorded.take_received() == bytes(READ_SIZE)
        assert recorded.take_received() == b""
