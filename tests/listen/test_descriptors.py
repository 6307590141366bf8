"""Whether there are descriptors for another connection."""

import os
import resource
import socket
from collections.abc import Callable

import pytest
import trio.testing

from tests.kit.waiting import wait_until
from tests.listen.test_listener import IPV4, Keeper, connect, serving
from trio_vmess.listen import file_limit, open_listener
from trio_vmess.listen.descriptors import DescriptorBudget, descriptor_budget

ANY = 0


def free_from(number: int) -> Callable[[int], int]:
    return lambda _descriptor: number


def test_a_connection_is_let_in_only_if_its_outbound_has_room_too() -> None:
    budget = DescriptorBudget(100, in_use=10)
    count = 0
    while budget.has_room(ANY):
        budget.enter(20 + count)
        count += 1
    # 10 + 2 * 42 is 94: one more would need 96.
    assert count == 42
    assert str(budget) == "42 connections, 94 of 100 files in use"
    budget.leave()
    assert budget.has_room(ANY)


def test_a_high_number_shows_that_others_use_descriptors_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget = DescriptorBudget(100, in_use=10)
    budget.enter(94)
    assert budget.has_room(ANY)
    budget.enter(95)
    monkeypatch.setattr("trio_vmess.listen.descriptors._lowest_free", free_from(95))
    assert not budget.has_room(ANY)
    monkeypatch.setattr("trio_vmess.listen.descriptors._lowest_free", free_from(94))
    assert budget.has_room(ANY)


def test_one_connection_is_always_let_in() -> None:
    budget = DescriptorBudget(20, in_use=20)
    assert budget.has_room(ANY)
    budget.enter(20)
    assert not budget.has_room(ANY)


def test_without_a_limit_there_is_room() -> None:
    budget = DescriptorBudget(None, in_use=0)
    for number in range(10_000):
        budget.enter(number)
    assert budget.has_room(ANY)


def test_the_limit_is_that_of_the_process() -> None:
    assert file_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


async def test_listeners_of_one_run_share_their_budget() -> None:
    budgets = [descriptor_budget(ANY) for _ in range(2)]
    assert budgets[0] is budgets[1]


async def test_a_connection_is_counted_until_its_socket_is_closed() -> None:
    listener = open_listener(IPV4)
    keeper = Keeper()
    async with serving(listener, keeper), await connect(listener) as stream:
        budget = descriptor_budget(ANY)
        await wait_until(lambda: bool(keeper.transports))
        # Its handler has ended.
        await trio.testing.wait_all_tasks_blocked()
        assert str(budget).startswith("1 connections, ")
        for _ in range(2):
            await keeper.transports[0].aclose()
            assert str(budget).startswith("0 connections, ")
        assert await stream.receive_some() == b""


def test_a_full_table_of_files_is_crowded() -> None:
    reader, writer = socket.socketpair()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    budget = DescriptorBudget(4096, in_use=0)
    with reader, writer:
        budget.enter(4000)
        before = os.dup(reader.fileno())
        os.close(before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, limits[1]))
        try:
            assert not budget.has_room(reader.fileno())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert budget.has_room(reader.fileno())
