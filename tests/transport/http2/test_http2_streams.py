"""Streams of a shared connection behave as transports, and do not disturb each other."""

from collections.abc import Callable

import pytest
import trio
import trio.testing

from tests.kit.pattern import pattern_pieces
from tests.transport.http2.ends import GRPC, HANDSHAKE, HTTP, echo, receive_all, running
from trio_vmess.contracts import Transport
from trio_vmess.core.carriage.http2 import Limits
from trio_vmess.transport.http2 import GrpcTunnel, Request, Response, Tunnel
from trio_vmess.transport.http2.carrier import BUSY_TURN_SIZE

BULK = b"".join(pattern_pieces(3_000_000))
TUNNELS = pytest.mark.parametrize("tunnel", [HTTP, GRPC], ids=["http", "grpc"])


async def hold(transport: Transport) -> None:
    """Neither read nor end."""
    await trio.sleep_forever()


@TUNNELS
async def test_bytes_go_both_ways_and_each_direction_ends(tunnel: Tunnel) -> None:
    async with running(echo, tunnel=tunnel) as ends, trio.open_nursery() as nursery:
        stream = await ends.open()

        async def send() -> None:
            await stream.send_all(BULK)
            await stream.send_eof(b"last")

        nursery.start_soon(send)
        assert await receive_all(stream) == BULK + b"last"
        assert await stream.receive_into(memoryview(bytearray(1))) == 0
        await stream.aclose()
        await stream.aclose()
        assert not stream.is_reset


@TUNNELS
async def test_the_server_may_speak_first_and_end_first(tunnel: Tunnel) -> None:
    heard = trio.Event()

    async def serve(transport: Transport) -> None:
        await transport.send_all(b"hello")
        await transport.send_eof(b" there")
        assert await receive_all(transport) == b"bye"
        heard.set()
        await transport.aclose()

    async with running(serve, tunnel=tunnel) as ends:
        stream = await ends.open()
        assert await receive_all(stream) == b"hello there"
        await stream.send_eof(b"bye")
        await heard.wait()


