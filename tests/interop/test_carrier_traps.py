"""Where carriers break between programs although each of them works with itself."""

import logging
import os
import re
from typing import Final

import attrs
import pytest
import trio

from tests.kit.carriers import (
    EARLY_DATA,
    PATH,
    SERVER_NAME,
    TLS,
    WS,
    WS_TLS,
    CarrierSpec,
    Role,
)
from tests.kit.certificates import fingerprint_of, issue
from tests.kit.exchanges import check_download, check_duplex, check_echo
from tests.kit.node_carriers import node_stream
from tests.kit.nodes import start_client_node, start_server_node
from tests.kit.origin import Origin, start_echo, start_source, start_tcp_origin
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
from tests.kit.socks_client import SocksError, open_socks_stream, receive_exactly
from trio_vmess import config

pytestmark = pytest.mark.limit(30)

SIZE: Final = 3 << 20
DOWNLOADS: Final = 20

UNREACHED: Final = (SocksError, trio.BrokenResourceError, trio.TooSlowError)


async def _check_echo_soon(proxy_port: int, origin: Origin) -> None:
    with trio.fail_after(1):
        await check_echo(proxy_port, origin)


# Ends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("carrier", [WS, WS_TLS], ids=str)
@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
async def test_no_download_from_us_loses_its_end(peer: Peer, carrier: CarrierSpec) -> None:
    """V2Ray's client throws away what it has not delivered when a close frame comes."""
    require(peer)
    async with (
        start_source(SIZE) as source,
        start_server_node(ServerSpec(carrier=carrier)) as server,
        peer.start_client(ClientSpec(server_port=server.port, carrier=carrier)) as client,
    ):
        for _ in range(DOWNLOADS):
            await check_download(client.port, source, SIZE)


async def test_no_download_to_us_loses_its_end() -> None:
    """sing-box sends empty messages, and ends with close frames that may be cut in half."""
    require(SING_BOX)
    async with (
        start_source(SIZE) as source,
        SING_BOX.start_server(ServerSpec(carrier=WS)) as server,
        start_client_node(ClientSpec(server_port=server.port, carrier=WS)) as client,
    ):
        for _ in range(DOWNLOADS):
            await check_download(client.port, source, SIZE)


async def _send_a_part_and_wait(stream: trio.abc.HalfCloseableStream) -> None:
    await stream.send_all(bytes(SIZE))
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("peer", "carrier"),
    [
        (V2RAY, WS_TLS),
        (XRAY, WS_TLS),
        (V2RAY, TLS),
        (XRAY, CarrierSpec(network="httpupgrade", tls=True)),
        (V2RAY, CarrierSpec(network="h2", tls=True)),
        (SING_BOX, CarrierSpec(network="grpc", tls=True)),
    ],
    ids=str,
)
async def test_a_server_that_is_killed_cuts_the_transfer(peer: Peer, carrier: CarrierSpec) -> None:
    """The program must not take the part for the whole.

    sing-box's server never says when a body has ended, so only HTTP/2 and gRPC tell there.
    """
    require(peer)
    async with (
        start_source(SIZE) as source,
        start_tcp_origin(_send_a_part_and_wait) as origin,
        peer.start_server(ServerSpec(carrier=carrier)) as server,
        start_client_node(ClientSpec(server_port=server.port, carrier=carrier)) as client,
    ):
        # A whole answer shows that this server says when a body has ended.
        await check_download(client.port, source, SIZE)
        async with await open_socks_stream(client.port, origin.host, origin.port) as stream:
            await receive_exactly(stream, SIZE)
            await server.kill()
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()


# Early data ---------------------------------------------------------------------------------------


async def test_early_data_is_lost_at_a_server_that_does_not_know_it() -> None:
    """V2Ray 4 opens the tunnel, drops what came with the request, and waits."""
    require(V2RAY)
    early = attrs.evolve(WS, early_data=EARLY_DATA)
    async with (
        start_echo() as echo,
        V2RAY.start_server(ServerSpec(carrier=WS)) as server,
        start_client_node(
            ClientSpec(server_port=server.port), stream=node_stream(early, "client")
        ) as client,
    ):
        with pytest.raises(UNREACHED):
            await _check_echo_soon(client.port, echo)
        assert echo.connection_count == 0


async def test_early_data_that_does_not_fit_into_the_request() -> None:
    """The rest has to wait for the answer: see `AnswerFirst`."""
    require(XRAY, SING_BOX)
    carrier = attrs.evolve(WS, early_data=16)
    for peer in (XRAY, SING_BOX):
        async with (
            start_echo() as echo,
            peer.start_server(ServerSpec(carrier=carrier)) as server,
            start_client_node(ClientSpec(server_port=server.port, carrier=carrier)) as client,
        ):
            for _ in range(10):
                await check_duplex(client.port, echo, 100_000)


# Pings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
async def test_every_peer_answers_our_pings(peer: Peer) -> None:
    require(peer)
    ours = node_stream(attrs.evolve(WS, heartbeat=1), "server")
    async with (
        start_echo() as echo,
        start_server_node(ServerSpec(), stream=ours) as server,
        peer.start_client(ClientSpec(server_port=server.port, carrier=WS)) as client,
        await open_socks_stream(client.port, echo.host, echo.port) as stream,
    ):
        for message in (b"before", b"behind"):
            await stream.send_all(message)
            assert await receive_exactly(stream, 6) == message
            # Two pings fall into this pause.
            await trio.sleep(2.1)


