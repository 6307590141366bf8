"""Our client's carriers: many connections of programs in few connections to a server."""

import socket
import struct

import attrs
import pytest
import trio

from tests.kit.cut import start_cut
from tests.kit.exchanges import (
    check_address_is_kept,
    check_download,
    check_duplex,
    check_echo,
    check_full_cone,
    check_upload,
    exchange_datagram,
)
from tests.kit.names import IPV4_LOOPBACK
from tests.kit.nodes import (
    RunningNode,
    freedom,
    proxy_inbound,
    start_client_node,
    start_node,
    start_server_node,
)
from tests.kit.origin import (
    start_echo,
    start_silent,
    start_sink,
    start_source,
    start_tcp_origin,
    start_udp_echo,
)
from tests.kit.peer_specs import ClientSpec
from tests.kit.sockets import refused_port
from tests.kit.socks_client import (
    SocksError,
    open_socks_stream,
    open_socks_udp,
    read_on,
    receive_exactly,
)
from tests.kit.waiting import wait_until
from tests.loopback.test_garbage import ask, check_garbage
from trio_vmess import config
from trio_vmess.core import Network, parse_host
from trio_vmess.outbound import MuxOutbound

pytestmark = pytest.mark.limit(30)

SIZE = 3 << 20
ENDLESS = 256 << 20
MUX = ClientSpec(server_port=0, mux=True)


def spec_for(server: RunningNode) -> ClientSpec:
    return attrs.evolve(MUX, server_port=server.port)


def carrier_count(client: RunningNode) -> int:
    (outbound,) = client.node.outbounds
    assert isinstance(outbound, MuxOutbound)
    return outbound.carrier_count


async def test_everything_goes_both_ways() -> None:
    async with (
        start_echo() as echo,
        start_source(SIZE) as source,
        start_sink(size=SIZE) as sink,
        start_server_node() as server,
        start_client_node(spec_for(server)) as client,
    ):
        await check_echo(client.port, echo)
        await check_download(client.port, source, SIZE)
        await check_upload(client.port, sink, SIZE)
        await check_duplex(client.port, echo, SIZE)
        assert carrier_count(client) == 1


async def test_many_at_once_share_few_connections() -> None:
    async with (
        start_echo() as echo,
        start_server_node() as server,
        start_client_node(spec_for(server)) as client,
        trio.open_nursery() as nursery,
    ):
        streams = [await nursery.start(_hold, client.port, echo.host, echo.port) for _ in range(50)]
        assert carrier_count(client) == 7
        assert len(server.node.connections) == 50
        nursery.cancel_scope.cancel()
    assert len(streams) == 50


async def _hold(port: int, host: str, target: int, *, task_status: trio.TaskStatus[None]) -> None:
    async with await open_socks_stream(port, host, target) as stream:
        await stream.send_all(b"hello")
        assert await receive_exactly(stream, 5) == b"hello"
        task_status.started()
        await trio.sleep_forever()


async def test_a_destination_that_speaks_first_is_heard() -> None:
    async with (
        start_source(1000) as source,
        start_server_node() as server,
        start_client_node(spec_for(server)) as client,
    ):
        await check_download(client.port, source, 1000)


async def test_a_program_that_has_sent_all_still_gets_its_answer() -> None:
    async def answer(stream: trio.abc.HalfCloseableStream) -> None:
        await receive_exactly(stream, 8)
        await trio.sleep(0.05)
        await stream.send_all(b"answer")

    async with (
        start_tcp_origin(answer) as origin,
        start_server_node() as server,
        start_client_node(spec_for(server)) as client,
        await open_socks_stream(client.port, origin.host, origin.port) as stream,
    ):
        await stream.send_all(b"question")
        await stream.send_eof()
        assert await receive_exactly(stream, 6) == b"answer"
        assert await stream.receive_some(1) == b""


async def test_the_destinations_end_is_an_end() -> None:
    async def say_goodbye(stream: trio.abc.HalfCloseableStream) -> None:
        await stream.receive_some(1)
        await stream.send_all(b"bye")

    async with (
        start_tcp_origin(say_goodbye) as origin,
        start_server_node() as server,
        start_client_node(spec_for(server)) as client,
        await open_socks_stream(client.port, origin.host, origin.port) as stream,
    ):
        await stream.send_all(b"x")
        assert await receive_exactly(stream, 3) == b"bye"
        assert await stream.receive_some(1) == b""


async def test_a_reset_by_the_destination_reaches_the_program_and_no_other() -> None:
    async def reset(stream: trio.abc.HalfCloseableStream) -> None:
        await stream.receive_some(1)
        raw = stream._inner.socket  # type: ignore[attr-defined]
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with (
        start_tcp_origin(reset) as origin,
        start_echo() as echo,
        start_server_node() as server,
        start_client_node(spec_for(server)) as client,
        await open_socks_stream(client.port, echo.host, echo.port) as other,
        await open_socks_stream(client.port, origin.host, origin.port) as stream,
    ):
        await other.send_all(b"before")
        assert await receive_exactly(other, 6) == b"before"
        await stream.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some(1)
        await other.send_all(b"after")
        assert await receive_exactly(other, 5) == b"after"


async def test_a_destination_that_refuses_is_a_reset() -> None:
    async with (
        start_server_node() as server,
        start_client_node(spec_for(server)) as client,
        await open_socks_stream(client.port, IPV4_LOOPBACK, refused_port()) as stream,
    ):
        await stream.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some(1)


