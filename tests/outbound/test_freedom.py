"""The freedom outbound: direct connections, and addresses that remote users may not reach."""

import ipaddress
import socket

import attrs
import pytest
import trio
import trio.testing

from tests.kit.names import IPV6_LOOPBACK, has_ipv6_loopback
from tests.kit.origin import Origin, start_echo, start_udp_echo
from tests.kit.pattern import pattern
from tests.kit.remote_ends import RemoteEnd
from tests.kit.resolver import TableResolver
from tests.kit.sockets import refused_port
from trio_vmess.contracts import PacketLink
from trio_vmess.core import Destination, Network, parse_host
from trio_vmess.core.flow import Flow
from trio_vmess.errors import DialError, DialFailure
from trio_vmess.outbound import freedom
from trio_vmess.outbound.freedom import FreedomOutbound, SocketPacketLink
from trio_vmess.transport.udp import BATCH_COUNT

LOCAL = {"v4": "127.0.0.1", "v6": IPV6_LOOPBACK, "name": "localhost"}

everywhere = pytest.mark.parametrize("host", LOCAL.values(), ids=LOCAL)
both_networks = pytest.mark.parametrize("network", Network, ids=str)


def flow(host: str, port: int, *, network: Network = Network.TCP, is_remote: bool = False) -> Flow:
    destination = Destination(host=parse_host(host), port=port, network=network)
    return Flow(destination=destination, is_remote=is_remote)


async def check_stream(outbound: FreedomOutbound, what: Flow) -> None:
    side = (await outbound.connect(what)).remote
    end = RemoteEnd(side.transport)
    await end.send(b"hello")
    assert await end.receive_exactly(5) == b"hello"
    await side.transport.aclose()


async def receive(link: PacketLink, count: int) -> list[bytes]:
    datagrams: list[bytes] = []
    while len(datagrams) < count:
        datagrams += await link.receive()
    return datagrams


async def check_datagrams(outbound: FreedomOutbound, what: Flow) -> None:
    link = (await outbound.connect_packets(what)).remote
    await link.send([b"one", b"", pattern(1400)])
    assert await receive(link, 3) == [b"one", b"", pattern(1400)]
    await link.aclose()


def skip_without_ipv6(host: str) -> None:
    if host == IPV6_LOOPBACK and not has_ipv6_loopback():
        pytest.skip("there is no ::1 here")


# Permission -------------------------------------------------------------------------------------


@everywhere
async def test_streams_of_local_clients(host: str) -> None:
    skip_without_ipv6(host)
    async with start_echo(host) as origin:
        await check_stream(FreedomOutbound(tag="direct"), flow(host, origin.port))


@everywhere
async def test_datagrams_of_local_clients(host: str) -> None:
    skip_without_ipv6(host)
    async with start_udp_echo(host) as origin:
        what = flow(host, origin.port, network=Network.UDP)
        await check_datagrams(FreedomOutbound(tag="direct"), what)


@everywhere
@both_networks
async def test_remote_clients_do_not_reach_this_machine(host: str, network: Network) -> None:
    skip_without_ipv6(host)
    start = start_echo if network is Network.TCP else start_udp_echo
    async with start(host) as origin:
        outbound = FreedomOutbound(tag="direct")
        what = flow(host, origin.port, network=network, is_remote=True)
        connect = outbound.connect if network is Network.TCP else outbound.connect_packets
        with pytest.raises(
            DialError, match="remote users may not reach private or special addresses"
        ) as caught:
            await connect(what)
        assert caught.value.reason is DialFailure.FORBIDDEN
        assert origin.connection_count == 0


@both_networks
@pytest.mark.parametrize("address", ["10.0.0.1", "::ffff:127.0.0.1", "169.254.169.254"])
async def test_remote_clients_do_not_reach_this_machine_by_name(
    address: str, network: Network
) -> None:
    TableResolver({"innocent.example": [address]}).use()
    outbound = FreedomOutbound(tag="direct")
    connect = outbound.connect if network is Network.TCP else outbound.connect_packets
    with pytest.raises(DialError) as caught:
        await connect(flow("innocent.example", 80, network=network, is_remote=True))
    assert caught.value.reason is DialFailure.FORBIDDEN


