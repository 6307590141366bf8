"""Workloads over transports: what WebSocket, TLS and others cost on top of VMess."""

from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from benchmarks.comparison.carriers import carried_by
from tests.kit.carriers import TLS, WS, WS_TLS, CarrierSpec
from trio_vmess.bench import SING_BOX, V2RAY, Column, Setup, Workload, measures

Targets = Sequence[tuple[str, float]]

_IDLE_LIMIT: Final = 120.0
"""KB in both nodes together."""


@attrs.frozen
class _Row:
    """Transfers by one carrier.

    Attributes:
        name: of the carrier, as its users write it.
        carrier: what carries VMess.
        targets: for rate and CPU alike.
        security: the cipher of VMess.
    """

    name: str
    carrier: CarrierSpec
    targets: Targets = ()
    security: str = "aes-128-gcm"


_OVER_TLS: Final = ((SING_BOX, 1.0), (V2RAY, 2.0))

_ROWS: Final = (
    _Row("ws", WS, ((SING_BOX, 1.4),)),
    _Row("tls", TLS, _OVER_TLS),
    _Row("ws+tls", WS_TLS, _OVER_TLS),
    # What is encrypted by TLS already needs no other cipher.
    _Row("tls-none", TLS, security="none"),
    _Row("ws+tls-none", WS_TLS, security="none"),
    _Row("httpupgrade+tls", CarrierSpec(network="httpupgrade", tls=True)),
    _Row("h2+tls", CarrierSpec(network="h2", tls=True)),
    _Row("grpc+tls", CarrierSpec(network="grpc", tls=True)),
)

_CONNECTIONS: Final[Sequence[tuple[str, CarrierSpec, Targets]]] = (
    ("ws", WS, ()),
    ("tls", TLS, ()),
    # At most 1.7 times the CPU.
    ("ws+tls", WS_TLS, ((V2RAY, 1 / 1.7),)),
)


def transport_workloads() -> Iterator[Workload]:
    """Yield all workloads over transports.

    They say nothing about the load without a proxy: that is in the workloads without a transport.
    """
    for row in _ROWS:
        for direction in ("down", "up"):
            yield Workload(
                name=f"transports-bulk-{direction}-{row.name}-1",
                setup=Setup(security=row.security, carrier=carried_by(row.carrier)),
                measure=measures.bulk(f"{direction}load", 1),
                columns=(
                    Column(key="rate", unit="MB/s", targets=row.targets),
                    Column(key="cpu", unit="CPU s/GiB", is_cost=True, targets=row.targets),
                ),
                has_ceiling=False,
            )
    for name, carrier, targets in _CONNECTIONS:
        yield Workload(
            name=f"transports-connections-{name}-1",
            setup=Setup(carrier=carried_by(carrier)),
            measure=measures.connections(1),
            columns=(
                Column(key="rate", unit="per s"),
                Column(key="p50", unit="p50 ms", is_cost=True),
                Column(key="p99", unit="p99 ms", is_cost=True),
                Column(key="cpu", unit="CPU ms each", is_cost=True, targets=targets),
            ),
            has_ceiling=False,
        )
    yield Workload(
        name="transports-idle-ws+tls",
        setup=Setup(carrier=carried_by(WS_TLS)),
        measure=measures.idle,
        columns=(
            Column(key="memory", unit="KB/connection, both", is_cost=True, limit=_IDLE_LIMIT),
        ),
        is_fresh=True,
        has_ceiling=False,
    )
