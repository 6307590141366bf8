"""Whether there are descriptors for another connection."""

import os
import resource
import socket
from collections.abc import Callable

import pytest
import trio
import trio.testing

from tests.kit.waiting import wait_until
from tests.listen.test_listener import IPV4, Keeper, connect, serving
from trio_vmess.listen import SubConnectionFiles, file_limit, open_listener
from trio_vmess.listen.descriptors import (
    SHORTAGE_END,
    DescriptorBudget,
    _lowest_free,
    descriptor_budget,
)


def free_from(number: int) -> Callable[[], int]:
    return lambda: number


def test_a_connection_is_let_in_only_if_its_outbound_has_room_too() -> None:
    budget = DescriptorBudget(100, in_use=10)
    count = 0
    while budget.has_room():
        budget.enter(20 + count)
        count += 1
    # 10 + 2 * 42 is 94: one more would need 96.
    assert count == 42
    assert str(budget) == "42 connections, 94 of 100 files in use"
    budget.leave()
    assert budget.has_room()


def test_a_high_number_shows_that_others_use_descriptors_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget = DescriptorBudget(100, in_use=10)
    budget.enter(94)
    assert budget.has_room()
    budget.enter(95)
    monkeypatch.setattr("trio_vmess.listen.descriptors._lowest_free", free_from(95))
    assert not budget.has_room()
    monkeypatch.setattr("trio_vmess.listen.descriptors._lowest_free", free_from(94))
    assert budget.has_room()


def test_one_connection_is_always_let_in() -> None:
    budget = DescriptorBudget(20, in_use=20)
    assert budget.has_room()
    budget.enter(20)
    assert not budget.has_room()


def test_without_a_limit_there_is_room() -> None:
    budget = DescriptorBudget(None, in_use=0)
    for number in range(10_000):
        budget.enter(number)
    assert budget.has_room()


def test_the_limit_is_that_of_the_process() -> None:
    assert file_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_sub_connections_take_one_file_each_and_leave_room_for_connections() -> None:
    budget = DescriptorBudget(1000, in_use=10)
    budget.enter(20)
    count = 0
    while budget.enter_sub():
        count += 1
    assert 10 + 2 + count == 800
    assert str(budget) == f"1 connections and {count} sub-connections, 800 of 1000 files in use"
    connections = 0
    while budget.has_room():
        budget.enter(20)
        connections += 1
    assert connections == 75
    budget.leave_sub()
    assert not budget.enter_sub()
    for _ in range(connections):
        budget.leave()
    assert budget.enter_sub()
    assert not budget.enter_sub()


def test_sub_connections_see_what_others_use_up(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = DescriptorBudget(1000, in_use=10)
    monkeypatch.setattr("trio_vmess.listen.descriptors._lowest_free", free_from(800))
    # One is always let in.
    assert budget.enter_sub()
    assert not budget.enter_sub()
    monkeypatch.setattr("trio_vmess.listen.descriptors._lowest_free", free_from(799))
    assert budget.enter_sub()


def test_without_a_limit_there_is_room_for_sub_connections() -> None:
    budget = DescriptorBudget(None, in_use=0)
    assert all(budget.enter_sub() for _ in range(10_000))


def test_the_next_file_gets_the_lowest_free_number() -> None:
    reader, writer = socket.socketpair()
    with reader, writer:
        copy = os.dup(reader.fileno())
        os.close(copy)
        assert _lowest_free() == copy


async def test_refused_sub_connections_are_reported_once(
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("trio_vmess.listen.descriptors.file_limit", lambda: 1000)
    monkeypatch.setattr("trio_vmess.listen.descriptors._lowest_free", free_from(900))
    files = SubConnectionFiles()
    assert files.take()
    for _ in range(3):
        assert not files.take()
        assert not files.take()
        await trio.sleep(SHORTAGE_END / 2)
    await trio.sleep(SHORTAGE_END)
    assert not files.take()
    assert [message.split()[0] for message in caplog.messages] == ["listen.refused"] * 2
    files.give_back()
    assert files.take()


async def test_listeners_of_one_run_share_their_budget() -> None:
    budgets = [descriptor_budget() for _ in range(2)]
    assert budgets[0] is budgets[1]


async def test_a_connection_is_counted_until_its_socket_is_closed() -> None:
    listener = open_listener(IPV4)
    keeper = Keeper()
    async with serving(listener, keeper), await connect(listener) as stream:
        budget = descriptor_budget()
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
            assert not budget.has_room()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert budget.has_room()
