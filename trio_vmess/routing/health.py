"""Which outbounds of a node can reach their server, as far as connections and probes have shown.

An outbound that fails a few times in a row is unhealthy: it is passed over for a cooldown, which
grows with each further failure up to a bound. After the cooldown it may be tried again, by one
connection at a time: a success makes it healthy, a failure starts the next cooldown.

Nothing here reads a clock: `now` is float seconds on any clock that does not go back.
"""

import attrs


@attrs.frozen(kw_only=True)
class HealthPolicy:
    """When an outbound becomes unhealthy, and how long its cooldowns are.

    Attributes:
        failure_count: this many failures in a row make it unhealthy; at least 1.
        first_cooldown: seconds of the first cooldown.
        growth: each further failure makes the cooldown longer by this factor; at least 1.
        cooldown_max: seconds that no cooldown exceeds.
        trial_time: seconds that a trial may last before another one is allowed.
    """

    failure_count: int = attrs.field(default=3, validator=attrs.validators.ge(1))
    first_cooldown: float = attrs.field(default=5.0, validator=attrs.validators.ge(0.0))
    growth: float = attrs.field(default=2.0, validator=attrs.validators.ge(1.0))
    cooldown_max: float = attrs.field(default=300.0, validator=attrs.validators.ge(0.0))
    trial_time: float = attrs.field(default=15.0, validator=attrs.validators.ge(0.0))


@attrs.define(eq=False)
class _Record:
    """An outbound that has failed.

    Attributes:
        failures: in a row, while it is healthy.
        cooldown: seconds of its latest cooldown.
        cooldown_until: when that ends; None while it is healthy.
        trial_until: until when the outcome of a trial is awaited.
    """

    failures: int = 0
    cooldown: float = 0.0
    cooldown_until: float | None = None
    trial_until: float = float("-inf")


class Health:
    """The health of a node's outbounds; all balancers share it.

    Args:
        policy: None for the defaults.
    """

    def __init__(self, policy: HealthPolicy | None = None) -> None:
        self._policy = policy or HealthPolicy()
        self._records: dict[str, _Record] = {}

    def report_success(self, tag: str) -> bool:
        """Learn that an outbound has reached its server: its failures are forgotten.

        Returns:
            Whether it was unhealthy until now.
        """
        record = self._records.pop(tag, None)
        return record is not None and record.cooldown_until is not None

    def report_failure(self, tag: str, now: float) -> bool:
        """Learn that an outbound has failed to reach its server.

        Returns:
            Whether it was healthy until now, and is no longer.
        """
        policy = self._policy
        record = self._records.setdefault(tag, _Record())
        if record.cooldown_until is None:
            record.failures += 1
            if record.failures < policy.failure_count:
                return False
            record.cooldown = min(policy.first_cooldown, policy.cooldown_max)
            record.cooldown_until = now + record.cooldown
            return True
        # Connections that began before the cooldown say nothing new when they fail during it.
        if now >= record.cooldown_until:
            record.cooldown = min(record.cooldown * policy.growth, policy.cooldown_max)
            record.cooldown_until = now + record.cooldown
            record.trial_until = float("-inf")
        return False

    def is_unhealthy(self, tag: str, now: float) -> bool:
        """Tell whether an outbound is to be passed over: in its cooldown, or in a trial."""
        record = self._records.get(tag)
        if record is None or record.cooldown_until is None:
            return False
        return now < max(record.cooldown_until, record.trial_until)

    def begin_trial(self, tag: str, now: float) -> None:
        """Pass an outbound over until the outcome of its trial is reported, or is overdue.

        Without effect on healthy outbounds.
        """
        record = self._records.get(tag)
        if record is not None and record.cooldown_until is not None:
            record.trial_until = now + self._policy.trial_time

    def cooldown_until(self, tag: str) -> float:
        """Return when an outbound may be tried again; minus infinity if it is healthy."""
        record = self._records.get(tag)
        if record is None or record.cooldown_until is None:
            return float("-inf")
        return record.cooldown_until
