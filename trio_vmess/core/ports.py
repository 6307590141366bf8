"""Which ports of a range are open, and until when: the plan behind a dynamic port.

Every `refresh` minutes a new generation of random ports opens. It lives for twice as long, so that
two generations overlap and clients can move over. A port belongs to at most one generation: it
comes back to the plan when its generation is over, and only then can it be chosen again.

A port that another program has taken is exchanged for another one, and is left alone until the next
refresh. How often that may happen in one generation is limited, so a plan always comes to an end,
however full the range is.

Source: v2ray-core, app/proxyman/inbound/dynamic.go, where a full range is searched for ever.
"""

from collections.abc import Iterable
from typing import ClassVar, Final

from trio_vmess.core.destination import PORT_MAX
from trio_vmess.core.entropy import Entropy
from trio_vmess.errors import PortsExhausted

MINUTES_MAX: Final = 255
"""The longest validity that fits the wire."""

EXCHANGES_MAX: Final = 16
"""How many busy ports are exchanged in one generation before the range is given up as taken."""

_MINUTE: Final = 60.0


class PortPlan:
    """Chooses ports, and knows which ones are in use.

    Times are seconds on any one clock that only goes forward.

    Args:
        ports: the range, in steps of 1 within 1 to 65535.
        concurrency: how many ports a generation has.
        refresh: minutes from one generation to the next.
        entropy: chooses the ports; who can predict it knows them in advance.

    Raises:
        ValueError: the range is empty, has gaps or goes beyond what a port can be; or one of the
            numbers is below 1.
    """

    GENERATIONS: ClassVar[int] = 2
    """How many are open at a time: each closes when the one after the next opens."""

    def __init__(self, ports: range, *, concurrency: int, refresh: int, entropy: Entropy) -> None:
        if not ports or ports.step != 1 or ports[0] < 1 or ports[-1] > PORT_MAX:
            raise ValueError(
                f"expected a range of ports within 1 to {PORT_MAX} without gaps, not {ports}"
            )
        if concurrency < 1 or refresh < 1:
            raise ValueError(
                f"concurrency and refresh must be at least 1: {concurrency=}, {refresh=}"
            )
        self._ports = ports
        self._concurrency = concurrency
        self._refresh = refresh
        self._entropy = entropy
        self._in_use: set[int] = set()
        self._busy: set[int] = set()
        self._refreshed_at: float | None = None

    def __repr__(self) -> str:
        return f"<PortPlan {self}, {len(self._in_use)} in use>"

    def __str__(self) -> str:
        """Write the range as configurations do."""
        first, last = self._ports[0], self._ports[-1]
        return str(first) if first == last else f"{first}-{last}"

    @property
    def refresh_seconds(self) -> float:
        """How long after a generation the next one follows."""
        return self._refresh * _MINUTE

    def next_generation(self, now: float) -> tuple[int, ...]:
        """Choose the ports of a new generation; they are in use from now on.

        Ports that were busy before may be chosen again.

        Args:
            now: when the generation opens.

        Returns:
            `concurrency` different ports, each equally likely.

        Raises:
            PortsExhausted: too few ports are free; none was taken then.
        """
        self._refreshed_at = now
        self._busy.clear()
        free_count = len(self._ports) - len(self._in_use)
        if free_count < self._concurrency:
            raise PortsExhausted(
                f"{self._concurrency} new ports are needed, but of the {len(self._ports)} in {self}"
                f" {len(self._in_use)} are in use; widen the range to at least"
                f" {self.GENERATIONS * self._concurrency} ports, or lower the concurrency"
            )
        return tuple(self._take() for _ in range(self._concurrency))

    def exchange(self, port: int) -> int:
        """Give a port back that another program has taken, and choose another one.

        Args:
            port: in use by the newest generation. It is free afterwards, but is not chosen before
                the next refresh.

        Raises:
            PortsExhausted: no other port is left, or enough were tried. The port is back anyway.
            ValueError: the port is not in use.
        """
        self.give_back((port,))
        self._busy.add(port)
        busy_count = len(self._busy)
        if len(self._ports) == len(self._in_use) + busy_count or busy_count > EXCHANGES_MAX:
            raise PortsExhausted(
                f"of the {len(self._ports)} ports in {self} {len(self._in_use)} are in use and"
                f" {busy_count} more were tried and are taken by other programs; choose a range"
                " that nothing else uses"
            )
        return self._take()

    def give_back(self, ports: Iterable[int]) -> None:
        """Make ports free again.

        Raises:
            ValueError: one of them is not in use, or comes twice; nothing has changed then.
        """
        returned = list(ports)
        unknown = set(returned) - self._in_use
        if unknown or len(set(returned)) < len(returned):
            raise ValueError(f"not in use, or given back twice: {sorted(unknown or returned)}")
        self._in_use.difference_update(returned)

    def minutes_left(self, now: float) -> int:
        """Return for how long the newest open ports may be announced: until the next refresh.

        A client that connects in the first minute after a refresh is told `refresh`, in the last
        one 1. If a refresh has failed, the generation before it is open for just as long.

        Args:
            now: on the clock of `next_generation`.

        Returns:
            1 to 255.
        """
        passed = 0.0 if self._refreshed_at is None else now - self._refreshed_at
        return max(1, min(self._refresh - int(max(passed, 0.0) // _MINUTE), MINUTES_MAX))

    def _take(self) -> int:
        """Choose one port of those that are neither in use nor busy; there must be one."""
        taken = self._in_use | self._busy
        port = self._ports[self._entropy.randbelow(len(self._ports) - len(taken))]
        # The n-th free port: each taken one at or below the candidate moves it up by one.
        for each in sorted(taken):
            if each <= port:
                port += 1
        self._in_use.add(port)
        return port
