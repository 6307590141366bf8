"""What starts and ends when."""

import attrs
import pytest
import trio
from trio.testing import MockClock

from trio_vmess.contracts import Connected, PacketLink, StreamSide
from trio_vmess.core import Flow
from trio_vmess.errors import DialError, DialFailure
from trio_vmess.node.lifecycle import Lifecycle
from trio_vmess.outbound import BlackholeOutbound


@attrs.define(eq=False)
class Diary:
    """What has happened, in order."""

    lines: list[str] = attrs.field(factory=list)

    def __call__(self, line: str) -> None:
        self.lines.append(line)


@attrs.define(eq=False)
class OutboundWithTask:
    """An outbound whose connections need a task that belongs to it, as a pool of carriers does."""

    note: Diary
    tag: str = "carried"
    _is_running: bool = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.note("outbound started")
        self._is_running = True
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            self._is_running = False
            self.note("outbound ended")

    async def connect(self, flow: Flow, /) -> Connected[StreamSide]:
        if not self._is_running:
            raise DialError("the task is gone", reason=DialFailure.PARENT_PROXY)
        return await BlackholeOutbound(tag=self.tag).connect(flow)

    async def connect_packets(self, flow: Flow, /) -> Connected[PacketLink]:
        raise DialError("no datagrams", reason=DialFailure.UNSUPPORTED)


@attrs.define(eq=False)
class OneConnection:
    """Listens, and has accepted one connection that takes its time."""

    note: Diary
    seconds: float = 3.0
    fails: bool = False

    async def serve(
        self,
        *,
        connections: trio.Nursery,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        if self.fails:
            raise OSError("taken")
        self.note("listening")
        connections.start_soon(self._connection, name="connection")
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            self.note("not listening")

    async def _connection(self) -> None:
        try:
            await trio.sleep(self.seconds)
            self.note("connection finished")
        except trio.Cancelled:
            self.note("connection cancelled")
            raise


async def run(lifecycle: Lifecycle, note: Diary, *, grace: float) -> None:
    stop = trio.Event()

    def begin() -> None:
        note("started")
        stop.set()

    await lifecycle.run(stop, on_started=begin, on_stopping=lambda: grace)


async def test_an_outbound_with_a_task_outlives_the_connections(autojump_clock: MockClock) -> None:
    note = Diary()
    outbound = OutboundWithTask(note)
    lifecycle = Lifecycle(services=[outbound], listeners=[OneConnection(note)])
    await run(lifecycle, note, grace=5)
    assert note.lines == [
        "outbound started",
        "listening",
        "started",
        "not listening",
        "connection finished",
        "outbound ended",
    ]
    assert trio.current_time() == 3


async def test_connections_are_cancelled_after_the_grace_period(autojump_clock: MockClock) -> None:
    note = Diary()
    lifecycle = Lifecycle(services=[OutboundWithTask(note)], listeners=[OneConnection(note)])
    await run(lifecycle, note, grace=1)
    assert note.lines[-2:] == ["connection cancelled", "outbound ended"]
    assert trio.current_time() == 1


async def test_a_connection_that_drains_still_reaches_its_outbound(
    autojump_clock: MockClock,
) -> None:
    note = Diary()
    outbound = OutboundWithTask(note)

    @attrs.define(eq=False)
    class Dialling(OneConnection):
        async def _connection(self) -> None:
            await trio.sleep(self.seconds)
            flow = Flow(destination=None)  # type: ignore[arg-type]  (not used)
            self.note((await outbound.connect(flow)).outbound_tag)

    await run(Lifecycle(services=[outbound], listeners=[Dialling(note)]), note, grace=5)
    assert note.lines[-2:] == ["carried", "outbound ended"]


async def test_a_listener_that_fails_ends_everything(autojump_clock: MockClock) -> None:
    note = Diary()
    lifecycle = Lifecycle(
        services=[OutboundWithTask(note)],
        listeners=[OneConnection(note), OneConnection(note, fails=True)],
    )
    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="taken"), flatten_subgroups=True):
        await run(lifecycle, note, grace=5)
    assert note.lines[0] == "outbound started"
    assert "started" not in note.lines
    assert set(note.lines[2:]) == {"not listening", "connection cancelled", "outbound ended"}
