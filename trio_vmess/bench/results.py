"""Results in figures: the medians of each contender, and the ratio to the best peer."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs

from trio_vmess.bench.implementations import OURS
from trio_vmess.bench.running import NO_PROXY, Result
from trio_vmess.bench.workloads import Column

LOAD_BOUND: Final = 0.9
"""CPU share of generator or origin from which a figure measures the load, not the nodes."""


@attrs.frozen(kw_only=True)
class Line:
    """One figure of one workload, all contenders.

    Attributes:
        name: the workload's.
        column: the figure's.
        medians: by contender.
        is_load_bound: whether generator or origin was busy nearly all the time.
    """

    name: str
    column: Column
    medians: Mapping[str, float]
    is_load_bound: bool = False

    @property
    def ratio(self) -> float | None:
        """Ours compared with the best peer, above 1 if ahead; None without figures of both."""
        return self.ratio_to(*(name for name in self.medians if name not in (OURS, NO_PROXY)))

    @property
    def best_peer(self) -> str | None:
        """The name of the peer with the best figure; None without one."""
        peers = [name for name in self.medians if name not in (OURS, NO_PROXY)]
        best = min if self.column.is_cost else max
        return best(peers, key=self.medians.__getitem__, default=None)

    def ratio_to(self, *names: str) -> float | None:
        """Ours compared with the best of some peers; see `ratio`."""
        peers = [self.medians[name] for name in names if name in self.medians]
        ours = self.medians.get(OURS)
        if ours is None or not peers:
            return None
        above, below = (min(peers), ours) if self.column.is_cost else (ours, max(peers))
        return above / below if below else None

    @property
    def verdict(self) -> str:
        """Whether the targets are met; empty without any."""
        return "; ".join(self._verdicts())

    def _verdicts(self) -> Iterator[str]:
        column, ours = self.column, self.medians.get(OURS)
        if column.limit is not None and ours is not None:
            yield f"{'met' if ours <= column.limit else 'MISSED'}: at most {column.limit:g}"
        if column.target is not None and self.ratio is not None:
            yield _verdict(self.ratio, column.target)
        for name, target in column.targets:
            if (ratio := self.ratio_to(name)) is not None:
                yield f"{_verdict(ratio, target)} to {name}"


def _verdict(ratio: float, target: float) -> str:
    return f"{'met' if ratio >= target else 'MISSED'}: {target:.2g}"


def summarise(results: Sequence[Result]) -> list[Line]:
    """Return the medians of what was measured."""
    lines: list[Line] = []
    for result in results:
        shares = [figures.get("load_share", 0.0) for figures in result.rounds.get(OURS, ())]
        is_load_bound = bool(shares) and statistics.median(shares) > LOAD_BOUND
        for column in result.workload.columns:
            medians = {
                name: statistics.median(figures[column.key] for figures in rounds)
                for name, rounds in result.rounds.items()
                if name not in result.faults
            }
            # What this system does not tell, such as CPU time without /proc.
            medians = {name: value for name, value in medians.items() if not math.isnan(value)}
            # Without a proxy there is no node whose CPU could be measured.
            if column.is_cost and not column.unit.startswith("p"):
                medians.pop(NO_PROXY, None)
            lines.append(
                Line(
                    name=result.workload.name,
                    column=column,
                    medians=medians,
                    is_load_bound=is_load_bound,
                )
            )
    return lines


def format_number(value: float | None) -> str:
    """Return a figure with three digits or more; a dash for none."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
