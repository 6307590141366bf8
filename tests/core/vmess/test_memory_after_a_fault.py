"""A conversation that has failed keeps nothing of what it received."""

import sys

import pytest

from tests.kit.entropy import SeededEntropy
from tests.kit.pair import NOW, ConnectionPair
from trio_vmess.core import ReceiveBuffer
from trio_vmess.core.vmess.conversation import RECEIVE_MAX
from trio_vmess.errors import RemoteProtocolError

SIZE = 200_000


def test_a_refused_request_is_forgotten() -> None:
    pair = ConnectionPair()
    pair.server.receive_data(SeededEntropy(1).token_bytes(SIZE), now=NOW)
    with pytest.raises(RemoteProtocolError):
        pair.server.next_event()
    assert len(pair.server._buffer) == 0
    # And what comes later is not stored either.
    pair.server.receive_data(bytes(SIZE), now=NOW)
    assert len(pair.server._buffer) == 0


def test_a_cleared_buffer_gives_its_memory_back() -> None:
    buffer = ReceiveBuffer(SIZE)
    buffer.append(bytes(SIZE))
    buffer.clear()
    assert len(buffer) == 0
    assert sys.getsizeof(buffer._bytes) < 1000


def test_too_many_bytes_at_a_time_are_forgotten_too() -> None:
    pair = ConnectionPair()
    pair.server.receive_data(bytes(RECEIVE_MAX), now=NOW)
    with pytest.raises(RemoteProtocolError, match="the limit is 1048576") as raised:
        pair.server.receive_data(bytes(1), now=NOW)
    assert len(pair.server._buffer) == 0
    with pytest.raises(RemoteProtocolError, match="the limit is 1048576") as again:
        pair.server.next_event()
    assert again.value is not raised.value
