"""Choose one of several outbounds for a connection, and pass over those that are unhealthy."""

import enum
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, assert_never

from trio_vmess.core import Entropy
from trio_vmess.routing.health import Health

_NONE: Final[Mapping[str, int]] = {}


class BalancerStrategy(enum.Enum):
    """How a balancer chooses among its healthy outbounds."""

    RANDOM = "random"
    ROUND_ROBIN = "roundRobin"
    LEAST_CONNECTIONS = "leastConnections"


class Balancer:
    """Chooses among the outbounds whose tags begin with one of some prefixes.

    Args:
        tag: what rules call it.
        selector: prefixes of outbound tags.
        outbound_tags: of all outbounds, in their order.
        strategy: how one of the healthy ones is chosen.
        fallback: taken when none of them is healthy; empty for none.
        health: shared by all balancers of the node.
        entropy: what `random` draws from.
    """

    def __init__(
        self,
        *,
        tag: str,
        selector: Iterable[str],
        outbound_tags: Iterable[str],
        health: Health,
        entropy: Entropy,
        strategy: BalancerStrategy = BalancerStrategy.RANDOM,
        fallback: str = "",
    ) -> None:
        self.tag = tag
        prefixes = tuple(selector)
        self.candidates: Final[Sequence[str]] = tuple(
            dict.fromkeys(each for each in outbound_tags if each and each.startswith(prefixes))
        )
        self._health = health
        self._entropy = entropy
        self._strategy = strategy
        self._fallback = fallback
        self._turn = 0

    def choose(
        self,
        now: float,
        *,
        connections: Mapping[str, int] = _NONE,
        exclude: Collection[str] = (),
    ) -> str | None:
        """Name the outbound of a connection.

        An outbound whose cooldown is over is tried with it, and other connections pass over that
        outbound meanwhile: report how it went with `Health.report_success` or `report_failure`.

        Args:
            now: see `trio_vmess.routing.health`.
            connections: how many each outbound carries, for `leastConnections`.
            exclude: what this connection has tried already.

        Returns:
            A healthy outbound; else the fallback; else, because a try is better than none, the one
            whose cooldown ends first. None when all of these are excluded.
        """
        left = [each for each in self.candidates if each not in exclude]
        healthy = [each for each in left if not self._health.is_unhealthy(each, now)]
        if healthy:
            chosen = self._pick(healthy, connections)
            self._health.begin_trial(chosen, now)
            return chosen
        if self._fallback and self._fallback not in exclude:
            return self._fallback
        return min(left, key=self._health.cooldown_until, default=None)

    def _pick(self, tags: Sequence[str], connections: Mapping[str, int]) -> str:
        match self._strategy:
            case BalancerStrategy.RANDOM:
                return tags[self._entropy.randbelow(len(tags))]
            case BalancerStrategy.ROUND_ROBIN:
                return self._next(tags)
            case BalancerStrategy.LEAST_CONNECTIONS:
                fewest = min(connections.get(each, 0) for each in tags)
                return self._next([each for each in tags if connections.get(each, 0) == fewest])
            case _:
                assert_never(self._strategy)

    def _next(self, tags: Sequence[str]) -> str:
        """Return the first of the tags from where the last turn ended."""
        order = self.candidates
        allowed = frozenset(tags)
        for step in range(len(order)):
            index = (self._turn + step) % len(order)
            if order[index] in allowed:
                self._turn = index + 1
                return order[index]
        raise ValueError("none of these tags is a candidate")
