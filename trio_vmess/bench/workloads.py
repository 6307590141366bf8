"""What a workload is: a load, the nodes that it runs on, and the figures to report."""

from collections.abc import Sequence

import attrs

from trio_vmess.bench.measures import Measure
from trio_vmess.bench.setups import Setup


@attrs.frozen(kw_only=True)
class Column:
    """One figure of a workload.

    Attributes:
        key: its name in the result of `measure`.
        unit: for tables.
        is_cost: whether less is better.
        target: the ratio to the best peer that is aimed at; None for none.
        targets: further ratios that are aimed at, each to one peer.
        limit: the largest acceptable value, in its unit; None for none.
    """

    key: str
    unit: str
    is_cost: bool = False
    target: float | None = None
    targets: Sequence[tuple[str, float]] = ()
    limit: float | None = None


@attrs.frozen(kw_only=True)
class Workload:
    """A measurement, the same for every contender.

    Attributes:
        name: selected by --only.
        setup: of the pairs.
        measure: runs the load; called once per round and contender.
        columns: the figures to report.
        is_fresh: each measurement gets a pair of its own, not yet started.
        has_ceiling: whether the load can also run without a proxy.
        peers: the peers to compare with; None for all.
        only_once: takes too long to be repeated; a quick run leaves the peers out.
        rounds_max: for figures that differ little between rounds; None for no bound.
    """

    name: str
    setup: Setup
    measure: Measure
    columns: Sequence[Column]
    is_fresh: bool = False
    has_ceiling: bool = True
    peers: Sequence[str] | None = None
    only_once: bool = False
    rounds_max: int | None = None
