"""From a request to its end: what is logged, what is answered, and that both sides are closed."""

import logging
from collections.abc import Callable, Sequence

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.kit.cancel_sweep import Scenario, sweep_cancellations
from tests.kit.remote_ends import RemoteEnd, memory_pair
from tests.kit.scripted_remote import EchoLink, TrackedTransport
from trio_vmess.contracts import Connected, PacketLink, StreamSide
from trio_vmess.core import Destination, Network, User, parse_host
from trio_vmess.core.flow import Flow
from trio_vmess.core.policy import Policy
from trio_vmess.dispatch.access_log import AccessLog, quoted
from trio_vmess.dispatch.dispatcher import Dispatcher
from trio_vmess.dispatch.first_outbound import FirstOutbound
from trio_vmess.errors import DialError, DialFailure, NoRouteError, RemoteProtocolError
from trio_vmess.relay import SharedBuffers

FLOW = Flow(
    destination=Destination(host="example.com", port=443),
    source="192.0.2.9:5000",
    inbound_tag="in",
    user=User(id=b"love", email="love@example.com", level=3),
)
DATAGRAMS = attrs.evolve(
    FLOW, destination=Destination(host=parse_host("192.0.2.1"), port=53, network=Network.UDP)
)
BOUND = Destination(host=parse_host("192.0.2.2"), port=6000)
WHO = "source=192.0.2.9:5000", "user=love@example.com"
WAY = "network=tcp destination=tcp:example.com:443"
FACTS = f"{' '.join(WHO)} {WAY}"


def fault(event: str, reason: str, detail: str, *, outbound: str = "out") -> str:
    """Return a line of the error log."""
    source, user = WHO
    return f"{event} {source} reason={reason!r} {user} {WAY} outbound={outbound} detail={detail}"


@attrs.define(eq=False)
class RecordedAnswer:
    """Records the answer that the inbound's client would get."""

    bound: Destination | None = None
    reason: DialFailure | None = None
    failure: Exception | None = None
    count: int = 0

    async def established(self, remote: StreamSide | None, /) -> None:
        """Record it."""
        await trio.lowlevel.checkpoint()
        self.count += 1
        self.bound = None if remote is None else remote.transport.local
        if self.failure is not None:
            raise self.failure

    async def refused(self, reason: DialFailure, /) -> None:
        """Record it."""
        await trio.lowlevel.checkpoint()
        self.count += 1
        self.reason = reason
        if self.failure is not None:
            raise self.failure


class Outbound:
    """Gives one side, or fails; both after a checkpoint.

    Args:
        failure: is raised instead.
    """

    tag = "out"

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.flows: list[Flow] = []
        ours, theirs = memory_pair()
        self.transport = TrackedTransport(ours, local=BOUND)
        self.end = RemoteEnd(theirs)
        self.link = EchoLink("remote")
        self.opened = False

    async def connect(self, flow: Flow, /) -> Connected[StreamSide]:
        """See `Outbound.connect`."""
        await self._reach(flow)
        return Connected(self.tag, StreamSide(transport=self.transport))

    async def connect_packets(self, flow: Flow, /) -> Connected[PacketLink]:
        """See `Outbound.connect_packets`."""
        await self._reach(flow)
        return Connected(self.tag, self.link)

    async def _reach(self, flow: Flow) -> None:
        self.flows.append(flow)
        await trio.lowlevel.checkpoint()
        if self.failure is not None:
            raise self.failure
        self.opened = True


