"""How often a peer may do what costs us more than it costs the peer."""


class Allowance:
    """A number of tries that comes back with time.

    Args:
        burst: how many there are at most.
        per_second: how many come back in a second.
    """

    __slots__ = ("_burst", "_left", "_per_second", "_since")

    def __init__(self, burst: int, per_second: float) -> None:
        self._burst = burst
        self._left = float(burst)
        self._per_second = per_second
        self._since: float | None = None

    def spend(self, now: float) -> bool:
        """Use one; return False if there was none.

        Args:
            now: seconds on any clock that goes forward.
        """
        if self._since is not None:
            self._left = min(self._burst, self._left + (now - self._since) * self._per_second)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def earn(self) -> None:
        """Give one back: the peer has done something useful."""
        if self._left < self._burst:
            self._left += 1
