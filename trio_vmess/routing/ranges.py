"""Ranges of numbers with marks: a lookup is one bisection.

A mark is an int whose bits stand for rules. Routing checks each kind of condition once for all
rules and gets the marks of those that hold, so the cost of a decision does not grow with the number
of rules; see `trio_vmess.routing.router`.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Final

Range = tuple[int, int]
"""First and last number, both included."""

_NOWHERE: Final = -1


def merge(ranges: Iterable[Range]) -> list[Range]:
    """Return the same numbers as sorted ranges that neither touch nor overlap."""
    merged: list[Range] = []
    last_end = _NOWHERE
    for first, last in sorted(ranges):
        if merged and first <= last_end + 1:
            if last > last_end:
                merged[-1] = (merged[-1][0], last)
                last_end = last
        else:
            merged.append((first, last))
            last_end = last
    return merged


def invert(ranges: Iterable[Range], maximum: int) -> list[Range]:
    """Return the numbers from 0 to `maximum` that are in none of the ranges."""
    inverted: list[Range] = []
    begin = 0
    for first, last in merge(ranges):
        if begin < first:
            inverted.append((begin, first - 1))
        begin = last + 1
    if begin <= maximum:
        inverted.append((begin, maximum))
    return inverted


class RangeIndex:
    """Ranges of numbers from 0 on, with marks.

    Args:
        marked: the ranges of each mark; they may overlap.
    """

    def __init__(self, marked: Mapping[int, Iterable[Range]]) -> None:
        # Within one mark no ranges overlap once they are merged, so each boundary is where bits
        # flip: the running XOR is what holds from there on.
        flips: dict[int, int] = {}
        for mark, ranges in marked.items():
            for first, last in merge(ranges):
                flips[first] = flips.get(first, 0) ^ mark
                flips[last + 1] = flips.get(last + 1, 0) ^ mark
        self._starts = [_NOWHERE]
        self._marks = [0]
        current = 0
        shared: dict[int, int] = {}
        for start in sorted(flips):
            if flips[start]:
                current ^= flips[start]
                self._starts.append(start)
                self._marks.append(shared.setdefault(current, current))

    def find(self, number: int, /) -> int:
        """Return the marks of all ranges that contain the number; 0 for none."""
        return self._marks[bisect_right(self._starts, number) - 1]

    def __len__(self) -> int:
        return len(self._starts) - 1
