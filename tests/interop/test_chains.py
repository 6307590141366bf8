"""Chains in which this project and other implementations take turns, and what must not pass."""

import attrs
import pytest
import trio

from tests.kit.exchanges import (
    check_download,
    check_duplex,
    check_echo,
    check_udp_echo,
    check_upload,
)
from tests.kit.names import LOCALHOST, target_hosts
from tests.kit.nodes import start_chain_node, start_client_node, start_server_node
from tests.kit.origin import Origin, start_echo, start_sink, start_source, start_udp_echo
from tests.kit.peers import (
    PEERS,
    SING_BOX,
    V2RAY,
    XRAY,
    ClientSpec,
    Peer,
    ServerSpec,
    require,
)
from tests.kit.socks_client import SocksError

pytestmark = pytest.mark.limit(20)

SIZE = 1 << 20
OTHER_USER = "00000000-1111-2222-3333-444444444444"

UNREACHED = (SocksError, trio.BrokenResourceError, trio.TooSlowError)
"""How a client learns that its path leads nowhere: a close, a reset, or silence."""


async def _check_all(proxy_port: int) -> None:
    async with (
        start_echo(LOCALHOST) as echo,
        start_source(SIZE) as source,
        start_sink(size=SIZE) as sink,
        start_udp_echo() as udp_echo,
    ):
        for host in target_hosts():
            await check_echo(proxy_port, echo, host)
        await check_download(proxy_port, source, SIZE)
        await check_upload(proxy_port, sink, SIZE)
        await check_duplex(proxy_port, echo, SIZE)
        await check_udp_echo(proxy_port, udp_echo, (1, 100, 1400))


async def _check_echo_soon(proxy_port: int, origin: Origin) -> None:
    with trio.fail_after(0.5):
        await check_echo(proxy_port, origin)


# Chains -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
async def test_a_peer_between_two_of_our_nodes(peer: Peer) -> None:
    require(peer)
    async with (
        start_server_node(ServerSpec(user_id=OTHER_USER)) as server,
        peer.start_chain(
            ServerSpec(), ClientSpec(server_port=server.port, user_id=OTHER_USER)
        ) as middle,
        start_client_node(ClientSpec(server_port=middle.port)) as client,
    ):
        await _check_all(client.port)


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
async def test_our_node_between_two_peers(peer: Peer) -> None:
    require(peer)
    async with (
        peer.start_server(ServerSpec(user_id=OTHER_USER)) as server,
        start_chain_node(
            ServerSpec(), ClientSpec(server_port=server.port, user_id=OTHER_USER)
        ) as middle,
        peer.start_client(ClientSpec(server_port=middle.port)) as client,
    ):
        await _check_all(client.port)


async def test_everybody_in_one_chain() -> None:
    """sing-box, our node, V2Ray with legacy headers, our node, Xray, with a cipher each.

    Xray is not used as a client here: version 26 sends the chunk that ends the request when the
    program sends nothing for 100 ms, as when it waits for the server to speak first. V2Ray in the
    middle takes that for the end of the request, and chains without this project break in the same
    way. See Xray-core issue 6176.
    """
    require(*PEERS.values())
    async with (
        XRAY.start_server(ServerSpec()) as last,
        start_chain_node(
            ServerSpec(alter_id=4),
            ClientSpec(server_port=last.port, authenticated_length=True),
        ) as fourth,
        V2RAY.start_chain(
            ServerSpec(alter_id=4),
            ClientSpec(server_port=fourth.port, alter_id=4, security="chacha20-poly1305"),
        ) as third,
        start_chain_node(
            ServerSpec(alter_id=1),
            ClientSpec(server_port=third.port, alter_id=4, security="aes-128-cfb"),
        ) as second,
        SING_BOX.start_client(
            ClientSpec(server_port=second.port, alter_id=1, security="none")
        ) as client,
    ):
        await _check_all(client.port)


# What the matrix stands on ------------------------------------------------------------------------


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
async def test_a_peer_with_a_wrong_user_reaches_nothing(peer: Peer) -> None:
    """Without this, a peer could pass by going around our server."""
    require(peer)
    async with start_echo() as echo, start_server_node() as server:
        spec = ClientSpec(server_port=server.port, user_id=OTHER_USER)
        async with peer.start_client(spec) as client:
            with pytest.raises(UNREACHED):
                await _check_echo_soon(client.port, echo)
        assert echo.connection_count == 0


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
async def test_our_client_with_a_wrong_user_reaches_nothing(peer: Peer) -> None:
    require(peer)
    async with start_echo() as echo, peer.start_server(ServerSpec()) as server:
        spec = ClientSpec(server_port=server.port, user_id=OTHER_USER)
        async with start_client_node(spec) as client:
            with pytest.raises(UNREACHED):
                await _check_echo_soon(client.port, echo)
        assert echo.connection_count == 0


@pytest.mark.parametrize("security", ["none", "zero", "aes-128-cfb"])
async def test_our_client_really_sends_the_cipher(security: str) -> None:
    """Xray's server has dropped these: were they another one under their name, it would answer."""
    require(XRAY)
    async with start_echo() as echo, XRAY.start_server(ServerSpec()) as server:
        async with start_client_node(
            ClientSpec(server_port=server.port, security=security)
        ) as client:
            with pytest.raises(UNREACHED):
                await _check_echo_soon(client.port, echo)
        assert echo.connection_count == 0


async def test_our_client_really_seals_the_sizes() -> None:
    """V2Ray 4 reads the sealed size as a plain one and waits for the rest of a huge chunk."""
    require(V2RAY)
    async with start_echo() as echo, V2RAY.start_server(ServerSpec()) as server:
        spec = ClientSpec(server_port=server.port, security="aes-128-gcm")
        async with start_client_node(spec) as client:
            await check_echo(client.port, echo)
        received = echo.byte_count
        async with start_client_node(attrs.evolve(spec, authenticated_length=True)) as client:
            with pytest.raises(UNREACHED):
                await _check_echo_soon(client.port, echo)
        assert echo.byte_count == received


async def test_our_client_really_sends_the_legacy_header() -> None:
    """A sing-box user without alter ids takes AEAD headers alone."""
    require(SING_BOX)
    async with start_echo() as echo, SING_BOX.start_server(ServerSpec()) as server:
        spec = ClientSpec(server_port=server.port)
        async with start_client_node(spec) as client:
            await check_echo(client.port, echo)
        reached = echo.connection_count
        async with start_client_node(attrs.evolve(spec, alter_id=4)) as client:
            with pytest.raises(UNREACHED):
                await _check_echo_soon(client.port, echo)
        assert echo.connection_count == reached


async def test_our_server_tells_the_headers_apart() -> None:
    """A user without alter ids is not served by legacy headers; one with them, by both forms."""
    require(V2RAY)
    async with start_echo() as echo, start_server_node() as server:
        async with V2RAY.start_client(ClientSpec(server_port=server.port, alter_id=4)) as client:
            with pytest.raises(UNREACHED):
                await _check_echo_soon(client.port, echo)
        assert echo.connection_count == 0
    async with start_echo() as echo, start_server_node(ServerSpec(alter_id=4)) as server:
        for alter_id in (0, 1, 4):
            async with V2RAY.start_client(
                ClientSpec(server_port=server.port, alter_id=alter_id)
            ) as client:
                await check_echo(client.port, echo)
