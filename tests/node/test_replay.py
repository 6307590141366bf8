"""A recorded request is refused wherever and whenever it is sent again."""

import logging
from collections.abc import Callable
from typing import Final

import pytest
import trio

from tests.kit.entropy import SeededEntropy
from tests.kit.pair import account, request
from tests.kit.ports import free_port
from tests.kit.waiting import wait_until
from trio_vmess import config
from trio_vmess.core.vmess import ClientConnection
from trio_vmess.node.clock import utc_seconds
from trio_vmess.node.node import Node

INBOUND: Final = """
[[inbounds]]
tag = "{tag}"
protocol = "vmess"
listen = "127.0.0.1"
port = 0
max_clock_skew = {skew}
users = [
    {{ id = "b831381d-6324-4d53-ad4f-8cda48b30811", email = "love@example.com", alter_id = 4 }},
]
"""
OUTBOUND: Final = """
[[outbounds]]
protocol = "blackhole"
"""
FIXED: Final = INBOUND.replace("port = 0", "port = {port}") + OUTBOUND
LogLines = Callable[[], list[str]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> LogLines:
    """Return what nodes have logged."""
    caplog.set_level(logging.INFO, logger="trio_vmess")
    return lambda: [record.getMessage() for record in caplog.records]


def make_node(text: str = INBOUND.format(tag="in", skew=90) + OUTBOUND) -> Node:
    return Node(config.parse_config(text))


def recorded(alter_ids: int = 0, *, age: int = 0, seed: int = 1) -> bytes:
    """Return a request as it was on the wire."""
    client = ClientConnection(entropy=SeededEntropy(seed), jitter=0)
    return client.send(request(account(alter_ids), timestamp=utc_seconds() - age))


async def say(wire: bytes, node: Node, inbound: int = 0) -> None:
    """Send it to an inbound, as a client that waits for no answer."""
    host, _, port = node.listening[inbound].address.rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(wire)
        await stream.send_eof()
        async for _ in stream:
            pass


def verdicts(lines: LogLines) -> list[str]:
    """Return what became of each connection, in the order in which they came."""
    words = {"accepted source": "accepted", "vmess.refused": "refused"}
    return [word for line in lines() for mark, word in words.items() if mark in line]


@pytest.mark.parametrize("alter_ids", [0, 4], ids=["aead", "legacy"])
async def test_on_another_inbound_of_the_same_user(alter_ids: int, lines: LogLines) -> None:
    inbounds = INBOUND.format(tag="v4", skew=90) + INBOUND.format(tag="v6", skew=10)
    node = make_node(inbounds + OUTBOUND)
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run)
        wire = recorded(alter_ids)
        for inbound in (0, 1, 0, 1):
            await say(wire, node, inbound)
        await say(recorded(alter_ids, seed=2), node, 1)
        await wait_until(lambda: len(verdicts(lines)) == 5)
        nursery.cancel_scope.cancel()
    assert verdicts(lines) == ["accepted", "refused", "refused", "refused", "accepted"]
    assert any("reason='replay'" in line for line in lines())


@pytest.mark.parametrize("alter_ids", [0, 4], ids=["aead", "legacy"])
async def test_after_a_restart(alter_ids: int, lines: LogLines) -> None:
    text = FIXED.format(tag="in", skew=90, port=free_port())
    wire = recorded(alter_ids)
    for _ in range(2):
        node = make_node(text)
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            await say(wire, node)
            nursery.cancel_scope.cancel()
    assert verdicts(lines) == ["accepted", "refused"]
    assert any("replay.store path=" in line for line in lines())


async def test_a_node_that_keeps_nothing(lines: LogLines) -> None:
    text = "state = false" + FIXED.format(tag="in", skew=90, port=free_port())
    wire = recorded()
    for _ in range(2):
        node = make_node(text)
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            for _ in range(2):
                await say(wire, node)
            nursery.cancel_scope.cancel()
    assert verdicts(lines) == ["accepted", "refused"] * 2
