"""Dynamic ports: generations of random ports, each with accounts of its own.

At each refresh a new generation opens and the one before the last closes. Each port has a handler
of its own, which is discarded with it; connections that were accepted continue.

    minutes    0          5          10         15
    first      |==newest==|==========|
    second                |==newest==|==========|
    third                            |==newest==|=====

If a refresh finds no free port, only that generation is missing: the next refresh tries again.
`trio_vmess.core.ports` chooses the ports; this module opens and closes them, and gives every port
back to the plan when its generation ends, for whatever reason.
"""

import errno
import logging
from typing import Final, Generic, NoReturn

import attrs
import trio

from trio_vmess.core import Entropy, PortPlan
from trio_vmess.errors import PortsExhausted
from trio_vmess.listen.open_port import (
    Bind,
    InboundT_co,
    MakeHandler,
    OpenPort,
    SwitchOffer,
    offer_switch,
    open_port,
)

log: Final = logging.getLogger("trio_vmess.listen")

# Errors of a single port, after which another one may work. EACCES: a port below 1024, or one that
# Windows has reserved.
_PORT_ERRORS: Final = frozenset({errno.EADDRINUSE, errno.EACCES})


@attrs.define(eq=False, kw_only=True)
class _Generation(Generic[InboundT_co]):
    """Ports that were opened together.

    Attributes:
        expires_at: when its ports close, on Trio's clock.
        held: the ports to give back to the plan.
        open_ports: those of them that are open.
        closed: set when the ports have been given back.
    """

    expires_at: float
    held: set[int]
    open_ports: list[OpenPort[InboundT_co]] = attrs.field(
        factory=lambda: list[OpenPort[InboundT_co]]()
    )
    closed: trio.Event = attrs.field(factory=trio.Event)


