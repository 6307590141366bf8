"""Carriers of Mux.Cool at a whole node, with real sockets."""

import socket
import struct
from collections.abc import Sequence

import attrs
import pytest
import trio

from tests.kit.mux_client import MuxCaller, open_carrier
from tests.kit.names import IPV4_LOOPBACK
from tests.kit.nodes import DYNAMIC_TAG, freedom, start_node, start_server_node, vmess_inbounds
from tests.kit.origin import Origin, start_echo, start_silent, start_source, start_tcp_origin
from tests.kit.pattern import pattern
from tests.kit.peer_specs import ServerSpec
from tests.kit.ports import free_port_range
from tests.kit.sockets import refused_port
from tests.kit.waiting import wait_until
from tests.loopback.test_garbage import check_garbage
from trio_vmess import config
from trio_vmess.core import Destination, Network, parse_host
from trio_vmess.core.mux import XUDP_SESSION, End, Keep
from trio_vmess.core.sniff import SniffingSettings

pytestmark = pytest.mark.limit(20)


def at(origin: Origin) -> Destination:
    return Destination(host=parse_host(origin.host), port=origin.port)


def udp(port: int) -> Destination:
    return Destination(host=parse_host(IPV4_LOOPBACK), port=port, network=Network.UDP)


async def test_a_reset_by_the_destination_is_an_end_with_an_error() -> None:
    async def reset(stream: trio.abc.HalfCloseableStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"so far")
        raw = stream._inner.socket  # type: ignore[attr-defined]
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with (
        start_tcp_origin(reset) as origin,
        start_server_node() as node,
        open_carrier(node.port) as client,
    ):
        number = await client.open(at(origin), b"hello")
        frames = [await client.receive()]
        if isinstance(frames[0], Keep):
            frames.append(await client.receive())
        assert frames[-1] == End(number, is_error=True)


async def test_a_destination_that_refuses_is_an_end_with_an_error() -> None:
    async with start_server_node() as node, open_carrier(node.port) as client:
        host = parse_host(IPV4_LOOPBACK)
        number = await client.open(Destination(host=host, port=refused_port()), b"hello")
        assert await client.receive() == End(number, is_error=True)


async def test_a_carrier_that_is_killed_ends_everything_at_once() -> None:
    async with (
        start_silent() as silent,
        start_source(64 << 20) as source,
        start_server_node() as node,
    ):
        for seed in range(3):
            async with open_carrier(node.port, seed=seed) as client:
                for _ in range(20):
                    await client.open(at(silent), bytes(5000))
                    await client.open(at(source))
                await wait_until(lambda: len(node.node.connections) == 40)
            await wait_until(lambda: not node.node.connections)


async def test_stalled_downloads_do_not_stop_an_upload() -> None:
    async with (
        start_source(64 << 20) as source,
        start_echo() as echo,
        start_server_node() as node,
        open_carrier(node.port) as client,
    ):
        number = await client.open(at(echo))
        await client.send(number, b"ready")
        assert await client.receive() == Keep(number, b"ready")
        for _ in range(5):
            await client.open(at(source))
        await wait_until(lambda: len(node.node.connections) == 6)
        await client.send(number, pattern(100_000))
        received = 0
        while received < 100_000:
            frame = await client.receive()
            if isinstance(frame, Keep) and frame.session_id == number:
                received += len(frame.data or b"")


async def test_a_peer_that_was_never_written_to_is_heard() -> None:
    async with start_server_node() as node, open_carrier(node.port) as client:
        with (
            trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked,
            trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
        ):
            for sock in (asked, stranger):
                await sock.bind((IPV4_LOOPBACK, 0))
            first, other = (udp(sock.getsockname()[1]) for sock in (asked, stranger))
            client.mux.open(first, session_id=XUDP_SESSION, data=b"where am I?")
            await client.flush()
            data, address = await asked.recvfrom(99)
            assert data == b"where am I?"
            await stranger.sendto(b"here", address)
            assert await client.receive() == Keep(XUDP_SESSION, b"here", other)
            await client.send_datagram(XUDP_SESSION, b"thanks", other)
            assert await stranger.recvfrom(99) == (b"thanks", address)
            await asked.sendto(b"there", address)
            assert await client.receive() == Keep(XUDP_SESSION, b"there", first)


