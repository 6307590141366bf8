"""Measuring: pairs are started, warmed up, and measured in turn, round by round."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import attrs

from trio_vmess.bench.generator import LoadGenerator
from trio_vmess.bench.implementations import OURS, Implementation
from trio_vmess.bench.loads import Figures
from trio_vmess.bench.measures import Stage
from trio_vmess.bench.origin import OriginProcess
from trio_vmess.bench.pairs import Pair
from trio_vmess.bench.processes import BenchError
from trio_vmess.bench.setups import Setup, Size
from trio_vmess.bench.workloads import Workload

NO_PROXY: Final = "no proxy"

FRESH_ROUNDS: Final = 3
"""Rounds, at most, of workloads for which every measurement starts its own nodes."""


@attrs.define(kw_only=True)
class Result:
    """The result of a workload.

    Attributes:
        workload: which one.
        rounds: the figures of each contender, round by round.
        faults: error messages, by contender.
    """

    workload: Workload
    rounds: dict[str, list[Figures]] = attrs.field(factory=dict[str, list[Figures]])
    faults: dict[str, str] = attrs.field(factory=dict[str, str])


class Progress(Protocol):
    """Told about each measurement."""

    def prepare(self, what: str) -> None:
        """Note what is done before a measurement."""
        ...

    def begin(self, workload: Workload, name: str, total: int) -> None:
        """Note that a contender is about to be measured, one of `total` times."""
        ...

    def end(self, workload: Workload, name: str, outcome: str) -> None:
        """Note the figures, or why there are none."""
        ...


def _accept(_pair: Pair) -> None:
    """Look at nothing."""


@attrs.frozen(kw_only=True)
class Checks:
    """What is looked at in each pair; each raises `BenchError` if a node does something else."""

    before_start: Callable[[Pair], None] = _accept
    after_start: Callable[[Pair], None] = _accept


class Comparison:
    """Runs workloads on contenders.

    Args:
        implementations: the contenders by name.
        size: how much to measure.
        progress: is told what happens.
        checks: of each pair.
        is_quick: leave peers out of workloads that are measured only once.
    """

    def __init__(
        self,
        implementations: Mapping[str, Implementation],
        size: Size,
        *,
        progress: Progress,
        checks: Checks | None = None,
        is_quick: bool = False,
    ) -> None:
        self._implementations = implementations
        self._size = size
        self._is_quick = is_quick
        self._progress = progress
        self._checks = Checks() if checks is None else checks
        self._total = 0

    def run(self, workloads: Sequence[Workload]) -> list[Result]:
        """Measure everything.

        Raises:
            BenchError: generator or origin failed; the failure of a node is part of its result.
        """
        possible = [workload for workload in workloads if self._is_possible(workload.setup)]
        self._total = sum(
            len(self._contenders(each)) * self._round_count(each) for each in possible
        )
        with OriginProcess() as origin, LoadGenerator() as generator, LoadGenerator() as second:
            stage_of = _StageMaker(generator, second, origin, self._size)
            results: list[Result] = []
            for (is_fresh, _), group in itertools.groupby(
                possible, key=lambda workload: (workload.is_fresh, workload.setup)
            ):
                run_group = self._run_fresh if is_fresh else self._run_steady
                results += run_group(list(group), stage_of)
        return results

    def _is_possible(self, setup: Setup) -> bool:
        return {setup.client, setup.server} - {None} <= set(self._implementations)

    def _round_count(self, workload: Workload) -> int:
        if workload.only_once:
            return 1
        rounds = self._size.rounds if workload.rounds_max is None else workload.rounds_max
        return min(rounds, self._size.rounds, *((FRESH_ROUNDS,) if workload.is_fresh else ()))

    def _contenders(self, workload: Workload) -> list[str]:
        names = [
            name
            for name, implementation in self._implementations.items()
            if implementation.can_be(workload.setup)
            and (workload.peers is None or name in {OURS, *workload.peers})
            and (name == OURS or not (workload.only_once and self._is_quick))
        ]
        return [*names, NO_PROXY] if workload.has_ceiling else names

    def _pair(self, name: str, setup: Setup, origin: int) -> Pair:
        if name == NO_PROXY:
            return Pair(None, None, setup, origin=origin)
        client = self._implementations[setup.client or name]
        server = self._implementations[setup.server or name]
        return Pair(client, server, setup, origin=origin)

    def _run_steady(
        self, workloads: Sequence[Workload], stage_of: "_StageMaker"
    ) -> Iterator[Result]:
        names = list(dict.fromkeys(name for each in workloads for name in self._contenders(each)))
        with contextlib.ExitStack() as stack:
            stages: dict[str, Stage] = {}
            faults: dict[str, str] = {}
            for name in names:
                pair = stack.enter_context(
                    self._pair(name, workloads[0].setup, stage_of.origin.port)
                )
                stages[name] = stage_of(pair)
                try:
                    self._progress.prepare(f"starting {name}")
                    self._checks.before_start(pair)
                    pair.start()
                    self._checks.after_start(pair)
                except BenchError as exc:
                    faults[name] = str(exc)
            for workload in workloads:
                result = Result(workload=workload, faults=dict(faults))
                for name in self._contenders(workload):
                    if name not in faults:
                        self._progress.prepare(f"{workload.name}: {name}, warming up")
                        _measure(result, name, _shrunk(stages[name]), is_warming=True)
                for _ in range(self._round_count(workload)):
                    for name in self._contenders(workload):
                        self._progress.begin(workload, name, self._total)
                        if name not in result.faults:
                            _measure(result, name, stages[name])
                        self._progress.end(workload, name, _outcome(result, name))
                yield result

    def _run_fresh(
        self, workloads: Sequence[Workload], stage_of: "_StageMaker"
    ) -> Iterator[Result]:
        for workload in workloads:
            result = Result(workload=workload)
            for _ in range(self._round_count(workload)):
                for name in self._contenders(workload):
                    self._progress.begin(workload, name, self._total)
                    with self._pair(name, workload.setup, stage_of.origin.port) as pair:
                        if not result.rounds.get(name):
                            self._check(result, name, pair)
                        if name not in result.faults:
                            _measure(result, name, stage_of(pair))
                    self._progress.end(workload, name, _outcome(result, name))
            yield result

    def _check(self, result: Result, name: str, pair: Pair) -> None:
        try:
            self._checks.before_start(pair)
        except BenchError as exc:
            result.faults[name] = str(exc)


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
        first_count=stage.size.first_count // 4 + 1,
    )
    return attrs.evolve(stage, size=size)


def _measure(result: Result, name: str, stage: Stage, *, is_warming: bool = False) -> None:
    try:
        figures = result.workload.measure(stage)
    except BenchError as exc:
        result.faults[name] = str(exc)
    else:
        if not is_warming:
            result.rounds.setdefault(name, []).append(figures)


def _outcome(result: Result, name: str) -> str:
    if name in result.faults:
        return "failed: " + result.faults[name].partition("\n")[0]
    figures = result.rounds[name][-1]
    shown = (f"{figures[column.key]:.4g} {column.unit}" for column in result.workload.columns[:2])
    return ", ".join(shown)