class DispatcherFixture:
    """A dispatcher with one outbound, and a client in front of it."""

    def __init__(self, outbound: Outbound | None = None, policy: Policy | None = None) -> None:
        self.outbound = outbound or Outbound()
        self.levels: list[int] = []
        self.policy = policy or Policy()
        self.dispatcher = Dispatcher(
            FirstOutbound([self.outbound]),
            policy_of=self.policy_of,
            buffers=SharedBuffers(),
            observers=[AccessLog()],
        )
        ours, theirs = memory_pair()
        self.client_transport = TrackedTransport(ours)
        self.client = RemoteEnd(theirs)
        self.answer = RecordedAnswer()

    def policy_of(self, level: int) -> Policy:
        """Record the level."""
        self.levels.append(level)
        return self.policy

    async def stream(self, flow: Flow = FLOW) -> None:
        """Dispatch the client's connection."""
        await self.dispatcher.stream(flow, StreamSide(transport=self.client_transport), self.answer)

    def check_closed(self) -> None:
        """Require that nothing is left of it."""
        assert self.client_transport.closed
        assert self.outbound.transport.closed == self.outbound.opened
        assert not self.dispatcher.connections


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[str]]:
    """Return what a logger has written."""
    caplog.set_level(logging.INFO, logger="trio_vmess")

    def lines(logger: str) -> list[str]:
        return [
            record.getMessage()
            for record in caplog.records
            if record.name == f"trio_vmess.{logger}"
        ]

    return lines


LogLines = Callable[[str], list[str]]


# Streams ----------------------------------------------------------------------------------------


async def test_a_flow_from_beginning_to_end(autojump_clock: MockClock, messages: LogLines) -> None:
    fixture = DispatcherFixture()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.stream)
        await fixture.client.send(b"request")
        assert await fixture.outbound.end.receive_exactly(7) == b"request"
        assert fixture.answer.bound == BOUND
        (connection,) = fixture.dispatcher.connections
        assert (connection.flow, connection.outbound_tag) == (FLOW, "out")
        assert messages("access") == [f"accepted {FACTS} outbound=out"]
        await trio.sleep(2.5)
        await fixture.outbound.end.send(b"answer!!")
        await fixture.client.send_eof()
        await fixture.outbound.end.send_eof()
        assert await fixture.client.receive_all() == b"answer!!"
    assert messages("access")[1:] == [
        f"closed {FACTS} outbound=out up=7 down=8 seconds=2.500 reason=finished"
    ]
    assert messages("dispatch") == []
    assert fixture.levels == [3]
    assert fixture.answer.count == 1
    fixture.check_closed()


@pytest.mark.parametrize("reason", DialFailure)
async def test_an_unreachable_destination(
    reason: DialFailure, autojump_clock: MockClock, messages: LogLines
) -> None:
    fixture = DispatcherFixture(
        Outbound(DialError("example.com:443: it is not there", reason=reason))
    )
    await fixture.stream()
    assert fixture.answer.reason is reason
    why = "reason='example.com:443: it is not there'"
    assert messages("access") == [f"rejected {FACTS} outbound=out {why}"]
    assert messages("dispatch") == [
        fault("dispatch.unreachable", reason.value, "'example.com:443: it is not there'")
    ]
    fixture.check_closed()


async def test_no_route(autojump_clock: MockClock, messages: LogLines) -> None:
    fixture = DispatcherFixture()
    fixture.dispatcher = Dispatcher(
        FirstOutbound([]),
        policy_of=fixture.policy_of,
        buffers=SharedBuffers(),
        observers=[AccessLog()],
    )
    await fixture.stream()
    assert fixture.answer.reason is DialFailure.FORBIDDEN
    (line,) = messages("access")
    assert line.startswith(f"rejected {FACTS} outbound=- reason=")
    assert "no outbound is configured" in line
    detail = "'tcp:example.com:443: no outbound is configured'"
    assert messages("dispatch") == [fault("dispatch.unreachable", "no route", detail, outbound="-")]
    fixture.check_closed()


@pytest.mark.parametrize("failure", [None, DialError("no", reason=DialFailure.REFUSED)])
async def test_a_client_that_resets_before_the_answer(
    failure: Exception | None, autojump_clock: MockClock, messages: LogLines
) -> None:
    fixture = DispatcherFixture(Outbound(failure))
    fixture.answer.failure = trio.BrokenResourceError("gone")
    await fixture.stream()
    last = messages("access")[-1]
    if failure is None:
        assert last.startswith("closed")
        assert last.endswith("reason='reset by client'")
    else:
        assert last.startswith("rejected")
    fixture.check_closed()