@everywhere
async def test_allow_private_lets_remote_clients_reach_this_machine(host: str) -> None:
    skip_without_ipv6(host)
    outbound = FreedomOutbound(tag="direct", allow_private=True)
    async with start_echo(host) as origin:
        await check_stream(outbound, flow(host, origin.port, is_remote=True))
    async with start_udp_echo(host) as origin:
        what = flow(host, origin.port, network=Network.UDP, is_remote=True)
        await check_datagrams(outbound, what)


OWN = "8.8.4.4"
"""A public address that the tests below take for this machine's."""


@both_networks
@pytest.mark.parametrize("host", [OWN, "::ffff:8.8.4.4", "2002:808:404::1", "64:ff9b::808:404"])
async def test_own_public_addresses_are_as_private_as_loopback(
    host: str, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freedom, "is_own_address", ipaddress.ip_address(OWN).__eq__)
    TableResolver({"self.example": [host]}).use()
    outbound = FreedomOutbound(tag="direct")
    connect = outbound.connect if network is Network.TCP else outbound.connect_packets
    for spelling in (host, "self.example"):
        with pytest.raises(DialError, match="remote users may not reach") as caught:
            await connect(flow(spelling, 443, network=network, is_remote=True))
        assert caught.value.reason is DialFailure.FORBIDDEN


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "0x7f000001", "2130706433", "127.9.9.9", "0.0.0.0", "localhost"),
        *("::ffff:127.0.0.1", "::", "::1", "self.example"),
    ],
)
async def test_a_flow_does_not_come_back_to_its_inbound(host: str) -> None:
    TableResolver({"self.example": ["127.0.0.1"], "localhost": ["127.0.0.1"]}).use()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        outbound = FreedomOutbound(tag="direct")
        loop = attrs.evolve(flow(host, port), looping_port=port)
        with pytest.raises(DialError, match="the proxy's own address") as caught:
            await outbound.connect(loop)
        assert caught.value.reason is DialFailure.FORBIDDEN
        # Another service of this machine may be asked for.
        other = attrs.evolve(flow("127.0.0.1", port), looping_port=port - 1)
        await (await outbound.connect(other)).remote.transport.aclose()


# Targets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["host", "port", "both"])
async def test_redirection_replaces_host_and_port(what: str) -> None:
    async with start_echo() as origin, start_udp_echo() as datagrams:
        for network, place in ((Network.TCP, origin), (Network.UDP, datagrams)):
            outbound = FreedomOutbound(
                tag="direct",
                redirect_host=None if what == "port" else parse_host(place.host),
                redirect_port=None if what == "host" else place.port,
            )
            requested = flow(
                place.host if what == "port" else "nowhere.invalid",
                place.port if what == "host" else 9,
                network=network,
            )
            check = check_stream if network is Network.TCP else check_datagrams
            await check(outbound, requested)


async def test_redirected_addresses_need_permission_too() -> None:
    outbound = FreedomOutbound(tag="direct", redirect_host=parse_host("127.0.0.1"))
    with pytest.raises(DialError, match="remote users may not reach private or special addresses"):
        await outbound.connect(flow("example.com", 80, is_remote=True))


@both_networks
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_names_resolve_to_one_family_only(
    family: socket.AddressFamily, network: Network
) -> None:
    if family == socket.AF_INET6:
        skip_without_ipv6(IPV6_LOOPBACK)
    wanted, other = ("127.0.0.1", "::1") if family == socket.AF_INET else ("::1", "127.0.0.1")
    TableResolver({"both.example": [other, wanted], "other.example": [other]}).use()
    outbound = FreedomOutbound(tag="direct", family=family)
    start = start_echo if network is Network.TCP else start_udp_echo
    check = check_stream if network is Network.TCP else check_datagrams
    async with start(wanted) as origin:
        await check(outbound, flow("both.example", origin.port, network=network))
        with pytest.raises(DialError) as caught:
            await check(outbound, flow("other.example", origin.port, network=network))
        assert caught.value.reason is DialFailure.NAME_NOT_FOUND


async def test_the_local_address_is_used_for_streams_and_datagrams() -> None:
    local = ipaddress.IPv4Address("127.0.0.5")
    outbound = FreedomOutbound(tag="direct", local=local)
    async with start_echo() as origin:
        side = (await outbound.connect(flow(origin.host, origin.port))).remote
        assert side.transport.local is not None
        assert side.transport.local.host == local
        assert side.transport.local.port > 0
        await side.transport.aclose()
    async with start_udp_echo() as origin:
        link = (
            await outbound.connect_packets(flow(origin.host, origin.port, network=Network.UDP))
        ).remote
        assert isinstance(link, SocketPacketLink)
        assert link._datagrams.socket.getsockname()[0] == str(local)
        await link.aclose()


