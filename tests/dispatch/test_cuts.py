"""What breaks off is reset on the side that may still expect something, and closed on the other.

tests/loopback/test_cuts.py has resets by real peers.
"""

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from tests.dispatch.test_dispatcher import DispatcherFixture
from trio_vmess.core import Policy
from trio_vmess.errors import DialError, DialFailure

Break = Callable[[DispatcherFixture], Awaitable[None]]


async def cancel(fixture: DispatcherFixture) -> None:
    (connection,) = fixture.dispatcher.connections
    connection.cancel()


async def fall_silent(fixture: DispatcherFixture) -> None:
    await trio.sleep(50)


async def exchange(fixture: DispatcherFixture, then: Break, *, half_closed: bool = False) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.stream)
        await fixture.client.send(b"request")
        assert await fixture.outbound.end.receive_exactly(7) == b"request"
        await fixture.outbound.end.send(b"a part of ")
        assert await fixture.client.receive_exactly(10) == b"a part of "
        if half_closed:
            await fixture.client.send_eof()
            assert await fixture.outbound.end.receive_all() == b""
        await then(fixture)


@pytest.mark.parametrize("then", [cancel, fall_silent])
async def test_a_transfer_that_breaks_off_is_reset_on_both_sides(
    then: Break, autojump_clock: MockClock
) -> None:
    fixture = DispatcherFixture(policy=Policy(connection_idle=20))
    await exchange(fixture, then)
    assert fixture.client_transport.aborted
    assert fixture.outbound.transport.aborted
    fixture.check_closed()


@pytest.mark.parametrize("then", [cancel, fall_silent])
async def test_a_side_that_has_got_its_end_is_closed(
    then: Break, autojump_clock: MockClock
) -> None:
    fixture = DispatcherFixture()
    await exchange(fixture, then, half_closed=True)
    assert fixture.client_transport.aborted
    assert not fixture.outbound.transport.aborted
    fixture.check_closed()


async def test_a_whole_transfer_is_closed(autojump_clock: MockClock) -> None:
    fixture = DispatcherFixture()

    async def end(fixture: DispatcherFixture) -> None:
        await fixture.outbound.end.send_eof()
        assert await fixture.client.receive_all() == b""

    await exchange(fixture, end, half_closed=True)
    assert not fixture.client_transport.aborted
    assert not fixture.outbound.transport.aborted
    fixture.check_closed()


async def test_a_client_whose_request_is_refused_is_closed(autojump_clock: MockClock) -> None:
    """It has been told so, and a reset could overtake what it was told."""
    fixture = DispatcherFixture()
    fixture.outbound.failure = DialError("no", reason=DialFailure.REFUSED)
    await fixture.stream()
    assert not fixture.client_transport.aborted
    fixture.check_closed()
