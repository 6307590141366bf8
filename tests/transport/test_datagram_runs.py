"""Runs of datagrams: which ones a batch has, and systems that know none."""

import itertools
import socket
import sys

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tests.kit.run_socket import RunSocket
from trio_vmess.transport.datagram_runs import (
    RUN_COUNT_MAX,
    RUN_COUNT_MIN,
    RUN_SIZE_MAX,
    can_send_runs,
    find_runs,
)


def runs_of(sizes: list[int], size_max: int = RUN_SIZE_MAX) -> list[tuple[int, int]]:
    return list(find_runs([bytes(size) for size in sizes], size_max))


@pytest.mark.parametrize(
    ("sizes", "runs"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([7], [], id="one"),
        pytest.param([7, 7], [], id="two"),
        pytest.param([7, 7, 7], [(0, 3)], id="three"),
        pytest.param([7, 7, 3], [(0, 3)], id="a shorter one closes"),
        pytest.param([7, 7, 3, 3, 3], [(0, 3)], id="what is closed takes no more"),
        pytest.param([7, 7, 3, 7, 7, 7], [(0, 3), (3, 6)], id="another run after a shorter one"),
        pytest.param([7, 7, 7, 9], [(0, 3)], id="a longer one does not close"),
        pytest.param([7, 9, 9, 9], [(1, 4)], id="a run behind a single one"),
        pytest.param([7, 3, 3, 3], [(1, 4)], id="a shorter one that begins a run"),
        pytest.param([1, 2, 3, 4, 5], [], id="ever longer"),
        pytest.param([5, 4, 3, 2, 1], [], id="ever shorter"),
        pytest.param([0, 0, 0, 0], [], id="empty ones"),
        pytest.param([7, 7, 7, 0], [(0, 3)], id="an empty one does not close"),
        pytest.param([7, 7, 0, 7, 7], [], id="an empty one parts"),
        pytest.param([7] * 64, [(0, 64)], id="as many as there may be"),
        pytest.param([7] * 65, [(0, 64)], id="one more"),
        pytest.param([7] * 130, [(0, 64), (64, 128)], id="two full ones"),
        pytest.param([7] * 63 + [3], [(0, 64)], id="the last of as many is shorter"),
        pytest.param([7] * 64 + [3], [(0, 64)], id="closed without a shorter one"),
        pytest.param([1300] * 50, [(0, 50)], id="as many bytes as there may be"),
        pytest.param([1300] * 51, [(0, 50)], id="more bytes"),
        pytest.param([21_666] * 4, [(0, 3)], id="three large ones"),
        pytest.param([21_667] * 4, [], id="too large for three"),
        pytest.param([65_507, 9, 9, 9], [(1, 4)], id="behind the largest"),
        pytest.param([70_000] * 3, [], id="too large to be sent"),
    ],
)
def test_the_runs_of_a_batch(sizes: list[int], runs: list[tuple[int, int]]) -> None:
    assert runs_of(sizes) == runs


@pytest.mark.parametrize(
    ("size_max", "runs"), [(7, [(0, 3), (3, 6)]), (6, [(0, 3)]), (5, [(0, 3)]), (4, []), (0, [])]
)
def test_larger_datagrams_stay_out_of_runs(size_max: int, runs: list[tuple[int, int]]) -> None:
    assert runs_of([5, 5, 5, 7, 7, 7], size_max) == runs


few_sizes = st.sampled_from([0, 1, 5, 6, 1200, 1300, 20_000, 40_000, 65_507])
batches = st.lists(st.tuples(few_sizes, st.integers(1, 70)), max_size=8).map(
    lambda groups: [size for size, count in groups for _ in range(count)][:200]
) | st.lists(st.integers(0, 4), max_size=40)


def count_max(size: int) -> int:
    return min(RUN_COUNT_MAX, RUN_SIZE_MAX // size) if size else 1


@given(sizes=batches, size_max=st.sampled_from([0, 1, 3, 1200, RUN_SIZE_MAX]))
def test_runs_keep_all_limits_and_leave_none_out(sizes: list[int], size_max: int) -> None:
    runs = runs_of(sizes, size_max)
    edges = [0, *itertools.chain.from_iterable(runs), len(sizes)]
    assert edges == sorted(edges)
    for begin, end in runs:
        size, *between, last = sizes[begin:end]
        assert RUN_COUNT_MIN <= end - begin <= RUN_COUNT_MAX
        assert sum(sizes[begin:end]) <= RUN_SIZE_MAX
        assert {size, *between} == {size}
        assert 0 < last <= size <= size_max
        if end < len(sizes) and last == size and end - begin < count_max(size):
            assert not 0 < sizes[end] <= size
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        for three in zip(*(sizes[begin + each : end] for each in range(3)), strict=False):
            assert len(set(three)) > 1 or three[0] > size_max or count_max(three[0]) < 3


def test_a_system_that_knows_no_runs() -> None:
    with RunSocket(knows_runs=False) as sock:
        assert not can_send_runs(sock)


def test_a_system_that_is_not_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert not can_send_runs(sock)


@pytest.mark.skipif(sys.platform != "linux", reason="runs are Linux's")
@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_linux_knows_runs_of_datagrams(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as sock:
        assert can_send_runs(sock) == (kind == socket.SOCK_DGRAM)
