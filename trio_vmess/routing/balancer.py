"""Choose one of several outbounds, and pass over those that fail.

An outbound that has failed a few times in a row rests: it is passed over for a pause that grows
with each further failure, up to a bound. When the pause is over it may be tried, by one connection
at a time; a success makes it an outbound like the others, a failure sends it back to rest. A node
that probes on its own asks `Health.due` whom to try, so that no connection has to.

Nothing here reads a clock: `now` is float seconds on any clock that does not go back.
"""

import enum
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import attrs

from trio_vmess.core import Entropy

_NONE: Final[Mapping[str, int]] = {}


class BalancingStrategy(enum.Enum):
    """How one of several outbounds is chosen."""

    RANDOM = "random"
    ROUND_ROBIN = "roundRobin"
    LEAST_CONNECTIONS = "leastConnections"


@attrs.frozen(kw_only=True)
class HealthPolicy:
    """When an outbound rests, and for how long.

    Attributes:
        failure_count: this many failures in a row make it rest; at least 1.
        first_pause: seconds of the first rest.
        growth: each further failure makes the pause longer by this factor; at least 1.
        longest_pause: seconds that no rest is longer than.
        trial_time: seconds that a trial may last before another one is allowed.
    """

    failure_count: int = attrs.field(default=3, validator=attrs.validators.ge(1))
    first_pause: float = attrs.field(default=5.0, validator=attrs.validators.ge(0.0))
    growth: float = attrs.field(default=2.0, validator=attrs.validators.ge(1.0))
    longest_pause: float = attrs.field(default=300.0, validator=attrs.validators.ge(0.0))
    trial_time: float = attrs.field(default=15.0, validator=attrs.validators.ge(0.0))


@attrs.define(eq=False)
class _Record:
    """An outbound that has failed.

    Attributes:
        failures: in a row.
        pause: seconds of its last rest.
        rests_until: None before it rests for the first time.
        trial_until: until when the outcome of a trial is awaited.
    """

    failures: int = 0
    pause: float = 0.0
    rests_until: float | None = None
    trial_until: float = float("-inf")


class Health:
    """Which outbounds of a node are worth a try; all balancers share it.

    Args:
        policy: when they rest, and for how long; None for the defaults.
    """

    def __init__(self, policy: HealthPolicy | None = None) -> None:
        self._policy = policy or HealthPolicy()
        self._records: dict[str, _Record] = {}

    def report_success(self, tag: str) -> bool:
        """Learn that an outbound has reached its server: its failures are forgotten.

        Returns:
            Whether its rest ends with that.
        """
        record = self._records.pop(tag, None)
        return record is not None and record.rests_until is not None

    def report_failure(self, tag: str, now: float) -> bool:
        """Learn that an outbound has failed to reach its server.

        Returns:
            Whether its first rest begins with that.
        """
        policy = self._policy
        record = self._records.setdefault(tag, _Record())
        if record.rests_until is None:
            record.failures += 1
            if record.failures < policy.failure_count:
                return False
            record.pause = min(policy.first_pause, policy.longest_pause)
            record.rests_until = now + record.pause
            return True
        # Connections that began before the rest say nothing new when they fail during it.
        if now >= record.rests_until:
            record.pause = min(record.pause * policy.growth, policy.longest_pause)
            record.rests_until = now + record.pause
            record.trial_until = float("-inf")
        return False

    def is_dead(self, tag: str, now: float) -> bool:
        """Tell whether an outbound is to be passed over: it rests, or is being tried."""
        record = self._records.get(tag)
        if record is None or record.rests_until is None:
            return False
        return now < max(record.rests_until, record.trial_until)

    def due(self, tags: Iterable[str], now: float) -> list[str]:
        """Return those outbounds that have rested long enough and wait for a trial."""
        return [tag for tag in tags if self._has_rested(tag) and not self.is_dead(tag, now)]

    def begin_trial(self, tag: str, now: float) -> None:
        """Pass an outbound over until the outcome of its trial is reported, or is overdue.

        Without effect on outbounds that have not rested.
        """
        record = self._records.get(tag)
        if record is not None and record.rests_until is not None:
            record.trial_until = now + self._policy.trial_time

    def rests_until(self, tag: str) -> float:
        """Return when an outbound may be tried again; minus infinity if it has not failed."""
        record = self._records.get(tag)
        if record is None or record.rests_until is None:
            return float("-inf")
        return record.rests_until

    def _has_rested(self, tag: str) -> bool:
        record = self._records.get(tag)
        return record is not None and record.rests_until is not None


class Balancer:
    """A choice among the outbounds whose tags begin with one of some words.

    Args:
        tag: what rules call it.
        selector: beginnings of outbound tags.
        outbound_tags: of all outbounds, in their order.
        strategy: how one of those that are well is chosen.
        fallback: taken when none of them is; empty for none.
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
        strategy: BalancingStrategy = BalancingStrategy.RANDOM,
        fallback: str = "",
    ) -> None:
        self.tag = tag
        beginnings = tuple(selector)
        self.candidates: Final[Sequence[str]] = tuple(
            dict.fromkeys(each for each in outbound_tags if each and each.startswith(beginnings))
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

        An outbound that has rested is tried with it, and passed over by others meanwhile: say how
        it went with `Health.report_success` or `Health.report_failure`.

        Args:
            now: see `trio_vmess.routing.balancer`.
            connections: how many each outbound carries, for `leastConnections`.
            exclude: what this connection has tried already.

        Returns:
            An outbound that is well; else the fallback; else, because a try is better than none,
            the one whose rest ends first. None when all of these are excluded.
        """
        left = [each for each in self.candidates if each not in exclude]
        well = [each for each in left if not self._health.is_dead(each, now)]
        if well:
            chosen = self._pick(well, connections)
            self._health.begin_trial(chosen, now)
            return chosen
        if self._fallback and self._fallback not in exclude:
            return self._fallback
        return min(left, key=self._health.rests_until, default=None)

    def _pick(self, tags: Sequence[str], connections: Mapping[str, int]) -> str:
        match self._strategy:
            case BalancingStrategy.RANDOM:
                return tags[self._entropy.randbelow(len(tags))]
            case BalancingStrategy.ROUND_ROBIN:
                return self._next(tags)
            case BalancingStrategy.LEAST_CONNECTIONS:
                fewest = min(connections.get(each, 0) for each in tags)
                return self._next([each for each in tags if connections.get(each, 0) == fewest])

    def _next(self, tags: Sequence[str]) -> str:
        """Return the first of the tags from where the last turn ended."""
        order = self.candidates
        allowed = frozenset(tags)
        for step in range(len(order)):
            place = (self._turn + step) % len(order)
            if order[place] in allowed:
                self._turn = place + 1
                return order[place]
        raise ValueError("none of these tags is a candidate")
