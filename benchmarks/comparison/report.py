"""Results as a table."""

import platform
import statistics
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import attrs

from benchmarks.comparison.implementations import OURS, Implementation
from benchmarks.comparison.running import NO_PROXY, Result
from benchmarks.comparison.workloads import Column

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
    lines = []
    for result in results:
        shares = [figures.get("load_share", 0.0) for figures in result.rounds.get(OURS, ())]
        is_load_bound = bool(shares) and statistics.median(shares) > LOAD_BOUND
        for column in result.workload.columns:
            medians = {
                name: statistics.median(figures[column.key] for figures in rounds)
                for name, rounds in result.rounds.items()
                if name not in result.faults
            }
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


def write_table(lines: Sequence[Line], contenders: Sequence[str]) -> Iterator[str]:
    """Yield the rows of a Markdown table that is aligned as text."""
    headings = ["workload", "figure", *contenders, "ratio", "target", NO_PROXY]
    rows = [headings]
    previous = ""
    for line in lines:
        ratio = "" if line.ratio is None else f"{line.ratio:.2f}"
        rows.append(
            [
                line.name if line.name != previous else "",
                line.column.unit + (" (load-bound)" if line.is_load_bound else ""),
                *(_number(line.medians.get(name)) for name in contenders),
                ratio,
                line.verdict,
                _number(line.medians.get(NO_PROXY)),
            ]
        )
        previous = line.name
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        yield "| " + " | ".join(map(str.ljust, row, widths)) + " |"
        if not number:
            yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def describe_run(implementations: Mapping[str, Implementation], rounds: int) -> str:
    """Return the date, the versions and the machine."""
    versions = ", ".join(f"{each.name} {each.version}" for each in implementations.values())
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {versions}; CPython {platform.python_version()}, "
        f"{_processor()}; medians of {rounds} round{'s' if rounds > 1 else ''}; "
        "byte code in place."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} cores of {models[0]}" if models else platform.machine()
