"""VMess as a Trio stream: it behaves like any other, and ends in order."""

import pytest
import trio
import trio.testing
from trio.testing import MockClock, check_half_closeable_stream

from tests.kit.entropy import SeededEntropy
from tests.kit.pair import NOW, ConnectionPair, request
from tests.kit.remote_ends import vmess_bodies
from trio_vmess.core.vmess import Request, Response, StreamBody
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.library import VMessStream
from trio_vmess.library.stream import END_LIMIT


def join(
    ours: trio.abc.Stream, theirs: trio.abc.Stream, *, sends_headers: bool = False
) -> tuple[VMessStream, VMessStream]:
    """Return a client's and a server's stream over two ends that are joined.

    Without `sends_headers`, both headers were carried by hand: the test is about what follows.
    """
    pair = ConnectionPair(entropy=SeededEntropy(3))
    head = pair.client.send(request(pair.account))
    body = pair.client.hand_over_early(lambda _: None)
    assert isinstance(body, StreamBody)
    pair.server.receive_data(head, now=NOW)
    assert isinstance(pair.server.next_event(), Request)
    header = pair.server.send(Response())
    server = pair.server.hand_over()
    assert isinstance(server, StreamBody)
    if sends_headers:
        return VMessStream(ours, body, head), VMessStream(theirs, server, header)
    body.opener.update_into(header, memoryview(bytearray(100)))
    return VMessStream(ours, body), VMessStream(theirs, server)


async def memory_pair() -> tuple[VMessStream, VMessStream]:
    return join(*trio.testing.memory_stream_pair())


async def lockstep_pair() -> tuple[VMessStream, VMessStream]:
    return join(*trio.testing.lockstep_stream_pair())


async def receive_all(stream: trio.abc.ReceiveStream) -> bytes:
    received = b""
    async for data in stream:
        received += bytes(data)
    return received


# As any stream ------------------------------------------------------------------------------------


async def test_it_passes_trios_checks_of_a_half_closeable_stream() -> None:
    await check_half_closeable_stream(memory_pair, None)


async def test_it_passes_trios_checks_when_clogged(autojump_clock: MockClock) -> None:
    await check_half_closeable_stream(lockstep_pair, lockstep_pair)


async def test_a_large_payload_is_received_in_pieces_of_the_size_asked_for() -> None:
    client, server = await memory_pair()
    payload = bytes(range(256)) * 1000
    async with client, server:
        await client.send_all(payload)
        first = await server.receive_some(3)
        assert first == payload[:3]
        await client.send_eof()
        assert first + await receive_all(server) == payload


async def test_half_close_leaves_the_other_direction_open() -> None:
    client, server = await memory_pair()
    async with client, server:
        await client.send_all(b"request")
        await client.send_eof()
        await client.send_eof()
        assert await receive_all(server) == b"request"
        with pytest.raises(trio.ClosedResourceError, match="after send_eof"):
            await client.send_all(b"more")
        await server.send_all(b"answer")
        await server.send_eof()
        assert await receive_all(client) == b"answer"
        assert await client.receive_some() == b""


# Headers ------------------------------------------------------------------------------------------


async def test_a_program_that_receives_first_sends_the_header_alone() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    client, _ = join(ours, theirs, sends_headers=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.receive_some)
        header = await theirs.receive_some()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert header


async def test_the_header_and_the_first_payload_are_one_write() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    client, _ = join(ours, theirs, sends_headers=True)
    writes = 0

    async def count() -> None:
        nonlocal writes
        writes += 1
        await trio.lowlevel.checkpoint()

    ours.send_stream.send_all_hook = count
    await client.send_all(b"hello")
    assert writes == 1


# Errors -------------------------------------------------------------------------------------------


async def test_a_peer_that_breaks_the_protocol_breaks_the_stream() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    client, server = join(ours, theirs)
    async with client, server:
        await server.send_all(b"good")
        assert await client.receive_some() == b"good"
        await theirs.send_all(bytes(70_000))
        for _ in range(2):
            with pytest.raises(trio.BrokenResourceError, match="chunk") as caught:
                await client.receive_some()
            assert isinstance(caught.value.__cause__, RemoteProtocolError)


async def test_a_body_that_is_cut_off_breaks_the_stream() -> None:
    ours, middle_in = trio.testing.memory_stream_pair()
    middle_out, theirs = trio.testing.memory_stream_pair()
    client, server = join(ours, theirs)
    await server.send_all(b"payload")
    wire = bytes(await middle_out.receive_some())
    await middle_in.send_all(wire[:-1])
    await middle_in.send_eof()
    with pytest.raises(trio.BrokenResourceError, match="cut off inside a chunk"):
        await client.receive_some()


