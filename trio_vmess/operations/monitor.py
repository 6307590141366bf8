"""Answers the requests of the control socket: counters and open connections."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import attrs

from trio_vmess.core import format_endpoint
from trio_vmess.dispatch import Connection
from trio_vmess.operations.counters import Statistics

Values = Mapping[str, object]


@attrs.frozen(kw_only=True)
class Monitor:
    """Answers control requests.

    Attributes:
        statistics: the counters; None if `stats` is not enabled.
        connections: the open connections.
        clock: returns seconds of a monotonic clock.
        since: when the node started, by this clock.
        certificates: of inbounds with TLS: `inbound`, `names`, `issuer`, `validity`, `days`.
    """

    statistics: Statistics | None
    connections: Collection[Connection]
    clock: Callable[[], float]
    since: float
    certificates: Sequence[Values] = ()

    def answer(self, request: Values) -> Values:
        """Answer one request.

        Args:
            request: `command` and its arguments; see `trio_vmess.operations.control`.

        Raises:
            ValueError: it cannot be answered; the text is for the user.
        """
        command = request.get("command")
        if command == "stats":
            return self._stats(reset=bool(request.get("reset", False)))
        if command == "connections":
            return self._connections()
        raise ValueError(f"expected the command {' or '.join(COMMANDS)}, found {command!r:.80}")

    def _stats(self, *, reset: bool) -> Values:
        if self.statistics is None:
            raise ValueError(
                'statistics are not enabled; set stats = true in TOML, or "stats": {} in JSON, '
                "and select in 'policy' what is counted"
            )
        return {
            "counters": self.statistics.read(self.connections, reset=reset),
            "connections": len(self.connections),
            "seconds": round(self.clock() - self.since, 3),
            "certificates": self.certificates,
        }

    def _connections(self) -> Values:
        now = self.clock()
        return {
            "connections": [
                {
                    "source": each.flow.source,
                    "user": each.flow.user.email,
                    "inbound": each.flow.inbound_tag,
                    "outbound": each.outbound_tag,
                    "network": str(each.flow.destination.network),
                    "destination": format_endpoint(
                        each.flow.destination.host, each.flow.destination.port
                    ),
                    "seconds": round(now - each.since, 3),
                    "uplink": each.meter.uplink,
                    "downlink": each.meter.downlink,
                }
                for each in sorted(self.connections, key=lambda each: each.since)
            ]
        }


COMMANDS: Final = ("stats", "connections")
