"""Connections cancelled from outside, and observers."""

import contextlib
from collections.abc import Sequence
from typing import Final

import pytest
import trio
from trio.testing import MockClock

from tests.dispatch.test_dispatcher import (
    DATAGRAMS,
    FLOW,
    DispatcherFixture,
    ListLink,
    RecordedAnswer,
)
from trio_vmess.contracts import StreamSide
from trio_vmess.dispatch import AccessLog, Connection, Dispatcher, FirstOutbound, Observer
from trio_vmess.relay import CloseReason, SharedBuffers

LAST: Final = -1


class Recorder(Observer):
    """Records its notifications."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Connection, str]] = []

    def opened(self, connection: Connection) -> None:
        self.events.append(("opened", connection, connection.outbound_tag))

    def connected(self, connection: Connection) -> None:
        self.events.append(("connected", connection, connection.outbound_tag))

    def closed(self, connection: Connection) -> None:
        reason = "" if connection.close_reason is None else connection.close_reason.value
        self.events.append(("closed", connection, reason))


def fixture_with(*observers: Observer) -> DispatcherFixture:
    fixture = DispatcherFixture()
    fixture.dispatcher = Dispatcher(
        FirstOutbound([fixture.outbound]),
        policy_of=fixture.policy_of,
        buffers=SharedBuffers(),
        observers=observers,
    )
    return fixture


async def test_all_observers_are_notified(autojump_clock: MockClock) -> None:
    first, second = Recorder(), Recorder()
    fixture = fixture_with(first, second)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.stream)
        await fixture.client.send(b"ping")
        await fixture.client.send_eof()
        assert await fixture.outbound.end.receive_exactly(4) == b"ping"
        (connection,) = fixture.dispatcher.connections
        await fixture.outbound.end.send_eof()
    assert first.events == second.events
    assert first.events == [
        ("opened", connection, ""),
        ("connected", connection, "out"),
        ("closed", connection, "finished"),
    ]
    assert connection.meter.uplink == 4


async def test_a_closed_connection_is_not_in_the_table(
    autojump_clock: MockClock,
) -> None:
    counts = list[int]()

    class Counter(Observer):
        def opened(self, connection: Connection) -> None:
            counts.append(len(fixture.dispatcher.connections))

        def closed(self, connection: Connection) -> None:
            counts.append(len(fixture.dispatcher.connections))

    fixture = fixture_with(Counter())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.stream)
        await fixture.client.send_eof()
        await fixture.outbound.end.send_eof()
    assert counts == [1, 0]


async def test_a_connection_cancelled_from_outside_ends_within_one_read(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="trio_vmess.access")
    recorder = Recorder()
    fixture = fixture_with(AccessLog(), recorder)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.stream)
        await fixture.client.send(b"before")
        assert await fixture.outbound.end.receive_exactly(6) == b"before"
        (connection,) = fixture.dispatcher.connections
        connection.cancel()
        with contextlib.suppress(trio.BrokenResourceError):
            await fixture.client.send(b"after")
        assert await fixture.outbound.end.receive_all() == b""
        assert await fixture.client.receive_all() == b""
    assert trio.current_time() == 0
    assert recorder.events[LAST] == ("closed", connection, "ended by operator")
    assert caplog.messages[LAST].endswith("up=6 down=0 seconds=0.000 reason='ended by operator'")
    fixture.check_closed()


async def test_the_first_close_reason_is_kept(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    fixture = fixture_with(recorder)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.stream)
        await fixture.client.send(b"x")
        await fixture.outbound.end.receive_exactly(1)
        (connection,) = fixture.dispatcher.connections
        connection.cancel()
        connection.cancel(CloseReason.CANCELLED)
        nursery.cancel_scope.cancel()
    assert connection.close_reason is CloseReason.OPERATOR
    connection.cancel(CloseReason.IDLE)
    assert connection.close_reason is CloseReason.OPERATOR


async def test_datagrams_can_be_cancelled_from_outside(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    fixture = fixture_with(recorder)
    link = ListLink([[b"one"]])

    async def silence() -> Sequence[bytes]:
        await trio.sleep_forever()
        return ()

    fixture.outbound.link.receive = silence  # type: ignore[method-assign]
    link._left.append([b"never sent"])
    link._pause = 1000
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.dispatcher.packets, DATAGRAMS, link)
        await trio.sleep(1)
        (connection,) = fixture.dispatcher.connections
        connection.cancel()
    assert trio.current_time() == 1
    assert recorder.events[LAST] == ("closed", connection, "ended by operator")
    assert link.closed
    assert fixture.outbound.link.closed


async def test_a_connection_cancelled_while_connecting_is_never_relayed(
    autojump_clock: MockClock,
) -> None:
    recorder = Recorder()
    fixture = fixture_with(recorder)
    reach = fixture.outbound.connect

    async def connect_slowly(flow: object, /) -> object:
        await trio.sleep(5)
        return await reach(FLOW)

    fixture.outbound.connect = connect_slowly  # type: ignore[method-assign, assignment]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.stream)
        await trio.sleep(1)
        (connection,) = fixture.dispatcher.connections
        connection.cancel()
    assert trio.current_time() == 5
    assert [name for name, _, _ in recorder.events] == ["opened", "closed"]
    assert recorder.events[LAST] == ("closed", connection, "ended by operator")
    assert fixture.answer.count == 0
    fixture.check_closed()


async def test_one_that_is_cancelled_while_its_client_is_answered_carries_nothing(
    autojump_clock: MockClock,
) -> None:
    recorder = Recorder()
    fixture = fixture_with(recorder)

    class SlowAnswer(RecordedAnswer):
        async def established(self, remote: StreamSide | None, /) -> None:
            await trio.sleep(5)

    fixture.answer = SlowAnswer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.stream)
        await fixture.client.send(b"never carried")
        await trio.sleep(1)
        (connection,) = fixture.dispatcher.connections
        connection.cancel()
    assert trio.current_time() == 5
    assert recorder.events[LAST] == ("closed", connection, "ended by operator")
    assert await fixture.outbound.end.receive_all() == b""
    fixture.check_closed()