async def test_a_server_that_closes_without_an_answer_breaks_the_stream() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    client, _ = join(ours, theirs, sends_headers=True)
    await client.send_all(b"hello")
    await theirs.aclose()
    with pytest.raises(trio.BrokenResourceError, match="closed the connection without an answer"):
        await client.receive_some()


@pytest.mark.parametrize(
    ("max_bytes", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)]
)
async def test_an_illegal_max_bytes_is_refused(max_bytes: int, error: type[Exception]) -> None:
    client, _ = await memory_pair()
    with pytest.raises(error):
        await client.receive_some(max_bytes)


# Cancellation -------------------------------------------------------------------------------------


async def test_a_cancelled_receive_loses_nothing(autojump_clock: MockClock) -> None:
    client, server = await memory_pair()
    with trio.move_on_after(1) as scope:
        await client.receive_some()
    assert scope.cancelled_caught
    await server.send_all(b"hello")
    assert await client.receive_some() == b"hello"


async def test_a_send_that_was_cancelled_before_it_began_does_no_harm() -> None:
    client, server = await memory_pair()
    with trio.CancelScope() as scope:
        scope.cancel()
        await client.send_all(b"lost")
    await client.send_all(b"hello")
    assert await server.receive_some() == b"hello"


async def test_after_a_send_that_was_cut_short_only_receiving_goes_on(
    autojump_clock: MockClock,
) -> None:
    client, server = await lockstep_pair()
    with trio.move_on_after(1) as scope:
        await client.send_all(b"lost")
    assert scope.cancelled_caught
    with pytest.raises(trio.BrokenResourceError, match="an earlier send was interrupted"):
        await client.send_all(b"more")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.send_all, b"answer")
        assert await client.receive_some() == b"answer"


# Closing ------------------------------------------------------------------------------------------


async def test_closing_says_the_end_of_the_body_first() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    bodies = vmess_bodies()
    client = VMessStream(ours, bodies.client)
    await client.send_all(b"hello")
    await client.aclose()
    wire = await receive_all(theirs)
    opener = bodies.server.opener
    opened = memoryview(bytearray(opener.output_size(len(wire))))
    assert bytes(opened[: opener.update_into(wire, opened)]) == b"hello"
    assert opener.ended


async def test_closing_after_send_eof_sends_nothing_more() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    client, _ = join(ours, theirs)
    await client.send_eof()
    assert await receive_all(theirs)
    await client.aclose()
    await client.aclose()


async def test_two_tasks_may_close_at_once(autojump_clock: MockClock) -> None:
    client, _ = await lockstep_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.aclose)
        nursery.start_soon(client.aclose)
    assert trio.current_time() < END_LIMIT


async def test_a_stream_that_never_spoke_closes_without_a_word() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    client, _ = join(ours, theirs, sends_headers=True)
    await client.aclose()
    assert await receive_all(theirs) == b""


async def test_closing_does_not_wait_for_ever_for_a_peer_that_does_not_read(
    autojump_clock: MockClock,
) -> None:
    client, server = await lockstep_pair()
    began = trio.current_time()
    await client.aclose()
    assert trio.current_time() - began == END_LIMIT
    with pytest.raises(trio.ClosedResourceError):
        await client.send_all(b"x")
    assert await server.receive_some() == b""


async def test_closing_a_broken_connection_raises_nothing() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    client, _ = join(ours, theirs)
    await theirs.aclose()
    await client.aclose()


async def test_closing_when_cancelled_closes_at_once(autojump_clock: MockClock) -> None:
    client, server = await lockstep_pair()
    began = trio.current_time()
    await trio.aclose_forcefully(client)
    assert trio.current_time() == began
    assert await server.receive_some() == b""


@pytest.mark.parametrize("is_sending", [False, True])
async def test_closing_wakes_a_task_that_waits(is_sending: bool, autojump_clock: MockClock) -> None:
    client, _ = await lockstep_pair()
    woken = trio.Event()

    async def wait() -> None:
        blocked = client.send_all(b"x") if is_sending else client.receive_some()
        with pytest.raises(trio.ClosedResourceError):
            await blocked
        woken.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await client.aclose()
        await woken.wait()
    # In the midst of another task's payload, no end can be said, and nobody is waited for.
    assert trio.current_time() == (0 if is_sending else END_LIMIT)