async def test_a_protocol_error_of_a_peer_is_logged_once(
    autojump_clock: MockClock, messages: LogLines
) -> None:
    class Confused:
        ended = False
        piecewise = None

        def output_size(self, size: int, /) -> int:
            return size

        def update_into(self, data: bytes | bytearray | memoryview, out: memoryview, /) -> int:
            raise RemoteProtocolError("chunk: it makes\nno sense")

        def finalize_into(self, out: memoryview, /) -> int:
            return 0

    fixture = DispatcherFixture()
    side = StreamSide(transport=fixture.client_transport, opener=Confused())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.dispatcher.stream, FLOW, side, fixture.answer)
        await fixture.client.send(b"x")
    assert messages("dispatch") == [
        fault("dispatch.fault", "client broke the protocol", "'chunk: it makes\\nno sense'")
    ]
    assert messages("access")[-1].endswith("reason='client broke the protocol'")
    fixture.check_closed()


@pytest.mark.parametrize("where", ["connect", "answer", "codec", "choose"])
async def test_a_bug_ends_only_its_own_connection(
    where: str, autojump_clock: MockClock, messages: LogLines, caplog: pytest.LogCaptureFixture
) -> None:
    bug = RuntimeError("a bug")
    fixture = DispatcherFixture(Outbound(bug if where == "connect" else None))
    side = StreamSide(transport=fixture.client_transport)
    if where == "answer":
        fixture.answer.failure = bug
    if where == "codec":

        class Buggy(TrackedTransport):
            async def receive_into(self, buffer: memoryview, /) -> int:
                raise bug

        fixture.client_transport = Buggy(fixture.client_transport)
        side.transport = fixture.client_transport
    if where == "choose":

        async def choose(flow: Flow) -> Outbound:
            raise bug

        fixture.dispatcher = Dispatcher(
            choose, policy_of=fixture.policy_of, buffers=SharedBuffers(), observers=[AccessLog()]
        )
    await fixture.dispatcher.stream(FLOW, side, fixture.answer)
    (line,) = messages("dispatch")
    assert line.startswith(f"dispatch.bug {FACTS} outbound=")
    (record,) = [each for each in caplog.records if each.exc_info]
    assert record.levelno == logging.ERROR
    assert messages("access")[-1].endswith("reason='internal error'")
    fixture.check_closed()


@pytest.mark.parametrize("kind", ["stream", "packets"])
async def test_a_bug_that_comes_with_a_cancellation(
    kind: str, autojump_clock: MockClock, messages: LogLines
) -> None:
    """Both are in one group: the bug is logged here, the cancellation propagates."""

    async def break_when_cancelled(*args: object) -> int:
        try:
            await trio.sleep_forever()
        finally:
            raise RuntimeError("a bug")

    fixture = DispatcherFixture()
    fixture.outbound.transport.receive_into = break_when_cancelled  # type: ignore[method-assign]
    fixture.outbound.link.receive = break_when_cancelled  # type: ignore[assignment, method-assign]
    link = ListLink([], pause=1000)
    with trio.CancelScope() as parent:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def run() -> None:
                if kind == "stream":
                    await fixture.stream()
                else:
                    await fixture.dispatcher.packets(DATAGRAMS, link)

            await trio.testing.wait_all_tasks_blocked()
            parent.cancel()
    assert parent.cancelled_caught
    assert len(messages("dispatch")) == 1
    assert messages("access")[-1].endswith("reason='internal error'")
    assert fixture.outbound.transport.closed is (kind == "stream")
    assert fixture.outbound.link.closed is (kind == "packets")
    assert not fixture.dispatcher.connections


async def test_a_cancelled_connection_is_closed_and_logged(
    autojump_clock: MockClock, messages: LogLines
) -> None:
    fixture = DispatcherFixture()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.stream)
        await fixture.client.send(b"x")
        await fixture.outbound.end.receive_exactly(1)
        (connection,) = fixture.dispatcher.connections
        assert connection.meter.uplink == 1
        nursery.cancel_scope.cancel()
    assert messages("access")[-1].endswith("up=1 down=0 seconds=0.000 reason=cancelled")
    assert await fixture.client.receive_all() == b""
    assert await fixture.outbound.end.receive_all() == b""
    fixture.check_closed()