async def addresses_of(carriers: Sequence[tuple[int, bytes]]) -> list[object]:
    """Ask by a carrier for each port and global id; return what address each question had."""
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        await sock.bind((IPV4_LOOPBACK, 0))
        destination = udp(sock.getsockname()[1])
        addresses = list[object]()
        for seed, (port, global_id) in enumerate(carriers):
            async with open_carrier(port, seed=seed) as client:
                client.mux.open(
                    destination, session_id=XUDP_SESSION, data=b"q", global_id=global_id
                )
                await client.flush()
                _, address = await sock.recvfrom(99)
                addresses.append(address)
                await sock.sendto(b"answer", address)
                assert await client.receive() == Keep(XUDP_SESSION, b"answer", destination)
        return addresses


async def test_a_global_id_keeps_the_address() -> None:
    async with start_server_node() as node:
        first, again, other = await addresses_of(
            [(node.port, each) for each in (b"12345678", b"12345678", b"87654321")]
        )
        assert first == again != other


async def test_a_global_id_keeps_the_address_at_another_dynamic_port() -> None:
    (inbound,) = vmess_inbounds(ServerSpec())
    ports = free_port_range(12)
    random_ports = attrs.evolve(
        inbound,
        tag=DYNAMIC_TAG,
        port=config.PortRange(ports[0], ports[-1]),
        allocate=config.AllocateSettings(
            strategy=config.AllocateStrategy.RANDOM, concurrency=2, refresh=5
        ),
    )
    settings = config.Config(inbounds=(random_ports, inbound), outbounds=(freedom(),))
    async with start_node(settings) as node:
        one, other = node.dynamic_ports
        elsewhere = int(node.node.listening[-1].address.rpartition(":")[2])
        first, again, apart = await addresses_of(
            [(port, b"12345678") for port in (one, other, elsewhere)]
        )
        assert first == again != apart


async def test_each_sub_connection_is_sniffed_and_routed_by_itself() -> None:
    (inbound,) = vmess_inbounds(ServerSpec())
    blocked = config.OutboundSettings(tag="blocked", protocol=config.BlackholeOutboundSettings())
    rules = (config.RuleSettings(domains=("full:ads.example",), outbound_tag="blocked"),)
    settings = config.Config(
        inbounds=(
            attrs.evolve(
                inbound, sniffing=SniffingSettings(dest_override=("http",), route_only=True)
            ),
        ),
        outbounds=(freedom(), blocked),
        routing=config.RoutingSettings(rules=rules),
    )
    head = b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n"
    async with (
        start_echo() as echo,
        start_node(settings) as node,
        open_carrier(node.port) as client,
    ):
        ads = await client.open(at(echo), head % b"ads.example")
        assert await client.receive() == End(ads)
        news = await client.open(at(echo), head % b"news.example")
        assert await client.receive() == Keep(news, head % b"news.example")
        assert echo.connection_count == 1


async def test_carriers_leave_no_garbage() -> None:
    seeds = iter(range(1000))
    async with start_echo() as echo, start_server_node() as node:

        async def use(client: MuxCaller) -> None:
            number = await client.open(at(echo), b"hello")
            assert await client.receive() == Keep(number, b"hello")
            await client.open(udp(echo.port), b"nobody is there")
            client.mux.open(udp(echo.port), session_id=XUDP_SESSION, data=b"q")
            await client.flush()
            await wait_until(lambda: len(node.node.connections) == 3)

        async def cut() -> None:
            async with open_carrier(node.port, seed=next(seeds)) as client:
                await use(client)

        async def break_the_protocol() -> None:
            async with open_carrier(node.port, seed=next(seeds)) as client:
                await use(client)
                await client.transport.send_all(bytes(8))
                while await client.receive() is not None:
                    pass

        async def end() -> None:
            async with open_carrier(node.port, seed=next(seeds)) as client:
                await use(client)
                for number in client.mux.open_sessions:
                    await client.end(number)
                await client.transport.send_eof()
                while await client.receive() is not None:
                    pass

        for attempt in (cut, break_the_protocol, end):
            await check_garbage(attempt, node)
