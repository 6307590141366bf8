"""A machine made of names: ports that can be opened, may be busy, and are counted."""

from typing import NoReturn

import attrs
import trio

from trio_vmess.contracts import Inbound, Transport
from trio_vmess.core.vmess import ReplayCache, UserRegistry
from trio_vmess.listen import Handler, PortInbound


@attrs.define(eq=False)
class FakePort:
    """A listener on which nobody ever calls."""

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
        inbounds: everything that was built, by port and in order.
    """

    open: dict[int, FakePort] = attrs.field(factory=dict)
    errors: dict[int, OSError] = attrs.field(factory=dict)
    binds: list[int] = attrs.field(factory=list)
    inbounds: list[PortInbound] = attrs.field(factory=list)
    default_level: int = 0
    default_alter_id_count: int = 0

    def bind(self, port: int) -> FakePort:
        self.binds.append(port)
        assert port not in self.open
        if port in self.errors:
            raise self.errors[port]
        self.open[port] = FakePort(self, port)
        return self.open[port]

    def make_inbound(self, port: int) -> PortInbound:
        users = UserRegistry()
        behind = PortInbound(
            handshake=60.0,
            inbound=SilentInbound(),
            users=users,
            replay=ReplayCache(window=users.window),
            default_level=self.default_level,
            default_alter_id_count=self.default_alter_id_count,
        )
        self.inbounds.append(behind)
        return behind


class SilentInbound(Inbound):
    """An inbound that is never called."""

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        raise AssertionError(f"a connection from {source}")
