"""TCP sub-connections of a carrier: their flows, bytes and ends."""

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.inbound.mux.ends import ANN, SOURCE, WEB, Destinations, carried, make_inbound
from tests.kit.pattern import pattern
from trio_vmess.core import Flow
from trio_vmess.core.mux import End, Keep, New, encode_frame
from trio_vmess.core.vmess import MUX_DESTINATION
from trio_vmess.inbound.mux.carrier import SESSION_COUNT_MAX

OTHER = attrs.evolve(WEB, port=80)


async def test_each_sub_connection_is_a_flow_of_its_own() -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        await client.open(WEB)
        first = await dispatch.next()
        await client.open(OTHER)
        second = await dispatch.next()
        assert first.flow == Flow(
            destination=WEB,
            source=SOURCE,
            inbound_tag="in",
            user=ANN,
            is_remote=True,
            carrier=first.flow.carrier,
        )
        assert second.flow == attrs.evolve(first.flow, destination=OTHER)
        assert len(first.flow.carrier) == 8
        first.let_go()
        second.let_go()


async def test_carriers_have_names_of_their_own() -> None:
    dispatch = Destinations()
    inbound = make_inbound(dispatch)
    async with carried(inbound) as one, carried(inbound) as other:
        await one.open()
        await other.open()
        first, second = await dispatch.next(), await dispatch.next()
        assert first.flow.carrier != second.flow.carrier
        first.let_go()
        second.let_go()


async def test_bytes_go_both_ways() -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        number = await client.open(data=b"first ")
        served = await dispatch.next()
        await client.send(number, b"second")
        await wait_all_tasks_blocked()
        assert await served.receive(9) == b"first sec"
        assert await served.receive() == b"ond"
        data = pattern(100_000)
        await served.transport.send_all(data)
        assert await client.receive_data(100_000) == data
        served.let_go()


async def test_the_end_of_the_destination_ends_both_directions() -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        number = await client.open(data=b"rest")
        served = await dispatch.next()
        await served.transport.send_eof(b"last")
        assert await client.receive() == Keep(number, b"last")
        assert await client.receive() == End(number)
        assert [await served.receive() for _ in range(3)] == [b"rest", b"", b""]
        served.let_go()
        await wait_all_tasks_blocked()
        assert not client.mux.queued_size


async def test_what_the_client_sent_before_its_end_is_delivered() -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        number = await client.open(data=b"question")
        served = await dispatch.next()
        await client.end(number)
        await wait_all_tasks_blocked()
        await served.transport.send_all(b"nobody takes this")
        assert await served.receive() == b"question"
        assert await served.receive() == b""
        with pytest.raises(trio.BrokenResourceError, match="peer has ended"):
            await served.transport.send_all(b"nor this")
        served.let_go()
        # The number is free again, and nothing was said about the old session.
        await client.transport.send_all(encode_frame(New(number, OTHER)))
        (await dispatch.next()).let_go()


async def test_an_end_with_an_error_is_a_reset() -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        number = await client.open(data=b"lost")
        served = await dispatch.next()
        assert not served.transport.is_reset
        await client.end(number, is_error=True)
        await wait_all_tasks_blocked()
        assert served.transport.is_reset
        with pytest.raises(trio.BrokenResourceError, match="given up"):
            await served.receive()
        served.let_go()


@pytest.mark.parametrize("how", ["abort", "aclose"])
async def test_a_failure_is_an_end_with_an_error(how: str) -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        number = await client.open()
        served = await dispatch.next()
        await getattr(served.transport, how)()
        assert await client.receive() == End(number, is_error=True)
        with pytest.raises(trio.ClosedResourceError):
            await served.transport.send_all(b"x")
        served.let_go()


async def test_the_end_of_the_carrier_fails_all_sub_connections() -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        await client.open()
        await client.open()
        sub_connections = [await dispatch.next() for _ in range(2)]
        await client.transport.aclose()
        for served in sub_connections:
            with pytest.raises(trio.BrokenResourceError, match="carrier has ended"):
                await served.receive()
            served.let_go()


async def test_a_violation_ends_the_carrier_alone() -> None:
    dispatch = Destinations()
    inbound = make_inbound(dispatch)
    async with carried(inbound) as bad, carried(inbound) as good:
        await bad.open()
        served = await dispatch.next()
        await bad.transport.send_all(bytes(4))
        with pytest.raises(trio.BrokenResourceError, match="carrier has ended"):
            await served.receive()
        served.let_go()
        await bad.returned.wait()
        await good.open(data=b"x")
        served = await dispatch.next()
        assert await served.receive() == b"x"
        served.let_go()


async def test_a_new_session_with_a_number_in_use_replaces_the_old_one() -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        number = await client.open()
        old = await dispatch.next()
        await client.transport.send_all(encode_frame(New(number, OTHER, b"x")))
        new = await dispatch.next()
        with pytest.raises(trio.BrokenResourceError):
            await old.receive()
        old.let_go()
        await wait_all_tasks_blocked()
        await new.transport.send_all(b"answer")
        assert await client.receive() == Keep(number, b"answer")
        new.let_go()


async def test_mux_within_mux_is_refused() -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        number = await client.open(attrs.evolve(MUX_DESTINATION, port=666))
        assert await client.receive() == End(number, is_error=True)


async def test_a_user_who_was_removed_opens_nothing_more() -> None:
    dispatch, is_known = Destinations(), True
    async with carried(make_inbound(dispatch), may_open=lambda: is_known) as client:
        first = await client.open()
        served = await dispatch.next()
        is_known = False
        second = await client.open()
        assert await client.receive() == End(second, is_error=True)
        await served.transport.send_all(b"goes on")
        assert await client.receive() == Keep(first, b"goes on")
        served.let_go()


async def test_sessions_that_the_client_ends_count_until_they_have_ended() -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        for _ in range(SESSION_COUNT_MAX):
            await client.end(await client.open())
        await wait_all_tasks_blocked()
        assert dispatch.running == SESSION_COUNT_MAX
        number = await client.open()
        assert await client.receive() == End(number, is_error=True)
        (await dispatch.next()).let_go()
        await wait_all_tasks_blocked()
        await client.open()
        for _ in range(SESSION_COUNT_MAX):
            (await dispatch.next()).let_go()


async def test_a_carrier_that_nobody_uses_ends(autojump_clock: MockClock) -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        await client.open()
        served = await dispatch.next()
        await trio.sleep(500)
        assert not client.returned.is_set()
        await served.transport.send_eof()
        served.let_go()
        assert await client.receive() == End(1)
        assert await client.receive() is None
        assert 560 <= trio.current_time() <= 570


async def test_a_cancelled_carrier_fails_everything() -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def run() -> None:
                    async with carried(make_inbound(dispatch)) as other:
                        await other.open()
                        await trio.sleep_forever()

                await dispatch.next()
                scope.cancel()
        assert not dispatch.running
        await client.open()
        (await dispatch.next()).let_go()
