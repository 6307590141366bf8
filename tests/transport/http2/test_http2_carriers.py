"""Which connection a stream is opened on, and when connections are given up."""

import pytest
import trio
import trio.testing

from tests.kit.cancel_sweep import Scenario, sweep_cancellations
from tests.transport.http2.ends import echo, receive_all, running
from trio_vmess.contracts import Transport
from trio_vmess.core.carriage.http2 import Limits
from trio_vmess.transport.http2 import KeepAlive


async def exchange(stream: Transport) -> None:
    """Send something, and wait until it has come back."""
    await stream.send_all(b"x")
    assert await receive_all(stream, 1) == b"x"


async def test_streams_that_are_opened_together_wait_for_one_connection() -> None:
    async with running(echo) as ends:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ends.open)
        assert len(ends.clients_ends) == 1


async def test_a_full_connection_gets_a_second_one() -> None:
    async with running(echo, limits=Limits(stream_count=2)) as ends:
        streams = [await ends.open()]
        await exchange(streams[0])
        streams += [await ends.open() for _ in range(3)]
        for stream in streams:
            await exchange(stream)
        assert len(ends.clients_ends) == 2
        await streams[0].aclose()
        await trio.testing.wait_all_tasks_blocked()
        await exchange(await ends.open())
        assert len(ends.clients_ends) == 2


async def test_a_connection_that_has_ended_is_replaced() -> None:
    async with running(echo) as ends:
        await exchange(await ends.open())
        await trio.aclose_forcefully(ends.clients_ends[0])
        await trio.testing.wait_all_tasks_blocked()
        await exchange(await ends.open())
        assert len(ends.clients_ends) == 2


async def test_one_who_gives_up_dialling_leaves_it_to_others() -> None:
    async with running(echo) as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ends.open)
        with trio.CancelScope() as scope:
            scope.cancel()
            await ends.open()
        await exchange(await ends.open())
        assert len(ends.clients_ends) == 1


async def test_a_connection_without_streams_is_closed_after_a_while(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running(echo, keep_alive=KeepAlive(idle_timeout=60)) as ends:
        stream = await ends.open()
        await exchange(stream)
        await trio.sleep(200)
        await exchange(stream)
        await stream.aclose()
        await trio.sleep(50)
        await (await ends.open()).aclose()
        assert len(ends.clients_ends) == 1
        await trio.sleep(121)
        await exchange(await ends.open())
        assert len(ends.clients_ends) == 2


async def test_a_peer_that_answers_keeps_its_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    times = KeepAlive(read_idle_timeout=10, health_check_timeout=5)
    async with running(echo, keep_alive=times) as ends:
        stream = await ends.open()
        await exchange(stream)
        await trio.sleep(1000)
        await exchange(stream)


def pair_that_falls_silent() -> tuple[trio.abc.Stream, trio.abc.Stream]:
    """Return two ends of which the first receives nothing that the second sends."""
    ours, _ = trio.testing.memory_stream_pair()
    _, theirs = trio.testing.memory_stream_pair()
    return ours, theirs


async def test_a_peer_that_does_not_answer_loses_its_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    times = KeepAlive(read_idle_timeout=10, health_check_timeout=5)
    async with running(echo, keep_alive=times, pair=pair_that_falls_silent) as ends:
        stream = await ends.open()
        start = trio.current_time()
        with pytest.raises(trio.BrokenResourceError, match="does not answer"):
            await receive_all(stream)
        assert trio.current_time() - start == 15
        await ends.open()
        assert len(ends.clients_ends) == 2


async def test_a_new_stream_asks_a_silent_peer_and_the_next_one_avoids_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running(echo, pair=pair_that_falls_silent) as ends:
        await ends.open()
        await trio.sleep(20)
        second = await ends.open()
        assert len(ends.clients_ends) == 1
        await trio.sleep(3)
        await ends.open()
        assert len(ends.clients_ends) == 2
        with pytest.raises(trio.BrokenResourceError, match="does not answer"):
            await receive_all(second)


async def test_without_a_running_service_nothing_is_opened() -> None:
    async with running(echo) as ends:
        pass
    with pytest.raises(RuntimeError, match="does not run"):
        await ends.open()
    assert not ends.clients_ends


def test_a_cancellation_leaves_nothing_open() -> None:
    def build() -> Scenario:
        streams: list[trio.abc.Stream] = []

        def pair() -> tuple[trio.abc.Stream, trio.abc.Stream]:
            ours, theirs = trio.testing.memory_stream_pair()
            streams.extend((ours, theirs))
            return ours, theirs

        async def run() -> None:
            async with running(echo, pair=pair) as ends:
                stream = await ends.open()
                await stream.send_eof(b"x" * 1000)
                await receive_all(stream)
                await stream.aclose()

        def check() -> None:
            for stream in streams:
                assert stream.receive_stream._closed  # type: ignore[attr-defined]

        return Scenario(run=run, check=check)

    assert sweep_cancellations(build) > 20
