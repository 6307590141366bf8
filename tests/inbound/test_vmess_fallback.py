"""The VMess inbound with a fallback: every refusal is handed over with all its bytes."""

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.inbound.test_vmess_inbound import (
    HANDSHAKE,
    REFUSED,
    SOURCE,
    Caller,
    LogLines,
    make_inbound,
    refusals,
)
from tests.kit.cancel_sweep import Scenario, sweep_cancellations
from tests.kit.entropy import SeededEntropy
from tests.kit.pair import NOW, account, request
from tests.kit.remote_ends import RemoteEnd
from tests.kit.scripted_remote import open_remote
from tests.kit.strangers import NotingFallback
from trio_vmess.core.vmess import ClientConnection

__all__ = ["refusals"]

LATE = {"truncated": HANDSHAKE}
"""When these are handed over: they may still become a request."""


@pytest.mark.parametrize("name", [each for each in REFUSED if each != "nothing"])
async def test_refusals_of_all_kinds_look_alike(
    name: str, autojump_clock: MockClock, refusals: LogLines
) -> None:
    fallback = NotingFallback()
    wire = REFUSED[name][0]()
    async with open_remote() as remote, trio.open_nursery() as nursery:
        caller = Caller(make_inbound(remote.dispatch, allow_insecure=False, fallback=fallback))
        nursery.start_soon(caller.served)
        await caller.transport.send_all(wire)
        end = RemoteEnd(caller.transport)
        assert await end.receive() == b"the site"
        await caller.transport.send_all(b"more")
        await trio.sleep(2 * HANDSHAKE)  # no limit of ours any more
        await caller.transport.send_eof()
        assert await end.receive() == b""
    ((received, source, when),) = fallback.calls
    assert received + fallback.rest == wire + b"more"
    assert (source, when) == (SOURCE, LATE.get(name, 0.0))
    assert remote.outbound.flows == []
    assert caller.accepted.closed
    reason = "the first packet has 7 bytes" if name == "short" else REFUSED[name][1]
    assert reason in refusals()[0]


@pytest.mark.parametrize("alter_ids", [0, 4], ids=["aead", "legacy"])
async def test_a_replayed_request_is_handed_over(alter_ids: int, autojump_clock: MockClock) -> None:
    fallback = NotingFallback()
    async with open_remote() as remote, trio.open_nursery() as nursery:
        inbound = make_inbound(remote.dispatch, alter_ids=alter_ids, fallback=fallback)
        wire = ClientConnection(entropy=SeededEntropy(), jitter=0).send(request(account(alter_ids)))
        callers = [Caller(inbound) for _ in range(2)]
        for caller in callers:
            nursery.start_soon(caller.served)
            await caller.transport.send_all(wire)
            await trio.testing.wait_all_tasks_blocked()
        assert len(remote.outbound.flows) == 1
        assert [received for received, _, _ in fallback.calls] == [wire]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("alter_ids", [0, 4], ids=["aead", "legacy"])
async def test_users_are_served_as_without_a_fallback(
    alter_ids: int, autojump_clock: MockClock
) -> None:
    fallback = NotingFallback()
    async with open_remote() as remote, trio.open_nursery() as nursery:
        inbound = make_inbound(remote.dispatch, alter_ids=alter_ids, fallback=fallback)
        caller = Caller(inbound)
        nursery.start_soon(caller.served)
        stream = await caller.ask(request(account(alter_ids)))
        await stream.send(bytes(100_000))
        assert await stream.receive_exactly(100_000) == bytes(100_000)
        await stream.send_eof()
        assert await stream.receive_all() == b""
    assert fallback.calls == []


async def test_a_request_in_two_packets_is_served(autojump_clock: MockClock) -> None:
    fallback = NotingFallback()
    async with open_remote() as remote, trio.open_nursery() as nursery:
        caller = Caller(make_inbound(remote.dispatch, fallback=fallback))
        nursery.start_soon(caller.served)
        wire = caller.connection.send(request(account()))
        for piece in (wire[:16], wire[16:40], wire[40:]):
            await caller.transport.send_all(piece)
            await trio.testing.wait_all_tasks_blocked()
        assert len(remote.outbound.flows) == 1
        nursery.cancel_scope.cancel()
    assert fallback.calls == []


@pytest.mark.parametrize("has_end", [False, True])
async def test_who_sends_nothing_costs_the_site_no_connection(
    has_end: bool, autojump_clock: MockClock
) -> None:
    fallback = NotingFallback()
    async with open_remote() as remote, trio.open_nursery() as nursery:
        caller = Caller(make_inbound(remote.dispatch, fallback=fallback))
        nursery.start_soon(caller.served)
        if has_end:
            await caller.transport.send_eof()
        assert await RemoteEnd(caller.transport).receive() == b""
        assert trio.current_time() == (0 if has_end else HANDSHAKE)
    assert fallback.calls == []


async def test_a_wrong_clock_is_still_explained(
    autojump_clock: MockClock, refusals: LogLines
) -> None:
    wrong = attrs.evolve(request(account(4)), timestamp=NOW + 3600)
    async with open_remote() as remote, trio.open_nursery() as nursery:
        caller = Caller(make_inbound(remote.dispatch, alter_ids=4, fallback=NotingFallback()))
        nursery.start_soon(caller.served)
        await caller.ask(wrong)
        assert await RemoteEnd(caller.transport).receive() == b"the site"
        await caller.transport.send_eof()
    assert any("vmess.refused.explained" in line for line in refusals())


def test_cancellation_at_any_checkpoint_closes_everything() -> None:
    def build() -> Scenario:
        callers: list[Caller] = []

        async def run() -> None:
            async with open_remote() as remote, trio.open_nursery() as nursery:
                caller = Caller(make_inbound(remote.dispatch, fallback=NotingFallback()))
                nursery.start_soon(caller.served)
                await caller.transport.send_all(bytes(100))
                callers.append(caller)
                await RemoteEnd(caller.transport).receive()
                await caller.transport.send_eof()

        def check() -> None:
            assert all(caller.accepted.closed for caller in callers)

        return Scenario(run=run, check=check)

    assert sweep_cancellations(build) > 3