# Who it is ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "carrier", "told"),
    [
        (V2RAY, WS, "404"),
        (XRAY, WS, "404"),
        (SING_BOX, WS, "404"),
        (XRAY, CarrierSpec(network="httpupgrade"), "closed the connection without an answer"),
        (SING_BOX, CarrierSpec(network="httpupgrade"), "404"),
    ],
    ids=str,
)
async def test_a_wrong_path_is_told(
    peer: Peer, carrier: CarrierSpec, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    require(peer)
    wrong = attrs.evolve(carrier, path="/elsewhere")
    with caplog.at_level(logging.INFO, logger="trio_vmess"):
        async with (
            start_echo() as echo,
            peer.start_server(ServerSpec(carrier=carrier)) as server,
            start_client_node(ClientSpec(server_port=server.port, carrier=wrong)) as client,
        ):
            with pytest.raises(UNREACHED):
                await _check_echo_soon(client.port, echo)
    assert told in caplog.text


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
async def test_a_peer_with_a_wrong_path_does_not_get_in(
    peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    require(peer)
    wrong = attrs.evolve(WS, path="/elsewhere")
    with caplog.at_level(logging.INFO, logger="trio_vmess"):
        async with (
            start_echo() as echo,
            start_server_node(ServerSpec(carrier=WS)) as server,
            peer.start_client(ClientSpec(server_port=server.port, carrier=wrong)) as client,
        ):
            with pytest.raises(UNREACHED):
                await _check_echo_soon(client.port, echo)
            assert echo.connection_count == 0
    assert re.search(rf"upgrade\.refused.*/elsewhere.*{PATH}", caplog.text)


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
async def test_our_client_checks_the_name(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    require(peer)
    stream = node_stream(TLS, "client")
    assert stream.tls is not None
    wrong = attrs.evolve(stream, tls=attrs.evolve(stream.tls, server_name="other.test.invalid"))
    with caplog.at_level(logging.INFO, logger="trio_vmess"):
        async with (
            start_echo() as echo,
            peer.start_server(ServerSpec(carrier=TLS)) as server,
            start_client_node(ClientSpec(server_port=server.port), stream=wrong) as client,
        ):
            with pytest.raises(UNREACHED):
                await _check_echo_soon(client.port, echo)
            assert echo.connection_count == 0
    assert "other.test.invalid" in caplog.text
    assert SERVER_NAME in caplog.text


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
async def test_our_client_takes_a_pinned_certificate(peer: Peer) -> None:
    """Whatever its name is, and whoever has signed it."""
    require(peer)
    tls = config.TlsSettings(
        server_name="other.test.invalid", pinned_certificates=(fingerprint_of(issue(SERVER_NAME)),)
    )
    async with (
        start_echo() as echo,
        peer.start_server(ServerSpec(carrier=TLS)) as server,
        start_client_node(
            ClientSpec(server_port=server.port), stream=config.StreamSettings(tls=tls)
        ) as client,
    ):
        await check_echo(client.port, echo)


@pytest.mark.parametrize("carrier", [TLS, WS_TLS], ids=str)
@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
async def test_tls_1_2(peer: Peer, role: Role, carrier: CarrierSpec) -> None:
    require(peer)
    stream = node_stream(carrier, "server" if role == "client" else "client")
    assert stream.tls is not None
    old = attrs.evolve(stream, tls=attrs.evolve(stream.tls, max_version=config.TlsVersion.TLS_1_2))
    async with start_source(SIZE) as source, start_echo() as echo:
        if role == "client":
            async with (
                start_server_node(stream=old) as node,
                peer.start_client(ClientSpec(server_port=node.port, carrier=carrier)) as client,
            ):
                await check_download(client.port, source, SIZE)
                await check_duplex(client.port, echo, SIZE)
            return
        async with (
            peer.start_server(ServerSpec(carrier=carrier)) as server,
            start_client_node(ClientSpec(server_port=server.port), stream=old) as client,
        ):
            await check_download(client.port, source, SIZE)
            await check_duplex(client.port, echo, SIZE)


# Unix sockets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["@trio-vmess-{}", "@@trio-vmess-{}"])
async def test_abstract_names_mean_the_same_to_v2ray(name: str) -> None:
    """With `@@`, NUL bytes fill the name, as haproxy does it; it is another name then."""
    require(V2RAY)
    carrier = CarrierSpec(unix=name.format(os.getpid()))
    async with start_echo() as echo:
        async with (
            start_server_node(ServerSpec(carrier=carrier)),
            V2RAY.start_client(ClientSpec(server_port=1, carrier=carrier)) as client,
        ):
            await check_echo(client.port, echo)
        async with (
            V2RAY.start_server(ServerSpec(carrier=carrier)),
            start_client_node(ClientSpec(server_port=1, carrier=carrier)) as client,
        ):
            await check_echo(client.port, echo)
