"""Which outbound takes a flow: rules with addresses, balancers, and servers that die."""

import ipaddress
import socket
from collections.abc import Sequence

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.kit.entropy import SeededEntropy
from trio_vmess.contracts import Connected, PacketLink, StreamSide
from trio_vmess.core import Destination, Flow, Host, IPAddress, User, parse_host
from trio_vmess.dispatch import Prober
from trio_vmess.dispatch.selection import Probe, Selection
from trio_vmess.errors import DialError, DialFailure, NoRouteError
from trio_vmess.routing import (
    Balancer,
    BalancerStrategy,
    DomainStrategy,
    Health,
    Router,
    Rule,
)
from trio_vmess.transport.trio_stream import StreamTransport


@attrs.define(eq=False)
class FakeOutbound:
    """An outbound that connects to everything, or fails with one reason."""

    tag: str
    failure: DialFailure | None = None
    tries: int = 0

    async def connect(self, flow: Flow, /) -> Connected[StreamSide]:
        self.tries += 1
        if self.failure is not None:
            raise DialError(f"{self.tag} fails", reason=self.failure)
        stream, _ = trio.testing.memory_stream_pair()
        return Connected(self.tag, StreamSide(transport=StreamTransport(stream)))

    async def connect_packets(self, flow: Flow, /) -> Connected[PacketLink]:
        raise DialError("no datagrams", reason=DialFailure.UNSUPPORTED)


def flow(host: str, port: int = 443) -> Flow:
    return Flow(destination=Destination(host=parse_host(host), port=port))


def no_files(name: str) -> bytes:
    raise FileNotFoundError(name)


NAMES: dict[str, list[IPAddress]] = {
    "inside.example": [ipaddress.IPv4Address("10.1.2.3")],
    "outside.example": [ipaddress.IPv4Address("93.184.216.34")],
}


async def resolve(name: str, family: socket.AddressFamily) -> list[IPAddress]:
    if name not in NAMES:
        raise DialError(f"{name}: unknown", reason=DialFailure.NAME_NOT_FOUND)
    return NAMES[name]


def select(
    outbounds: Sequence[FakeOutbound],
    rules: Sequence[Rule] = (),
    *,
    strategy: DomainStrategy = DomainStrategy.AS_IS,
    balancing: BalancerStrategy = BalancerStrategy.ROUND_ROBIN,
    fallback: str = "",
    running: Sequence[str] = (),
) -> Selection:
    health = Health()
    balancer = Balancer(
        tag="any",
        selector=["node-"],
        outbound_tags=[each.tag for each in outbounds],
        health=health,
        entropy=SeededEntropy(),
        strategy=balancing,
        fallback=fallback,
    )
    return Selection(
        outbounds=outbounds,
        router=Router(rules, load=no_files, strategy=strategy, balancers=["any"]),
        balancers={"any": balancer},
        health=health,
        resolve_for=lambda _flow: resolve,
        running=lambda: running,
    )


EVERYTHING = Rule(networks=(), ports=((0, 65535),), balancer_tag="any")


async def test_without_rules_the_first_outbound_takes_everything() -> None:
    first, second = FakeOutbound("first"), FakeOutbound("second")
    selection = select([first, second])
    assert await selection(flow("example.com")) is first
    with pytest.raises(NoRouteError):
        await select([])(flow("example.com"))


async def test_rules_name_outbounds() -> None:
    first, second = FakeOutbound("first"), FakeOutbound("second")
    rules = [Rule(domains=("domain:example.com",), outbound_tag="second")]
    selection = select([first, second], rules)
    assert await selection(flow("www.example.com")) is second
    assert await selection(flow("www.example.org")) is first


@pytest.mark.parametrize("strategy", [DomainStrategy.IP_IF_NON_MATCH, DomainStrategy.IP_ON_DEMAND])
async def test_names_are_resolved_for_rules_on_addresses(strategy: DomainStrategy) -> None:
    first, inside = FakeOutbound("first"), FakeOutbound("inside")
    rules = [Rule(ips=("10.0.0.0/8",), outbound_tag="inside")]
    selection = select([first, inside], rules, strategy=strategy)
    assert await selection(flow("inside.example")) is inside
    assert await selection(flow("outside.example")) is first
    assert await selection(flow("nowhere.example")) is first
    assert await selection(flow("10.9.9.9")) is inside


async def test_a_name_that_is_not_resolved_is_logged_with_who_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "trio_vmess")
    rules = [Rule(ips=("10.0.0.0/8",), outbound_tag="inside")]
    selection = select([FakeOutbound("first")], rules, strategy=DomainStrategy.IP_ON_DEMAND)
    asked = attrs.evolve(
        flow("nowhere.example"), source="192.0.2.1:5", user=User(id=b"1", email="ann")
    )
    await selection(asked)
    (line,) = caplog.messages
    assert line == (
        "routing.unresolved source=192.0.2.1:5 reason='name not found' user=ann "
        "name='nowhere.example' detail='nowhere.example: unknown'"
    )