@pytest.mark.parametrize("is_reset", [True, False], ids=["reset", "closed"])
async def test_a_carrier_that_is_cut_resets_its_programs_and_is_not_used_again(
    is_reset: bool,
) -> None:
    async with (
        start_echo() as echo,
        start_silent() as silent,
        start_source(ENDLESS) as endless,
        start_server_node() as server,
        start_cut(server.port, is_reset=is_reset) as cut,
        start_client_node(attrs.evolve(MUX, server_port=cut.port)) as client,
    ):
        streams = [
            await open_socks_stream(client.port, origin.host, origin.port)
            for origin in (echo, silent, endless)
        ]
        for stream in streams:
            await stream.send_all(b"hello")
        await receive_exactly(streams[0], 5)
        await wait_until(lambda: len(server.node.connections) == 3)
        cut.now()
        for stream in streams:
            with pytest.raises(trio.BrokenResourceError):
                await read_on(stream)
            await stream.aclose()
        await wait_until(lambda: not client.node.connections)
        assert carrier_count(client) == 0
        await check_echo(client.port, echo)
        await wait_until(lambda: len(server.node.connections) <= 1)


async def test_a_server_that_cannot_be_reached_is_told_to_all_at_once() -> None:
    spec = attrs.evolve(MUX, server_port=refused_port())
    async with start_client_node(spec) as client, trio.open_nursery() as nursery:

        async def try_it() -> None:
            with pytest.raises(SocksError):
                await open_socks_stream(client.port, IPV4_LOOPBACK, 9)

        for _ in range(20):
            nursery.start_soon(try_it)


async def test_a_program_that_reads_nothing_does_not_stop_the_others() -> None:
    async with (
        start_echo() as echo,
        start_source(ENDLESS) as endless,
        start_server_node() as server,
        start_client_node(spec_for(server)) as client,
        await open_socks_stream(client.port, endless.host, endless.port) as stalled,
    ):
        await stalled.receive_some(1)
        await check_echo(client.port, echo)
        await check_duplex(client.port, echo, SIZE)


@pytest.mark.parametrize("mux", [False, True], ids=["xudp", "mux-xudp"])
async def test_one_socket_speaks_with_many_through_one_carrier(mux: bool) -> None:
    async with start_server_node() as server:
        spec = attrs.evolve(spec_for(server), packet_encoding="xudp", mux=mux)
        async with start_client_node(spec) as client:
            await check_full_cone(client.port)
            assert carrier_count(client) <= 1


async def test_a_socket_of_a_program_speaks_with_many_without_a_server() -> None:
    settings = config.Config(
        inbounds=(proxy_inbound(ClientSpec(server_port=0)),),
        outbounds=(freedom(allow_private=True),),
    )
    async with start_node(settings) as node:
        await check_full_cone(node.port)


async def test_datagrams_go_on_when_their_carrier_was_cut() -> None:
    async with (
        start_udp_echo() as echo,
        start_server_node() as server,
        start_cut(server.port) as cut,
        start_client_node(
            attrs.evolve(MUX, server_port=cut.port, packet_encoding="xudp", mux=False)
        ) as client,
        open_socks_udp(client.port) as association,
    ):
        await exchange_datagram(association, echo.host, echo.port, b"before")
        cut.now()
        await wait_until(lambda: not client.node.connections)
        await exchange_datagram(association, echo.host, echo.port, b"after")


@pytest.mark.parametrize("mux", [False, True], ids=["xudp", "mux-xudp"])
async def test_a_socket_keeps_its_address_when_its_carrier_was_cut(mux: bool) -> None:
    async with (
        start_server_node() as server,
        start_cut(server.port) as cut,
        start_client_node(
            attrs.evolve(MUX, server_port=cut.port, packet_encoding="xudp", mux=mux)
        ) as client,
    ):
        await check_address_is_kept(client, cut)


async def test_a_forwarded_socket_keeps_its_address_when_its_carrier_was_cut() -> None:
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        await peer.bind((IPV4_LOOPBACK, 0))
        door = config.DokodemoInboundSettings(
            target_address=parse_host(IPV4_LOOPBACK),
            target_port=peer.getsockname()[1],
            networks=(Network.TCP, Network.UDP),
        )
        async with (
            start_server_node() as server,
            start_cut(server.port) as cut,
            start_client_node(
                attrs.evolve(MUX, server_port=cut.port, packet_encoding="xudp"), proxy=door
            ) as client,
        ):
            with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as program:
                await program.connect((IPV4_LOOPBACK, client.port))
                addresses = set[object]()
                for _ in range(3):
                    await program.send(b"question")
                    _, address = await peer.recvfrom(99)
                    addresses.add(address)
                    await peer.sendto(b"answer", address)
                    assert await program.recv(99) == b"answer"
                    cut.now()
                    await wait_until(lambda: not client.node.connections)
                assert len(addresses) == 1


async def test_our_carriers_leave_no_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    # The server keeps a socket with a global id: the end of that is looked at, too.
    monkeypatch.setattr("trio_vmess.inbound.mux.association.KEEP_TIME", 0.1)
    async with (
        start_echo() as echo,
        start_udp_echo() as udp_echo,
        start_server_node() as server,
        start_cut(server.port) as cut,
        start_client_node(
            attrs.evolve(MUX, server_port=cut.port, packet_encoding="xudp")
        ) as client,
    ):

        async def attempt() -> None:
            await check_echo(client.port, echo)
            async with (
                await open_socks_stream(client.port, echo.host, echo.port) as stream,
                open_socks_udp(client.port) as association,
            ):
                await stream.send_all(b"hello")
                await exchange_datagram(association, udp_echo.host, udp_echo.port, b"hello")
                cut.now()
                with pytest.raises(trio.BrokenResourceError):
                    await read_on(stream)

        await check_garbage(attempt, client, server)


async def test_a_server_that_is_not_there_leaves_no_garbage() -> None:
    async with start_client_node(attrs.evolve(MUX, server_port=refused_port())) as client:
        await check_garbage(lambda: ask(client, 80), client)
