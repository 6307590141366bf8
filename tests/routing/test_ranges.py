from collections.abc import Mapping, Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given

from trio_vmess.routing.ranges import Range, RangeIndex, invert, merge

RANGES = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda pair: (pair[0], sum(pair))),
    max_size=6,
)
MARKED = st.lists(RANGES, max_size=5).map(
    lambda lists: {1 << index: ranges for index, ranges in enumerate(lists)}
)


@pytest.mark.parametrize(
    ("ranges", "merged"),
    [
        ([], []),
        ([(3, 5)], [(3, 5)]),
        ([(6, 8), (3, 5)], [(3, 8)]),
        ([(7, 8), (3, 5)], [(3, 5), (7, 8)]),
        ([(0, 9), (2, 3), (5, 12)], [(0, 12)]),
        ([(0, 0), (0, 0)], [(0, 0)]),
    ],
)
def test_merge(ranges: list[Range], merged: list[Range]) -> None:
    assert merge(ranges) == merged


@pytest.mark.parametrize(
    ("ranges", "inverted"),
    [
        ([], [(0, 9)]),
        ([(0, 9)], []),
        ([(0, 3)], [(4, 9)]),
        ([(2, 3), (7, 9)], [(0, 1), (4, 6)]),
    ],
)
def test_invert(ranges: list[Range], inverted: list[Range]) -> None:
    assert invert(ranges, 9) == inverted


@given(MARKED)
def test_the_index_agrees_with_checking_each_range(marked: Mapping[int, Sequence[Range]]) -> None:
    index = RangeIndex(marked)
    for number in range(80):
        expected = sum(
            mark
            for mark, ranges in marked.items()
            if any(first <= number <= last for first, last in ranges)
        )
        assert index.find(number) == expected


@given(RANGES)
def test_a_number_is_either_in_the_ranges_or_in_their_inverse(ranges: list[Range]) -> None:
    index = RangeIndex({1: ranges, 2: invert(ranges, 79)})
    assert {index.find(number) for number in range(80)} <= {1, 2}


def test_first_and_last_numbers_of_a_family() -> None:
    for bits in (32, 128):
        top = (1 << bits) - 1
        index = RangeIndex({1: [(0, top)], 2: [(top, top)], 4: [(0, 0)]})
        assert [index.find(number) for number in (0, 1, top - 1, top)] == [5, 1, 1, 3]


def test_an_empty_index() -> None:
    assert RangeIndex({}).find(0) == 0
    assert len(RangeIndex({})) == 0