async def test_names_are_not_resolved_unless_a_rule_needs_it() -> None:
    first, inside = FakeOutbound("first"), FakeOutbound("inside")
    rules = [Rule(ips=("10.0.0.0/8",), outbound_tag="inside")]
    assert await select([first, inside], rules)(flow("inside.example")) is first


async def connected_tag(selection: Selection, host: Host = "example.com") -> str:
    outbound = await selection(flow(str(host)))
    tag, side = await outbound.connect(flow(str(host)))
    await side.transport.aclose()
    return tag


async def test_round_robin_and_the_tag_of_the_outbound_used() -> None:
    selection = select(
        [FakeOutbound("first"), FakeOutbound("node-1"), FakeOutbound("node-2")], [EVERYTHING]
    )
    tags = [await connected_tag(selection) for _ in range(4)]
    assert tags == ["node-1", "node-2", "node-1", "node-2"]


async def test_least_connections_counts_open_connections() -> None:
    selection = select(
        [FakeOutbound("node-1"), FakeOutbound("node-2")],
        [EVERYTHING],
        balancing=BalancerStrategy.LEAST_CONNECTIONS,
        running=["node-1", "node-1", "node-2"],
    )
    assert {await connected_tag(selection) for _ in range(3)} == {"node-2"}


async def test_an_unhealthy_outbound_is_skipped_until_it_recovers(
    autojump_clock: MockClock,
) -> None:
    failing, healthy = FakeOutbound("node-1", DialFailure.PARENT_PROXY), FakeOutbound("node-2")
    selection = select([failing, healthy], [EVERYTHING])
    for _ in range(20):
        assert await connected_tag(selection) == "node-2"
    assert failing.tries == 3, "it was tried again and again"
    await trio.sleep(6)
    failing.failure = None
    assert {await connected_tag(selection) for _ in range(4)} == {"node-1", "node-2"}


async def test_an_unreachable_destination_does_not_make_the_outbound_unhealthy() -> None:
    unreachable = FakeOutbound("node-1", DialFailure.REFUSED)
    selection = select([unreachable, FakeOutbound("node-2")], [EVERYTHING])
    for _ in range(20):
        outbound = await selection(flow("example.com"))
        if outbound.tag == "any":
            try:
                side = (await outbound.connect(flow("example.com"))).remote
            except DialError:
                continue
            await side.transport.aclose()
    assert unreachable.tries == 10, "it was counted as a failure of the outbound"


async def test_the_fallback_comes_last_and_the_last_failure_is_raised() -> None:
    failing, spare = FakeOutbound("node-1", DialFailure.PARENT_PROXY), FakeOutbound("spare")
    selection = select([failing, spare], [EVERYTHING], fallback="spare")
    for _ in range(6):
        outbound = await selection(flow("example.com"))
        try:
            tag, side = await outbound.connect(flow("example.com"))
        except DialError:
            raise AssertionError("the fallback was not taken") from None
        await side.transport.aclose()
        assert tag == "spare"
    alone = select([failing], [EVERYTHING])
    outbound = await alone(flow("example.com"))
    with pytest.raises(DialError, match="node-1 fails"):
        await outbound.connect(flow("example.com"))


async def test_probes_notice_failure_and_recovery(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    failing, healthy = FakeOutbound("node-1", DialFailure.PARENT_PROXY), FakeOutbound("node-2")
    selection = select([failing, healthy], [EVERYTHING])
    probe = Probe(
        balancer_tag="any",
        interval=10,
        destination=Destination(host=ipaddress.IPv4Address("192.0.2.1"), port=443),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Prober(selection=selection, probe=probe).run)
        await trio.sleep(32)
        assert (failing.tries, healthy.tries) == (3, 3)
        assert {await connected_tag(selection) for _ in range(4)} == {"node-2"}
        assert failing.tries == 3, "a connection had to find out"
        failing.failure = None
        await trio.sleep(10)
        assert {await connected_tag(selection) for _ in range(4)} == {"node-1", "node-2"}
        nursery.cancel_scope.cancel()
    assert [line.split()[0] for line in caplog.messages] == [
        "outbound.unhealthy",
        "outbound.recovered",
    ]


async def test_a_probe_of_an_unreachable_destination_does_not_count_as_a_failure(
    autojump_clock: MockClock,
) -> None:
    outbound = FakeOutbound("node-1", DialFailure.TIMED_OUT)
    selection = select([outbound], [EVERYTHING])
    for _ in range(5):
        await selection._probe_outbound("node-1", flow("192.0.2.1"))
    assert not selection.health.is_unhealthy("node-1", trio.current_time())