async def test_the_idle_limit_ends_a_flow(autojump_clock: MockClock, messages: LogLines) -> None:
    fixture = DispatcherFixture(policy=Policy(connection_idle=20))
    await fixture.stream()
    assert messages("access")[-1].endswith("reason=idle")
    fixture.check_closed()


async def test_flows_of_one_dispatcher_are_independent(autojump_clock: MockClock) -> None:
    first = DispatcherFixture()
    ours, theirs = memory_pair()
    other, client = TrackedTransport(ours), RemoteEnd(theirs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.stream)
        await trio.testing.wait_all_tasks_blocked()
        broken = Outbound(RuntimeError("a bug"))
        first.dispatcher._choose = FirstOutbound([broken])
        await first.dispatcher.stream(FLOW, StreamSide(transport=other), RecordedAnswer())
        assert other.closed
        assert await client.receive_all() == b""
        await first.client.send(b"still there")
        assert await first.outbound.end.receive_exactly(11) == b"still there"
        nursery.cancel_scope.cancel()
    first.check_closed()


def test_cancellation_at_any_step_closes_both_sides() -> None:
    def build() -> Scenario:
        fixture = DispatcherFixture()

        async def run() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fixture.stream)
                await fixture.client.send(b"request")
                await fixture.outbound.end.receive_exactly(7)
                await fixture.client.send_eof()
                await fixture.outbound.end.send(b"answer")
                await fixture.outbound.end.send_eof()
                await fixture.client.receive_all()

        def check() -> None:
            # Where not a single step was made, dispatch has never heard of the connection.
            if fixture.outbound.flows:
                fixture.check_closed()

        return Scenario(run=run, check=check)

    assert sweep_cancellations(build) > 10


# Datagrams --------------------------------------------------------------------------------------


class ListLink(EchoLink):
    """A client's link: returns the given batches, waits, then ends."""

    def __init__(self, batches: Sequence[Sequence[bytes]], pause: float = 1.0) -> None:
        super().__init__("client")
        self._left = list(batches)
        self._pause = pause

    async def receive(self) -> Sequence[bytes]:
        """Return the next batch; nothing when there is none."""
        await trio.sleep(self._pause)
        return self._left.pop(0) if self._left else ()

    async def send(self, datagrams: Sequence[bytes], /) -> int:
        """Record them."""
        await trio.lowlevel.checkpoint()
        self.batches.append(list(datagrams))
        return 0


async def test_datagrams_from_beginning_to_end(
    autojump_clock: MockClock, messages: LogLines
) -> None:
    fixture = DispatcherFixture()
    link = ListLink([[b"one", b"two"], [b"three"]])
    await fixture.dispatcher.packets(DATAGRAMS, link)
    assert link.batches == [[b"remote: one", b"remote: two"], [b"remote: three"]]
    facts = FACTS.replace("network=tcp destination=tcp:example.com:443", "network=udp ") + (
        "destination=udp:192.0.2.1:53 outbound=out"
    )
    assert messages("access") == [
        f"accepted {facts}",
        f"closed {facts} up=11 down=35 seconds=4.000 reason=finished",
    ]
    assert link.closed
    assert fixture.outbound.link.closed
    assert not fixture.dispatcher.connections


async def test_answers_under_way_outlive_the_end_of_the_request(autojump_clock: MockClock) -> None:
    fixture = DispatcherFixture(policy=Policy(downlink_only=5))
    link = ListLink([[b"one"]])
    echo = fixture.outbound.link.receive

    async def answer_late() -> Sequence[bytes]:
        datagrams = await echo()
        await trio.sleep(3)
        return datagrams

    fixture.outbound.link.receive = answer_late  # type: ignore[method-assign]
    await fixture.dispatcher.packets(DATAGRAMS, link)
    # The request comes after one second and ends after two; the answer comes after four.
    assert link.batches == [[b"remote: one"]]
    assert link.closed
    assert 9 <= trio.current_time() <= 10


