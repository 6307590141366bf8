"""Sockets that answer for somebody else: when they are opened, shared, read and closed."""

import errno
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from tests.kit.waiting import wait_until
from trio_vmess.inbound.answer_sockets import AnswerSockets, Bind
from trio_vmess.transport import SocketAddress


def bind_plainly(name: bytes, like: socket.socket) -> socket.socket:
    """Bind to an address that is our own: the name is the last byte of 127.0.0.x."""
    sock = socket.socket(like.family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((f"127.0.0.{name[0]}", like.getsockname()[1]))
    return sock


@attrs.define(eq=False)
class Answers:
    """Sockets under test, their port, a client, and what was delivered."""

    sockets: AnswerSockets
    port: int
    client: trio.socket.SocketType
    delivered: list[tuple[SocketAddress, bytes, bytes]] = attrs.field(factory=list)


@asynccontextmanager
async def open_answers(bind: Bind = bind_plainly) -> AsyncIterator[Answers]:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening,
        trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        listening.bind(("127.0.0.1", 0))
        await client.bind(("127.0.0.1", 0))
        async with trio.open_nursery() as nursery:
            sockets = AnswerSockets(listening, nursery=nursery, tag="door", bind=bind)
            answers = Answers(sockets, listening.getsockname()[1], client)
            sockets.deliver = lambda *datagram: answers.delivered.append(datagram)
            yield answers
            # Readers end with their sockets; the nursery would wait for others.


async def test_the_first_answer_opens_a_socket_and_the_last_flow_closes_it() -> None:
    async with open_answers() as answers:
        one, two = b"\x02", b"\x03"
        here = answers.client.getsockname()
        for name in (one, one, two):
            answers.sockets.hold(name)
        assert len(answers.sockets) == 0
        for name, host in ((one, "127.0.0.2"), (two, "127.0.0.3"), (one, "127.0.0.2")):
            assert answers.sockets.send(name, [b"x"], here) == 0
            assert await answers.client.recvfrom(10) == (b"x", (host, answers.port))
        assert len(answers.sockets) == 2
        for name, left in ((one, 2), (one, 1), (two, 0)):
            answers.sockets.release(name)
            assert len(answers.sockets) == left


async def test_datagrams_that_come_to_an_answering_socket_are_delivered() -> None:
    async with open_answers() as answers:
        here = answers.client.getsockname()
        answers.sockets.hold(b"\x02")
        answers.sockets.send(b"\x02", [b"x"], here)
        await answers.client.sendto(b"more", ("127.0.0.2", answers.port))
        await wait_until(lambda: bool(answers.delivered))
        assert answers.delivered == [(here, b"\x02", b"more")]
        answers.sockets.release(b"\x02")


async def test_an_address_that_cannot_be_had_drops_answers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    name = socket.AF_INET.to_bytes(2, sys.byteorder) + b"\x00\x35\xcb\x00\x71\x05" + bytes(8)

    def refuse(_name: bytes, _like: socket.socket) -> socket.socket:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    async with open_answers(refuse) as answers:
        answers.sockets.hold(name)
        assert answers.sockets.send(name, [b"x", b"y"], answers.client.getsockname()) == 2
        answers.sockets.release(name)
    (message,) = caplog.messages
    assert message == (
        "dokodemo.answer_dropped tag=door destination=udp:203.0.113.5:53 "
        "reason='Address already in use'"
    )