@both_networks
async def test_unreachable_destinations_have_a_reason(network: Network) -> None:
    TableResolver({"empty.example": []}).use()
    outbound = FreedomOutbound(tag="direct", local=ipaddress.IPv4Address("192.0.2.77"))
    connect = outbound.connect if network is Network.TCP else outbound.connect_packets
    for host, port, reason in (
        ("unknown.example", 80, DialFailure.NAME_NOT_FOUND),
        ("empty.example", 80, DialFailure.NAME_NOT_FOUND),
        ("127.0.0.1", 0, DialFailure.REFUSED),
        ("127.0.0.1", 9, DialFailure.NETWORK_UNREACHABLE),
    ):
        with pytest.raises(DialError) as caught:
            await connect(flow(host, port, network=network))
        assert caught.value.reason is reason
        assert host in str(caught.value)


async def test_running_out_of_descriptors_is_a_dial_error() -> None:
    """Running out of descriptors fails one flow, not the node."""
    resource = pytest.importorskip("resource")
    outbound = FreedomOutbound(tag="direct")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as probe:
        lowest = probe.fileno()
    TableResolver({"two.example": ["127.0.0.1", "127.0.0.2"]}).use()
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        for connect in (outbound.connect, outbound.connect_packets):
            for host in ("127.0.0.1", "two.example"):
                with pytest.raises(DialError, match="open files"):
                    await connect(flow(host, 9))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Datagrams --------------------------------------------------------------------------------------


async def open_link(origin: Origin) -> PacketLink:
    outbound = FreedomOutbound(tag="direct")
    target = flow(origin.host, origin.port, network=Network.UDP)
    return (await outbound.connect_packets(target)).remote


async def test_a_datagram_that_is_too_large_is_dropped() -> None:
    async with start_udp_echo() as origin:
        link = await open_link(origin)
        await link.send([b"before", bytes(66_000), b"after"])
        assert await receive(link, 2) == [b"before", b"after"]
        await link.aclose()


async def test_an_icmp_port_unreachable_does_not_end_the_link() -> None:
    outbound = FreedomOutbound(tag="direct")
    port = refused_port()
    link = (await outbound.connect_packets(flow("127.0.0.1", port, network=Network.UDP))).remote
    for _ in range(4):
        await link.send([b"is anybody there?"])
        with trio.move_on_after(0.002) as waiting:
            await link.receive()
        assert waiting.cancelled_caught
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
        late.bind(("127.0.0.1", port))
        late.setblocking(False)
        await link.send([b"now?"])
        await trio.lowlevel.wait_readable(late)
        data, source = late.recvfrom(100)
        assert data == b"now?"
        late.sendto(b"yes", source)
        assert await link.receive() == [b"yes"]
    await link.aclose()


async def test_datagrams_from_other_addresses_are_ignored() -> None:
    async with start_udp_echo() as origin:
        link = await open_link(origin)
        assert isinstance(link, SocketPacketLink)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"forged", link._datagrams.socket.getsockname())
        await link.send([b"real"])
        assert await link.receive() == [b"real"]
        await link.aclose()


async def test_many_datagrams_come_in_batches() -> None:
    async with start_udp_echo() as origin:
        link = await open_link(origin)
        sent = [number.to_bytes(4, "big") for number in range(3 * BATCH_COUNT)]
        await link.send(sent)
        await trio.testing.wait_all_tasks_blocked(0.01)
        received: list[bytes] = []
        while len(received) < len(sent):
            batch = await link.receive()
            assert 0 < len(batch) <= BATCH_COUNT
            received += batch
        assert received == sent
        await link.aclose()


async def test_closing_a_link_wakes_its_receiver() -> None:
    async with start_udp_echo() as origin:
        link = await open_link(origin)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def wait() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await link.receive()

            await trio.testing.wait_all_tasks_blocked()
            with trio.CancelScope() as scope:
                scope.cancel()
                await link.aclose()
        await link.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await link.receive()
        with pytest.raises(trio.BrokenResourceError):
            await link.send([b"x"])


def test_flows_are_local_by_default() -> None:
    assert attrs.fields(Flow).is_remote.default is False
