"""Another server in our place: strangers cannot tell it from that server itself."""

import ipaddress
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.kit.remote_ends import RemoteEnd, memory_pair
from tests.kit.scripted_remote import Script, TrackedTransport
from tests.kit.strangers import SOURCE, told, told_by, undated
from tests.kit.vectors import load
from trio_vmess.contracts import Transport
from trio_vmess.core import Destination
from trio_vmess.core.carriage import encode_proxy_v1, encode_proxy_v2
from trio_vmess.errors import DialError, DialFailure
from trio_vmess.fallback import EncodeProxyHeader, UpstreamFallback
from trio_vmess.fallback.upstream import REPORT_PAUSE
from trio_vmess.relay import SharedBuffers
from trio_vmess.transport import StreamTransport

BUFFERS = SharedBuffers()
LOCAL = Destination(host=ipaddress.IPv4Address("192.0.2.1"), port=443)


class Upstream:
    """A server in memory.

    Attributes:
        failure: what connecting comes to; None for a connection.
        transports: our ends.
    """

    def __init__(self, nursery: trio.Nursery, script: Script) -> None:
        self.failure: DialFailure | None = None
        self.transports: list[TrackedTransport] = []
        self._nursery, self._script = nursery, script

    async def connect(self) -> Transport:
        if self.failure is not None:
            raise DialError("as the test wants", reason=self.failure)
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._run, theirs)
        self.transports.append(TrackedTransport(StreamTransport(ours)))
        return self.transports[-1]

    async def _run(self, stream: trio.StapledStream) -> None:
        async with stream:
            await self._script(stream)

    def fallback(self, encode_header: EncodeProxyHeader | None = None) -> UpstreamFallback:
        return UpstreamFallback(
            connect=self.connect,
            name="upstream",
            encode_header=encode_header,
            buffers=BUFFERS,
            idle=300.0,
            clock=lambda: 0,
        )


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Upstream]:
    async with trio.open_nursery() as nursery:
        yield Upstream(nursery, script)


async def repeat(stream: trio.abc.HalfCloseableStream) -> None:
    """Say what has come, once its end has."""
    received = b"".join([bytes(piece) async for piece in stream])
    await trio.sleep(100)  # it is thinking
    await stream.send_all(b"you said " + received)
    await stream.send_eof()


@pytest.mark.parametrize("step", [0, 1])
async def test_everything_is_passed_on_in_both_directions(
    step: int, autojump_clock: MockClock
) -> None:
    async with serving(repeat) as upstream:
        assert await told_by(upstream.fallback(), b"GET / HTTP/1.1\r\n\r\n", step=step) == (
            b"you said GET / HTTP/1.1\r\n\r\n"
        )
        assert upstream.transports[0].closed
        assert not upstream.transports[0].aborted


@pytest.mark.parametrize(
    ("encode", "source", "header"),
    [
        (encode_proxy_v1, SOURCE, b"PROXY TCP4 192.0.2.9 192.0.2.1 5000 443\r\n"),
        (encode_proxy_v1, "192.0.2.9:0", b"PROXY TCP4 192.0.2.9 192.0.2.1 0 443\r\n"),
        (encode_proxy_v1, "", b"PROXY UNKNOWN\r\n"),
        (
            encode_proxy_v2,
            SOURCE,
            encode_proxy_v2(Destination(host=ipaddress.IPv4Address("192.0.2.9"), port=5000), LOCAL),
        ),
    ],
)
async def test_a_proxy_header_goes_first(
    encode: EncodeProxyHeader, source: str, header: bytes, autojump_clock: MockClock
) -> None:
    async with serving(repeat) as upstream:
        fallback = upstream.fallback(encode)

        async def serve(transport: Transport) -> None:
            tracked = TrackedTransport(transport, local=LOCAL)
            await fallback.serve(tracked, received=b"hello", source=source)

        assert await told(serve, b"") == b"you said " + header + b"hello"


async def test_a_server_that_cuts_off_is_not_taken_for_one_that_ends(
    autojump_clock: MockClock,
) -> None:
    async def cut(stream: trio.abc.HalfCloseableStream) -> None:
        await stream.send_all(b"half")
        assert isinstance(stream, trio.StapledStream)
        await stream.receive_some()
        raise trio.BrokenResourceError

    ours, theirs = memory_pair()
    tracked = TrackedTransport(ours)

    class Breaking(TrackedTransport):
        async def receive_into(self, buffer: memoryview, /) -> int:
            size = await super().receive_into(buffer)
            if not size:
                raise trio.BrokenResourceError("reset")
            return size

    async with trio.open_nursery() as nursery:
        local, remote = memory_pair()

        async def connect() -> Transport:
            return Breaking(local)

        fallback = UpstreamFallback(
            connect=connect, name="x", buffers=BUFFERS, idle=300.0, clock=lambda: 0
        )
        nursery.start_soon(lambda: fallback.serve(tracked, received=b"hello", source=SOURCE))
        await remote.send_all(b"half")
        assert await RemoteEnd(theirs).receive() == b"half"
        await remote.send_eof()
    assert tracked.aborted


# A server that is not there -----------------------------------------------------------------------


@pytest.mark.parametrize("step", [0, 1])
async def test_the_answers_in_place_of_the_server_are_those_of_nginx(step: int) -> None:
    async with serving(repeat) as upstream:
        upstream.failure = DialFailure.REFUSED
        for vector in load("nginx_site"):
            if vector["server"] != "gateway":
                continue
            wire = bytes.fromhex(vector["request"])
            answer = await told_by(upstream.fallback(), wire, step=step)
            assert undated(answer) == undated(vector["response"]), vector["name"]


async def test_a_server_that_does_not_answer_is_a_timeout() -> None:
    async with serving(repeat) as upstream:
        upstream.failure = DialFailure.TIMED_OUT
        answer = await told_by(upstream.fallback(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 504 Gateway Time-out\r\n")


async def test_a_server_that_is_back_gets_the_next_request(autojump_clock: MockClock) -> None:
    async with serving(repeat) as upstream:
        upstream.failure = DialFailure.REFUSED
        fallback = upstream.fallback()
        ours, theirs = memory_pair()
        async with trio.open_nursery() as nursery:
            request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
            nursery.start_soon(lambda: fallback.serve(ours, received=request, source=SOURCE))
            end = RemoteEnd(theirs)
            assert (await end.receive()).startswith(b"HTTP/1.1 502 ")
            upstream.failure = None
            following = b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\nmore"
            await theirs.send_all(following)
            await theirs.send_eof()
            assert await end.receive_all() == b"you said " + following


async def test_a_server_that_is_not_there_is_logged_once_a_minute(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="trio_vmess.fallback")
    async with serving(repeat) as upstream:
        upstream.failure = DialFailure.REFUSED
        fallback = upstream.fallback()
        for _ in range(5):
            await told_by(fallback, b"GET / HTTP/1.0\r\n\r\n")
        assert len(caplog.records) == 1
        await trio.sleep(REPORT_PAUSE)
        await told_by(fallback, b"GET / HTTP/1.0\r\n\r\n")
        assert len(caplog.records) == 2
    assert "fallback.unreachable server=upstream" in caplog.records[0].getMessage()
