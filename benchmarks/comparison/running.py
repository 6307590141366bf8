"""Measuring: pairs are started, warmed up, and measured in turn, round after round."""

import contextlib
import itertools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs

from benchmarks.comparison.kinds import OURS, Kind
from benchmarks.comparison.pairs import Pair
from benchmarks.comparison.setups import Setup, Size
from benchmarks.comparison.works import Stage, Work
from trio_vmess.bench import BenchError, Figures, LoadGenerator, OriginProcess

NO_PROXY: Final = "no proxy"

FRESH_ROUNDS: Final = 3
"""Rounds at most where every measurement starts nodes of its own."""


@attrs.define(kw_only=True)
class Result:
    """What a work came to.

    Attributes:
        work: which one.
        rounds: the figures of each contender, round by round.
        faults: what went wrong, by contender.
    """

    work: Work
    rounds: dict[str, list[Figures]] = attrs.field(factory=dict)
    faults: dict[str, str] = attrs.field(factory=dict)


class Progress:
    """One line for each measurement, on standard error.

    Args:
        total: how many there will be.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._number = 0
        self._start = time.perf_counter()

    def say(self, work: Work, name: str, outcome: str) -> None:
        """Count a measurement, and say what it came to."""
        self._number += 1
        left = (time.perf_counter() - self._start) / self._number * (self._total - self._number)
        print(
            f"[{self._number:4}/{self._total}] {work.name:32} {name:11} {outcome:34} "
            f"about {left // 60:.0f}:{left % 60:02.0f} left",
            file=sys.stderr,
            flush=True,
        )


class Comparison:
    """Runs works on contenders.

    Args:
        kinds: the contenders by name.
        size: how much.
        is_quick: leave peers out of works that are done only once.
    """

    def __init__(self, kinds: Mapping[str, Kind], size: Size, *, is_quick: bool) -> None:
        self._kinds = kinds
        self._size = size
        self._is_quick = is_quick
        self._stack = contextlib.ExitStack()

    def run(self, works: Sequence[Work]) -> list[Result]:
        """Measure everything.

        Raises:
            BenchError: generator or origin failed; a node's failure is in its result.
        """
        possible = [work for work in works if self._is_possible(work.setup)]
        total = sum(len(self._contenders(work)) * self._round_count(work) for work in possible)
        with OriginProcess() as origin, LoadGenerator() as generator, LoadGenerator() as second:
            stage_of = _StageMaker(generator, second, origin, self._size)
            progress = Progress(total)
            results: list[Result] = []
            for (is_fresh, _), group in itertools.groupby(
                possible, key=lambda work: (work.is_fresh, work.setup)
            ):
                run_group = self._run_fresh if is_fresh else self._run_steady
                results += run_group(list(group), stage_of, progress)
        return results

    def _is_possible(self, setup: Setup) -> bool:
        return {setup.client, setup.server} - {None} <= set(self._kinds)

    def _round_count(self, work: Work) -> int:
        if work.only_once:
            return 1
        return min(self._size.rounds, FRESH_ROUNDS) if work.is_fresh else self._size.rounds

    def _contenders(self, work: Work) -> list[str]:
        names = [
            name
            for name, kind in self._kinds.items()
            if (kind.has_legacy or not work.setup.alter_id)
            and (work.peers is None or name in {OURS, *work.peers})
            and (name == OURS or not (work.only_once and self._is_quick))
        ]
        return [*names, NO_PROXY] if work.has_ceiling else names

    def _pair(self, name: str, setup: Setup, origin: int) -> Pair:
        if name == NO_PROXY:
            return Pair(None, None, setup, origin=origin)
        client, server = self._kinds[setup.client or name], self._kinds[setup.server or name]
        return Pair(client, server, setup, origin=origin)

    def _run_steady(
        self, works: Sequence[Work], stage_of: "_StageMaker", progress: Progress
    ) -> Iterator[Result]:
        names = list(dict.fromkeys(name for work in works for name in self._contenders(work)))
        with contextlib.ExitStack() as stack:
            stages, faults = {}, {}
            for name in names:
                pair = stack.enter_context(self._pair(name, works[0].setup, stage_of.origin.port))
                stages[name] = stage_of(pair)
                try:
                    pair.start()
                except BenchError as exc:
                    faults[name] = str(exc)
            for work in works:
                result = Result(work=work, faults=dict(faults))
                for name in self._contenders(work):
                    if name not in faults:
                        _measure(result, name, _shrunk(stages[name]), is_warming=True)
                for _ in range(self._round_count(work)):
                    for name in self._contenders(work):
                        if name not in result.faults:
                            _measure(result, name, stages[name])
                        progress.say(work, name, _outcome(result, name))
                yield result

    def _run_fresh(
        self, works: Sequence[Work], stage_of: "_StageMaker", progress: Progress
    ) -> Iterator[Result]:
        for work in works:
            result = Result(work=work)
            for _ in range(self._round_count(work)):
                for name in self._contenders(work):
                    with self._pair(name, work.setup, stage_of.origin.port) as pair:
                        _measure(result, name, stage_of(pair))
                    progress.say(work, name, _outcome(result, name))
            yield result


@attrs.frozen
class _StageMaker:
    generator: LoadGenerator
    second: LoadGenerator
    origin: OriginProcess
    size: Size

    def __call__(self, pair: Pair) -> Stage:
        return Stage(
            pair=pair,
            generator=self.generator,
            second=self.second,
            origin=self.origin,
            size=self.size,
        )


def _shrunk(stage: Stage) -> Stage:
    """Return a stage for a warm-up."""
    size = attrs.evolve(
        stage.size,
        seconds=stage.size.seconds / 4,
        connection_count=stage.size.connection_count // 8 + 1,
    )
    return attrs.evolve(stage, size=size)


def _measure(result: Result, name: str, stage: Stage, *, is_warming: bool = False) -> None:
    try:
        figures = result.work.measure(stage)
    except BenchError as exc:
        result.faults[name] = str(exc)
    else:
        if not is_warming:
            result.rounds.setdefault(name, []).append(figures)


def _outcome(result: Result, name: str) -> str:
    if name in result.faults:
        return "failed: " + result.faults[name].partition("\n")[0]
    figures = result.rounds[name][-1]
    shown = (f"{figures[column.key]:.4g} {column.unit}" for column in result.work.columns[:2])
    return ", ".join(shown)
