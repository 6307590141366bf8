"""The other implementations speak with each other through this suite's harness.

Nothing of this project's protocol code runs here. These tests show that the peers, origins and
SOCKS client the interop tests stand on do work, and that `CAPABILITIES` tells the truth: when an
interop test fails and these pass, look at our side.

By default a chosen part of the table is tried; with HYPOTHESIS_PROFILE=deep all of it.
"""

import os

import attrs
import pytest
import trio

from tests.kit.exchanges import (
    check_download,
    check_duplex,
    check_echo,
    check_udp_echo,
    check_upload,
    exchange_datagram,
)
from tests.kit.names import target_hosts
from tests.kit.origin import Origin, start_echo, start_sink, start_source, start_udp_echo
from tests.kit.peers import (
    PEERS,
    SING_BOX,
    V2RAY,
    XRAY,
    Cell,
    ClientSpec,
    DynamicPorts,
    PacketEncoding,
    Peer,
    ServerSpec,
    UnsupportedSpecError,
    meeting_cells,
    require,
)
from tests.kit.ports import free_port_range
from tests.kit.socks_client import (
    SocksError,
    open_socks4_stream,
    open_socks_stream,
    open_socks_udp,
    receive_exactly,
)

pytestmark = pytest.mark.limit(20)

SIZE = 1 << 20
OTHER_USER = "00000000-1111-2222-3333-444444444444"
EVERY_CELL = os.environ.get("HYPOTHESIS_PROFILE") == "deep"


def _chosen(cell: Cell, server: str) -> bool:
    """Return whether a cell is part of the quick run: GCM between all, the rest with its own."""
    if EVERY_CELL or (cell.security, cell.alter_id) == ("aes-128-gcm", 0):
        return EVERY_CELL or cell.options <= {"global_padding"}
    return cell.peer == server and cell.options <= {"global_padding"}


PAIRS = [
    pytest.param(cell, PEERS[server], id=f"{cell}-to-{server}")
    for client in PEERS
    for server in PEERS
    for cell in meeting_cells(client, server)
    if _chosen(cell, server)
]


UNREACHED = (SocksError, trio.BrokenResourceError, trio.TooSlowError)
"""How a client learns that its path leads nowhere: a close, a reset, or silence."""


async def _check_echo_soon(proxy_port: int, origin: Origin) -> None:
    with trio.fail_after(1):
        await check_echo(proxy_port, origin)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("cell", "server"), PAIRS)
async def test_client_reaches_origins_through_server(cell: Cell, server: Peer) -> None:
    client = PEERS[cell.peer]
    require(client, server)
    async with (
        start_echo("localhost") as echo,
        start_source(SIZE) as source,
        start_sink(size=SIZE) as sink,
        start_udp_echo() as udp_echo,
        server.start_server(ServerSpec(alter_id=cell.alter_id)) as running_server,
        client.start_client(cell.client_spec(running_server.port)) as running_client,
    ):
        proxy_port = running_client.port
        await check_echo(proxy_port, echo)
        await check_download(proxy_port, source, SIZE)
        await check_upload(proxy_port, sink, SIZE)
        await check_duplex(proxy_port, echo, SIZE)
        await check_udp_echo(proxy_port, udp_echo, (100, 1, 1400))
    assert not _is_running(running_server.pid)
    assert not _is_running(running_client.pid)


@pytest.mark.parametrize("host", target_hosts())
@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
async def test_each_form_of_target_is_reached(peer: Peer, host: str) -> None:
    require(peer)
    async with (
        start_echo(host) as echo,
        peer.start_server(ServerSpec()) as server,
        peer.start_client(ClientSpec(server_port=server.port)) as client,
    ):
        await check_echo(client.port, echo)
        if ":" in host:
            return
        async with await open_socks4_stream(client.port, host, echo.port) as stream:
            await stream.send_all(b"socks 4")
            assert await receive_exactly(stream, 7) == b"socks 4"


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
async def test_chain_passes_traffic_on(peer: Peer) -> None:
    require(peer)
    async with (
        start_echo() as echo,
        start_udp_echo() as udp_echo,
        peer.start_server(ServerSpec(user_id=OTHER_USER)) as last,
        peer.start_chain(
            ServerSpec(), ClientSpec(server_port=last.port, user_id=OTHER_USER)
        ) as middle,
        peer.start_client(ClientSpec(server_port=middle.port)) as client,
    ):
        await check_echo(client.port, echo)
        await check_udp_echo(client.port, udp_echo)


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
async def test_login_of_the_socks_inbound(peer: Peer) -> None:
    require(peer)
    async with (
        start_echo() as echo,
        peer.start_server(ServerSpec()) as server,
        peer.start_client(
            ClientSpec(server_port=server.port, proxy_login=("alice", "secret"))
        ) as client,
    ):
        async with await open_socks_stream(
            client.port, echo.host, echo.port, "alice", "secret"
        ) as stream:
            await stream.send_all(b"logged in")
            assert await receive_exactly(stream, 9) == b"logged in"
        with pytest.raises(SocksError):
            await open_socks_stream(client.port, echo.host, echo.port, "alice", "wrong")
        with pytest.raises(SocksError):
            await open_socks_stream(client.port, echo.host, echo.port)


