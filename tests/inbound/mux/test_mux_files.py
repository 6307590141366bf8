"""Sub-connections count against the limit of open files, each from its beginning to its end."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.inbound.mux.ends import DNS, WEB, CountedFiles, Destinations, carried, make_inbound
from trio_vmess.core import Destination
from trio_vmess.core.mux import XUDP_SESSION, End, Keep
from trio_vmess.inbound.mux.association import KEEP_TIME

GLOBAL_ID = b"12345678"

destinations = pytest.mark.parametrize("destination", [WEB, DNS], ids=["stream", "datagrams"])


@destinations
async def test_one_for_which_no_file_is_left_is_refused_alone(
    destination: Destination, autojump_clock: MockClock
) -> None:
    dispatch, files = Destinations(), CountedFiles(left=2)
    async with carried(make_inbound(dispatch, files=files)) as client:
        numbers = [await client.open(destination, data=b"q") for _ in range(3)]
        assert await client.receive() == End(numbers[2], is_error=True)
        served = [await dispatch.next() for _ in range(2)]
        assert (dispatch.running, files.left) == (2, 0)
        for each in served:
            if each.side is not None:
                await each.transport.send_all(b"a")
            else:
                await each.datagrams.send([b"a"])
        for number in numbers[:2]:
            assert await client.receive() in (Keep(number, b"a"), Keep(3 - number, b"a"))
        for each in served:
            each.let_go()


@destinations
async def test_files_of_those_that_have_ended_are_free_again(
    destination: Destination, autojump_clock: MockClock
) -> None:
    dispatch, files = Destinations(), CountedFiles(left=1)
    async with carried(make_inbound(dispatch, files=files)) as client:
        for _ in range(3):
            number = await client.open(destination, data=b"q")
            served = await dispatch.next()
            assert files.left == 0
            await client.end(number)
            served.let_go()
            await wait_all_tasks_blocked()
            assert files.left == 1


async def test_a_file_is_kept_for_as_long_as_the_socket_of_a_global_id(
    autojump_clock: MockClock,
) -> None:
    dispatch, files = Destinations(), CountedFiles(left=1)
    async with carried(make_inbound(dispatch, files=files)) as client:
        for _ in range(3):
            number = client.mux.open(DNS, session_id=XUDP_SESSION, data=b"q", global_id=GLOBAL_ID)
            await client.flush()
            await client.end(number)
        await trio.sleep(KEEP_TIME - 1)
        assert files.left == 0
        assert dispatch.running == 1
        await trio.sleep(2)
        assert files.left == 1


@destinations
async def test_a_carrier_that_is_cancelled_gives_all_files_back(destination: Destination) -> None:
    dispatch, files = Destinations(), CountedFiles(left=10)
    with trio.CancelScope() as scope:
        async with carried(make_inbound(dispatch, files=files)) as client:
            for _ in range(5):
                await client.open(destination, data=b"q")
            for _ in range(4):
                await dispatch.next()
            assert files.left <= 6
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert files.left == 10