@pytest.mark.parametrize(
    "failure", [DialError("no", reason=DialFailure.REFUSED), NoRouteError("no"), RuntimeError("no")]
)
async def test_datagrams_to_an_unreachable_destination(
    failure: Exception, autojump_clock: MockClock, messages: LogLines
) -> None:
    fixture = DispatcherFixture(Outbound(failure))
    link = ListLink([])
    await fixture.dispatcher.packets(DATAGRAMS, link)
    assert link.closed
    (line,) = messages("access")
    assert line.startswith("closed" if isinstance(failure, RuntimeError) else "rejected")


@pytest.mark.parametrize(
    ("breaks", "failure", "ending"),
    [
        ("client.receive", trio.BrokenResourceError("reset"), "'reset by client'"),
        ("client.send", trio.BrokenResourceError("reset"), "'reset by client'"),
        ("remote.receive", trio.BrokenResourceError("reset"), "'reset by remote'"),
        ("remote.send", trio.BrokenResourceError("reset"), "'reset by remote'"),
        ("client.receive", RemoteProtocolError("bad"), "'client broke the protocol'"),
        ("remote.receive", RemoteProtocolError("bad"), "'remote broke the protocol'"),
        ("remote.send", RuntimeError("a bug"), "'internal error'"),
    ],
)
async def test_the_close_reason_of_datagrams_names_the_side(
    breaks: str,
    failure: Exception,
    ending: str,
    autojump_clock: MockClock,
    messages: LogLines,
) -> None:
    fixture = DispatcherFixture()
    link = ListLink([[b"x"]])
    side, operation = breaks.split(".")

    async def fail(*args: object) -> Sequence[bytes]:
        await trio.sleep(0.5)
        raise failure

    setattr(link if side == "client" else fixture.outbound.link, operation, fail)
    await fixture.dispatcher.packets(DATAGRAMS, link)
    assert messages("access")[-1].endswith(f"reason={ending}")
    assert link.closed
    assert fixture.outbound.link.closed


async def test_datagrams_have_an_idle_limit(autojump_clock: MockClock, messages: LogLines) -> None:
    fixture = DispatcherFixture(policy=Policy(connection_idle=30))
    link = ListLink([[b"x"], [b"y"], [b"z"]], pause=29)

    async def silence() -> Sequence[bytes]:
        await trio.sleep_forever()
        return ()

    fixture.outbound.link.receive = silence  # type: ignore[method-assign]
    link._left.append([b"never sent"])
    link._pause = 29
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.dispatcher.packets, DATAGRAMS, link)
        await trio.sleep(29 * 3 + 1)
        link._pause = 1000
    assert fixture.outbound.link.batches == [[b"x"], [b"y"], [b"z"], [b"never sent"]]
    assert messages("access")[-1].endswith("reason=idle")
    assert 29 * 4 + 30 <= trio.current_time() - start <= 29 * 4 + 31


def test_cancellation_at_any_step_closes_both_links() -> None:
    def build() -> Scenario:
        fixture = DispatcherFixture()
        link = ListLink([[b"one"], [b"two"]])

        async def run() -> None:
            await fixture.dispatcher.packets(DATAGRAMS, link)

        def check() -> None:
            if fixture.outbound.flows:
                assert link.closed
                assert fixture.outbound.link.closed == fixture.outbound.opened
                assert not fixture.dispatcher.connections

        return Scenario(run=run, check=check)

    assert sweep_cancellations(build) > 5


# Words ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain", "plain"),
        ("two words", "'two words'"),
        ("a\nb", "'a\\nb'"),
        ("\x1b[31mred", "'\\x1b[31mred'"),
        ("a\u2028b", "'a\\u2028b'"),
    ],
)
def test_log_values_are_quoted(text: str, written: str) -> None:
    assert quoted(text) == written


async def test_a_name_cannot_write_a_log_line(
    autojump_clock: MockClock, messages: LogLines
) -> None:
    fixture = DispatcherFixture(Outbound(DialError("no", reason=DialFailure.REFUSED)))
    hostile = Destination(host="a\naccepted source=x", port=1)
    await fixture.stream(attrs.evolve(FLOW, destination=hostile))
    for line in messages("access") + messages("dispatch"):
        assert "\n" not in line
        assert "destination='tcp:a\\naccepted source=x:1'" in line
