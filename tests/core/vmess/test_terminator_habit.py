"""Ends without a terminator: which of them are cuts."""

import pytest

from tests.kit.entropy import SeededEntropy
from tests.kit.pair import account, request
from trio_vmess.core.vmess import (
    ClientConnection,
    Data,
    EndOfStream,
    ReplayCache,
    Response,
    ServerConnection,
    StreamBody,
    TerminatorHabit,
    UserRegistry,
)
from trio_vmess.core.vmess.terminator_habit import CONFIDENCE
from trio_vmess.errors import RemoteProtocolError

NOW = 1_700_000_000
OUT = memoryview(bytearray(100_000))


def receive_body(habit: TerminatorHabit, *, terminated: bool) -> None:
    """Let a client receive a body that ends with a terminator, or between two chunks."""
    client = ClientConnection(entropy=SeededEntropy(1), jitter=0)
    registry = UserRegistry([account()])
    server = ServerConnection(registry, ReplayCache(window=120), entropy=SeededEntropy(2))
    server.receive_data(client.send(request(account(), timestamp=NOW)), now=NOW)
    server.next_event()
    body = client.hand_over_early(lambda _response: None, habit=habit)
    assert isinstance(body, StreamBody)
    wire = server.send(Response()) + server.send(Data(payload=b"answer"))
    if terminated:
        wire += server.send(EndOfStream())
    assert body.opener.update_into(wire, OUT) == 6
    assert body.opener.ended is terminated
    if not terminated:
        body.opener.finalize_into(OUT)


def test_of_an_unknown_server_every_end_between_chunks_is_taken() -> None:
    habit = TerminatorHabit()
    for _ in range(10):
        receive_body(habit, terminated=False)


def test_a_server_that_sends_terminators_is_expected_to() -> None:
    habit = TerminatorHabit()
    receive_body(habit, terminated=True)
    with pytest.raises(RemoteProtocolError, match="before the end of the body"):
        receive_body(habit, terminated=False)
    receive_body(habit, terminated=True)


def test_a_server_that_has_been_replaced_is_believed_after_some_cuts() -> None:
    habit = TerminatorHabit()
    receive_body(habit, terminated=True)
    for _ in range(CONFIDENCE):
        with pytest.raises(RemoteProtocolError):
            receive_body(habit, terminated=False)
    receive_body(habit, terminated=False)