class DynamicListener(Generic[InboundT_co]):
    """Random ports of a range, in generations.

    Args:
        plan: chooses the ports; must not be shared.
        bind: opens a port.
        make_handler: builds a new handler for each port.
        entropy: chooses among the ports when a client is redirected here.
        tag: the inbound's tag, for the log.
    """

    def __init__(
        self,
        plan: PortPlan,
        bind: Bind,
        make_handler: MakeHandler[InboundT_co],
        *,
        entropy: Entropy,
        tag: str = "",
    ) -> None:
        self._plan = plan
        self._bind = bind
        self._make_handler = make_handler
        self._entropy = entropy
        self._tag = tag or "-"
        self._generations: list[_Generation[InboundT_co]] = []

    @property
    def ports(self) -> list[int]:
        """The open ports, those of the newest generation last."""
        return [each.listener.port for each in self._open_ports()]

    async def serve(
        self,
        *,
        connections: trio.Nursery,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> NoReturn:
        """Open and close generations until cancelled; all ports are closed when this ends.

        Args:
            connections: the nursery for connections; must outlive this task.
            task_status: `started` is called when the first generation is open, or has failed.

        Raises:
            trio.Cancelled: from outside; connections that were accepted continue.
        """
        begin, period = trio.current_time(), self._plan.refresh_seconds
        tick = 0
        async with trio.open_nursery() as nursery:
            while True:
                opens_at = begin + tick * period
                await self._wait_for_closing(opens_at)
                # Computed by the same formula as the `opens_at` of a later generation: the two are
                # compared for equality, and rounding could make them differ.
                expires_at = begin + (tick + PortPlan.GENERATIONS) * period
                generation = self._open(opens_at, expires_at)
                if generation is not None:
                    nursery.start_soon(self._run, generation, connections, name="generation")
                if not tick:
                    task_status.started()
                tick += 1
                await trio.sleep_until(begin + tick * period)
                # After a suspend, several ticks may have passed: continue with the current one.
                tick = max(tick, int((trio.current_time() - begin) // period))

    def offer_switch(self, *, now: float | None = None) -> SwitchOffer[InboundT_co] | None:
        """Choose a port of the newest generation to redirect a client to.

        Args:
            now: the time on Trio's clock; None for the current time.

        Returns:
            None if no port will be open for at least another minute.

        Source:
            v2ray-core, proxy/vmess/inbound/inbound.go, generateCommand.
        """
        if not self._generations:
            return None
        if now is None:
            now = trio.current_time()
        newest = self._generations[-1]
        # If a refresh has failed, the newest generation is an older one, which closes sooner than
        # the plan assumes.
        minutes = min(self._plan.minutes_left(now), int((newest.expires_at - now) // 60))
        if minutes < 1:
            return None
        return offer_switch(newest.open_ports, minutes=minutes, entropy=self._entropy)

    def _open_ports(self) -> list[OpenPort[InboundT_co]]:
        return [port for generation in self._generations for port in generation.open_ports]

    # Opening ------------------------------------------------------------------------------------

    def _open(self, opens_at: float, expires_at: float) -> _Generation[InboundT_co] | None:
        """Open a generation with as many ports as possible; None if no port could be opened."""
        try:
            ports = self._plan.next_generation(opens_at)
        except PortsExhausted as exc:
            log.warning("ports.exhausted inbound=%s reason=%r", self._tag, str(exc))
            return None
        generation = _Generation[InboundT_co](expires_at=expires_at, held=set(ports))
        self._generations.append(generation)
        try:
            for port in ports:
                self._open_port(generation, port)
        except BaseException:  # also a bug in `make_handler` must not leak ports
            self._close(generation)
            raise
        opened = [each.listener.port for each in generation.open_ports]
        if len(opened) < len(ports):
            log.warning(
                "ports.missing inbound=%s wanted=%d opened=%d hint=%r",
                self._tag,
                len(ports),
                len(opened),
                "the next refresh tries again; earlier lines name the reasons",
            )
        if not opened:
            self._close(generation)
            return None
        log.info("ports.opened inbound=%s ports=%s", self._tag, ",".join(map(str, opened)))
        return generation

    def _open_port(self, generation: _Generation[InboundT_co], port: int) -> None:
        """Open a port, or a replacement if it is taken; the plan limits the number of attempts."""
        while True:
            try:
                opened = open_port(port, self._bind, self._make_handler)
            except OSError as exc:
                generation.held.remove(port)
                replacement = self._replace(port, exc)
                if replacement is None:
                    return
                generation.held.add(replacement)
                port = replacement
            else:
                generation.open_ports.append(opened)
                return

    def _replace(self, port: int, exc: OSError) -> int | None:
        """Give back a port that cannot be opened; return a replacement if another port may work."""
        log.warning(
            "ports.failed inbound=%s port=%d reason=%r", self._tag, port, exc.strerror or str(exc)
        )
        if exc.errno not in _PORT_ERRORS:
            self._plan.give_back((port,))
            return None
        try:
            return self._plan.exchange(port)
        except PortsExhausted as exhausted:
            log.warning("ports.exhausted inbound=%s reason=%r", self._tag, str(exhausted))
            return None

    # Serving and closing -------------------------------------------------------------------------

    async def _run(self, generation: _Generation[InboundT_co], connections: trio.Nursery) -> None:
        try:
            with trio.CancelScope(deadline=generation.expires_at):
                async with trio.open_nursery() as nursery:
                    for each in generation.open_ports:
                        nursery.start_soon(each.serve, connections, name="listener")
        finally:
            self._close(generation)

    async def _wait_for_closing(self, opens_at: float) -> None:
        """Wait until generations that end now have given their ports back.

        Both happen at the same moment, and a small range has no other ports for the new one.
        """
        for generation in list(self._generations):
            if generation.expires_at <= opens_at:
                await generation.closed.wait()

    def _close(self, generation: _Generation[InboundT_co]) -> None:
        for each in generation.open_ports:
            each.close()
        self._plan.give_back(generation.held)
        generation.held.clear()
        self._generations.remove(generation)
        generation.closed.set()
