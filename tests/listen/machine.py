"""A machine made of names: ports that can be opened, may be busy, and are counted."""

from typing import NoReturn

import attrs
import trio

from trio_vmess.contracts import Inbound, Transport
from trio_vmess.listen import Handler, PortHandler


@attrs.define(eq=False)
class FakePort:
    """A listener that never accepts a connection."""

    machine: "FakeMachine"
    port: int
    is_served: bool = False

    @property
    def is_open(self) -> bool:
        return self.machine.open.get(self.port) is self

    def close(self) -> None:
        if self.is_open:
            del self.machine.open[self.port]

    async def serve(
        self, handler: Handler, *, connections: trio.Nursery, handshake: float
    ) -> NoReturn:
        self.is_served = True
        try:
            await trio.sleep_forever()
        finally:
            self.close()


@attrs.define(eq=False)
class FakeMachine:
    """Opens ports.

    Attributes:
        open: what is open now.
        errors: what opening a port ends in.
        binds: every port that was tried, in order.
        handlers: everything that was built, in order.
        closed: the handlers whose `close` was called, in order.
    """

    open: dict[int, FakePort] = attrs.field(factory=dict)
    errors: dict[int, OSError] = attrs.field(factory=dict)
    binds: list[int] = attrs.field(factory=list)
    handlers: list[PortHandler[Inbound]] = attrs.field(factory=list)
    closed: list[PortHandler[Inbound]] = attrs.field(factory=list)

    def bind(self, port: int) -> FakePort:
        self.binds.append(port)
        assert port not in self.open
        if port in self.errors:
            raise self.errors[port]
        self.open[port] = FakePort(self, port)
        return self.open[port]

    def make_handler(self, port: int) -> PortHandler[Inbound]:
        inbound = SilentInbound()
        handler: PortHandler[Inbound] = PortHandler(
            inbound=inbound,
            front=inbound,
            handshake=60.0,
            close=lambda: self.closed.append(handler),
        )
        self.handlers.append(handler)
        return handler


class SilentInbound(Inbound):
    """An inbound that is never called."""

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        raise AssertionError(f"a connection from {source}")
