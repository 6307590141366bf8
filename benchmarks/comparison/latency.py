"""Workloads over a path that takes time: how long a new connection waits for its first byte."""

import sys
from collections.abc import Iterator
from typing import Final

import attrs

from benchmarks.comparison.carriers import carried_by
from tests.kit.carriers import EARLY_DATA, TLS, WS_TLS, CarrierSpec
from trio_vmess.bench import Column, Setup, Workload, measures

DELAY: Final = 0.025
"""Seconds, each way."""
_SLOW_PATH: Final = (sys.executable, "-m", "tests.kit.delayed_path", str(DELAY * 1e3))

SPARES: Final = 2


@attrs.frozen
class _Row:
    """First bytes by one carrier.

    Attributes:
        name: of the carrier, as its users write it.
        setup: the client's and the server's, without the delay.
        target: the ratio to the best peer that is aimed at with spare connections; None for a row
            that is measured without them alone.
    """

    name: str
    setup: Setup
    target: float | None = None


_EARLY: Final = CarrierSpec(network="ws", tls=True, early_data=EARLY_DATA)

_ROWS: Final = (
    _Row("tcp", Setup(), 1 / 0.6),
    _Row("tls", Setup(carrier=carried_by(TLS)), 2.0),
    _Row("ws+tls", Setup(carrier=carried_by(WS_TLS)), 2.0),
    _Row("ws+tls+early", Setup(carrier=carried_by(_EARLY))),
    _Row("mux", Setup(mux=8)),
)


def latency_workloads() -> Iterator[Workload]:
    """Yield all workloads over a path that takes time: ours as it is, and ours with spares.

    No peer keeps spare connections, so peers do the same in both.
    """
    for row in _ROWS:
        yield _workload(row.name, row.setup, target=None)
        if row.target is not None:
            with_spares = attrs.evolve(row.setup, spares=SPARES)
            yield _workload(f"{row.name}-spares", with_spares, target=row.target)


def _workload(name: str, setup: Setup, *, target: float | None) -> Workload:
    return Workload(
        name=f"first-byte-{name}",
        setup=attrs.evolve(setup, between=_SLOW_PATH),
        measure=measures.first_bytes,
        columns=(
            Column(key="first", unit="ms to the first byte", is_cost=True, target=target),
            Column(key="reply", unit="ms to the SOCKS reply", is_cost=True),
        ),
        has_ceiling=False,
        rounds_max=1,
    )