async def test_streams_share_a_connection_and_get_a_deadline_each(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running(echo) as ends:
        for _ in range(3):
            stream = await ends.open()
            await stream.send_eof(b"x")
            assert await receive_all(stream) == b"x"
            await trio.sleep(1)
        assert len(ends.clients_ends) == 1
    first = ends.deadlines[0]
    assert ends.deadlines == [first, first + 1, first + 2]


async def test_a_stream_that_nobody_reads_from_holds_its_sender_and_no_other() -> None:
    served: list[Transport] = []

    async def serve(transport: Transport) -> None:
        served.append(transport)
        await (hold if len(served) == 1 else echo)(transport)

    async with running(serve) as ends, trio.open_nursery() as nursery:
        stuck = await ends.open()
        nursery.start_soon(stuck.send_all, BULK)
        await trio.testing.wait_all_tasks_blocked()
        other = await ends.open()
        nursery.start_soon(other.send_eof, BULK)
        assert await receive_all(other) == BULK
        assert await receive_all(served[0], 1000) == BULK[:100_000]
        nursery.cancel_scope.cancel()


async def test_a_sender_that_is_cancelled_leaves_the_connection_whole() -> None:
    async with running(echo, pair=trio.testing.lockstep_stream_pair) as ends:
        cancelled = await ends.open()
        with trio.move_on_after(0):
            await cancelled.send_all(BULK)
        await cancelled.abort()
        stream = await ends.open()
        await stream.send_eof(b"intact")
        assert await receive_all(stream) == b"intact"
        assert len(ends.clients_ends) == 1


async def test_what_waits_is_copied_before_anybody_else_runs() -> None:
    async with running(echo, limits=Limits(window_first=65_536)) as ends:
        stream = await ends.open()
        data = bytearray(b"a" * 200_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_eof, data)
            await trio.testing.wait_all_tasks_blocked()
            data[:] = b"b" * len(data)
            assert await receive_all(stream) == b"a" * 200_000


async def test_senders_take_turns() -> None:
    got: list[tuple[int, int]] = []

    async def serve(transport: Transport) -> None:
        number, buffer = len(ends.deadlines), memoryview(bytearray(1 << 20))
        while size := await transport.receive_into(buffer):
            got.append((number, size))
            await trio.lowlevel.checkpoint()

    async with running(serve, pair=trio.testing.lockstep_stream_pair) as ends:
        streams = [await ends.open() for _ in range(2)]
        await streams[0].send_all(BULK[:100])
        async with trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(stream.send_eof, BULK)
        await trio.testing.wait_all_tasks_blocked()
        totals = {number: sum(size for each, size in got if each == number) for number in (1, 2)}
        assert sorted(totals.values()) == [len(BULK), len(BULK) + 100]
        late = {number for number, _ in got[len(got) // 2 :]}
        assert late == {1, 2}
        behind = ahead = 0
        for number, size in got[: len(got) // 2]:
            ahead += size if number == 1 else -size
            behind = max(behind, abs(ahead))
        assert behind <= 16 * BUSY_TURN_SIZE


@TUNNELS
async def test_an_abort_is_a_reset_at_the_other_end(tunnel: Tunnel) -> None:
    served: list[Transport] = []

    async def serve(transport: Transport) -> None:
        served.append(transport)
        await hold(transport)

    async with running(serve, tunnel=tunnel) as ends:
        for aborts_itself in (True, False):
            stream = await ends.open()
            await stream.send_all(b"kept")
            await trio.testing.wait_all_tasks_blocked()
            near, far = (stream, served[-1]) if aborts_itself else (served[-1], stream)
            await near.abort()
            await trio.testing.wait_all_tasks_blocked()
            assert far.is_reset
            if aborts_itself:
                assert await receive_all(far, 4) == b"kept"
            with pytest.raises(trio.BrokenResourceError):
                await far.receive_into(memoryview(bytearray(9)))
            with pytest.raises(trio.BrokenResourceError):
                await far.send_all(b"x")
            with pytest.raises(trio.ClosedResourceError):
                await near.send_all(b"x")
            await far.aclose()


async def test_a_close_by_the_server_is_an_end_and_by_the_client_a_reset() -> None:
    results: list[str] = []

    async def serve(transport: Transport) -> None:
        if not results:
            await transport.send_all(b"answer")
            results.append("closed")
            await transport.aclose()
        else:
            with pytest.raises(trio.BrokenResourceError):
                await receive_all(transport)
            results.append("reset")

    async with running(serve) as ends:
        stream = await ends.open()
        assert await receive_all(stream) == b"answer"
        await stream.aclose()
        stream = await ends.open()
        await trio.testing.wait_all_tasks_blocked()
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
    assert results == ["closed", "reset"]


async def test_closing_wakes_whoever_waits() -> None:
    async with running(hold) as ends, trio.open_nursery() as nursery:
        stream = await ends.open()

        async def wait(wait_for: Callable[[], object]) -> None:
            with pytest.raises(trio.ClosedResourceError):
                await wait_for()  # type: ignore[misc]

        nursery.start_soon(wait, lambda: stream.send_all(BULK))
        nursery.start_soon(wait, lambda: stream.receive_into(memoryview(bytearray(1))))
        await trio.testing.wait_all_tasks_blocked()
        await stream.aclose()


async def test_the_end_of_the_connection_breaks_its_streams() -> None:
    async with running(hold) as ends, trio.open_nursery() as nursery:
        stream = await ends.open()

        async def wait() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_into(memoryview(bytearray(1)))

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await trio.aclose_forcefully(ends.clients_ends[0])
        await trio.testing.wait_all_tasks_blocked()
        assert stream.is_reset


async def test_another_path_is_answered_and_not_served() -> None:
    asked: list[Request] = []

    async def respond(request: Request) -> Response:
        asked.append(request)
        return Response(status=403, body=b"page")

    other = GrpcTunnel(service="Other")
    async with running(echo, client_tunnel=other, respond=respond) as ends:
        for _ in range(2):
            stream = await ends.open()
            with pytest.raises(trio.BrokenResourceError, match="answered 403"):
                await stream.receive_into(memoryview(bytearray(1)))
            await stream.aclose()
        assert [request.path for request in asked] == ["/Other/Tun"] * 2
        assert len(ends.clients_ends) == 1
        assert not ends.deadlines


async def test_bytes_that_are_no_messages_break_a_stream() -> None:
    broken = trio.Event()

    async def serve(transport: Transport) -> None:
        with pytest.raises(trio.BrokenResourceError, match="compressed"):
            await receive_all(transport)
        broken.set()
        await transport.abort()

    async with running(serve, tunnel=GRPC) as ends:
        stream = await ends.open()
        await stream._transport.send_all(b"\x01\0\0\0\x05")  # type: ignore[attr-defined]
        await broken.wait()


async def test_a_handler_with_a_bug_ends_its_stream_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def serve(transport: Transport) -> None:
        if len(ends.deadlines) == 1:
            raise ZeroDivisionError
        await echo(transport)

    async with running(serve) as ends:
        first = await ends.open()
        await trio.testing.wait_all_tasks_blocked()
        second = await ends.open()
        with pytest.raises(trio.BrokenResourceError):
            await receive_all(first)
        await second.send_eof(b"fine")
        assert await receive_all(second) == b"fine"
    assert "http2.bug source=source" in caplog.text


async def test_a_limited_stream_takes_less() -> None:
    async def serve(transport: Transport) -> None:
        transport.limit_receive_buffer(1000)
        await receive_all(transport, 600_000)
        await hold(transport)

    async with running(serve) as ends, trio.open_nursery() as nursery:
        stream = await ends.open()
        sent = 0

        async def send() -> None:
            nonlocal sent
            while True:
                await stream.send_all(bytes(1000))
                sent += 1000

        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert 600_000 <= sent <= 640_000
        nursery.cancel_scope.cancel()


async def test_streams_that_were_reset_count_while_they_are_served() -> None:
    release = trio.Event()

    async def serve(transport: Transport) -> None:
        with trio.CancelScope(shield=True):
            await release.wait()

    async with running(serve, limits=Limits(stream_count=3)) as ends:
        try:
            for _ in range(3):
                stream = await ends.open()
                await trio.testing.wait_all_tasks_blocked()
                await stream.abort()
            stream = await ends.open()
            with pytest.raises(trio.BrokenResourceError, match="REFUSED_STREAM"):
                await stream.receive_into(memoryview(bytearray(1)))
            assert len(ends.deadlines) == 3
        finally:
            release.set()
        await trio.testing.wait_all_tasks_blocked()
        await ends.open()
        await trio.testing.wait_all_tasks_blocked()
        assert len(ends.deadlines) == 4


async def test_a_connection_without_a_request_is_closed_at_the_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with running(echo, pair=lambda: (trio.testing.memory_stream_pair()[0], theirs)) as ends:
        await ends.open()
        start = trio.current_time()
        while await ours.receive_some():
            pass
        assert trio.current_time() - start == HANDSHAKE