@pytest.mark.parametrize("peer", [SING_BOX, XRAY], ids=str)
async def test_wrong_user_reaches_nothing(peer: Peer) -> None:
    """Without this, an exchange could pass by going around the server."""
    require(peer)
    async with (
        start_echo() as echo,
        SING_BOX.start_server(ServerSpec()) as server,
        peer.start_client(ClientSpec(server_port=server.port, user_id=OTHER_USER)) as client,
    ):
        with pytest.raises(UNREACHED):
            await _check_echo_soon(client.port, echo)
        assert echo.connection_count == 0


async def test_v2ray_client_with_alter_ids_sends_the_legacy_header() -> None:
    """A sing-box user without alter ids takes AEAD headers alone, and sing-box never drains."""
    require(V2RAY, SING_BOX)
    async with start_echo() as echo, SING_BOX.start_server(ServerSpec()) as server:
        async with V2RAY.start_client(ClientSpec(server_port=server.port)) as client:
            await check_echo(client.port, echo)
        reached = echo.connection_count
        async with V2RAY.start_client(ClientSpec(server_port=server.port, alter_id=4)) as client:
            with pytest.raises(UNREACHED):
                await _check_echo_soon(client.port, echo)
        assert echo.connection_count == reached


async def test_authenticated_length_is_really_sent() -> None:
    """V2Ray 4 reads the sealed size as a plain one and waits for the rest of a huge chunk."""
    require(V2RAY, SING_BOX)
    async with start_echo() as echo, V2RAY.start_server(ServerSpec()) as server:
        plain = ClientSpec(server_port=server.port, security="aes-128-gcm")
        async with SING_BOX.start_client(plain) as client:
            await check_echo(client.port, echo)
        received = echo.byte_count
        sealed = attrs.evolve(plain, authenticated_length=True)
        async with SING_BOX.start_client(sealed) as client:
            with pytest.raises(UNREACHED):
                await _check_echo_soon(client.port, echo)
        assert echo.byte_count == received


@pytest.mark.parametrize(
    ("peer", "encoding", "mux", "seen"),
    [
        (XRAY, "off", False, "received request for udp:127.0.0.1"),
        (XRAY, "xudp", False, "received request for tcp:v1.mux.cool"),
        (XRAY, "off", True, "received request for tcp:v1.mux.cool"),
        (V2RAY, "off", False, "received request for udp:127.0.0.1"),
        (V2RAY, "off", True, "received request for tcp:v1.mux.cool"),
        (SING_BOX, "off", False, "received request for udp:127.0.0.1"),
        (SING_BOX, "xudp", False, "received request for tcp:v1.mux.cool"),
    ],
)
async def test_udp_travels_as_the_spec_says(
    peer: Peer, encoding: PacketEncoding, mux: bool, seen: str
) -> None:
    require(peer, V2RAY)
    async with (
        start_udp_echo() as udp_echo,
        V2RAY.start_server(ServerSpec()) as server,
        peer.start_client(
            ClientSpec(server_port=server.port, packet_encoding=encoding, mux=mux)
        ) as client,
        open_socks_udp(client.port) as association,
    ):
        await exchange_datagram(association, udp_echo.host, udp_echo.port, b"how?")
        assert seen in server.log()


@pytest.mark.parametrize("alter_id", [0, 2])
async def test_v2ray_client_moves_to_dynamic_ports(alter_id: int) -> None:
    require(V2RAY)
    plan = DynamicPorts(ports=free_port_range(8), alter_id=alter_id)
    async with (
        start_echo() as echo,
        V2RAY.start_server(ServerSpec(dynamic_ports=plan)) as server,
        V2RAY.start_client(ClientSpec(server_port=server.port)) as client,
    ):
        for _ in range(4):
            await check_echo(client.port, echo)
        dialled = {
            port for port in plan.ports if f"dialing TCP to tcp:127.0.0.1:{port}\n" in client.log()
        }
        assert dialled
        assert f"dialing TCP to tcp:127.0.0.1:{server.port}\n" in client.log()


def test_a_spec_outside_the_table_is_refused() -> None:
    with pytest.raises(UnsupportedSpecError):
        V2RAY.start_client(ClientSpec(server_port=1, security="aes-128-cfb"))
    with pytest.raises(UnsupportedSpecError):
        V2RAY.start_client(ClientSpec(server_port=1, authenticated_length=True))
    with pytest.raises(UnsupportedSpecError):
        XRAY.start_server(ServerSpec(alter_id=1))
    with pytest.raises(UnsupportedSpecError):
        SING_BOX.start_server(ServerSpec(dynamic_ports=DynamicPorts(ports=range(1, 9))))


async def test_peers_leave_nothing_behind_after_a_failure() -> None:
    require(SING_BOX)
    pids = []

    async def fail() -> None:
        async with SING_BOX.start_server(ServerSpec()) as server:
            pids.append(server.pid)
            assert _is_running(server.pid)
            raise RuntimeError("the test's own")

    with pytest.raises(RuntimeError, match="the test's own"):
        await fail()
    assert [_is_running(pid) for pid in pids] == [False]


async def test_peers_leave_nothing_behind_after_a_cancellation() -> None:
    require(SING_BOX)
    with trio.CancelScope() as scope:
        async with SING_BOX.start_server(ServerSpec()) as server:
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert not _is_running(server.pid)
