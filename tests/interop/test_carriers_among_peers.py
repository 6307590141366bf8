"""The peers reach each other over every carrier that two of them have: nothing of ours runs here.

When a test of `test_carriers` fails and its counterparts here pass, look at our side.

By default each client meets one server per carrier; with HYPOTHESIS_PROFILE=deep, all of them.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
import trio

from tests.kit.carriers import (
    CARRIERS,
    EARLY_DATA_HEADER,
    CarrierSpec,
    Network,
    can_meet,
    has_carrier,
)
from tests.kit.exchanges import (
    check_download,
    check_duplex,
    check_echo,
    check_udp_echo,
    check_upload,
)
from tests.kit.origin import (
    start_echo,
    start_sink,
    start_source,
    start_tcp_origin,
    start_udp_echo,
)
from tests.kit.peers import (
    PEERS,
    SING_BOX,
    V2RAY,
    XRAY,
    ClientSpec,
    Peer,
    ServerSpec,
    UnsupportedSpecError,
    require,
)
from tests.kit.socks_client import open_socks_stream

pytestmark = pytest.mark.limit(20)

SIZE: Final = 1 << 20
SECURITY: Final = "aes-128-gcm"
"""Over TLS, sing-box takes `auto` for `zero`, which Xray has dropped."""

EVERY_PAIR: Final = os.environ.get("HYPOTHESIS_PROFILE") == "deep"

FIRST_BYTES: Final[Mapping[Network, bytes]] = {
    "tcp-http": b"GET /tunnel HTTP/1.1\r\n",
    "ws": b"GET /tunnel",
    "httpupgrade": b"GET /tunnel HTTP/1.1\r\n",
    "h2": b"PRI * HTTP/2.0\r\n",
    "grpc": b"PRI * HTTP/2.0\r\n",
}
TLS_HANDSHAKE: Final = b"\x16\x03"


def _pairs() -> list[object]:
    names = tuple(PEERS)
    pairs: list[object] = []
    for carrier in CARRIERS:
        for index, client in enumerate(names):
            # The client's own server comes last: two different programs say more.
            servers = (*names[index + 1 :], *names[: index + 1])
            able = [server for server in servers if can_meet(client, server, carrier)]
            pairs += [
                pytest.param(
                    PEERS[client], PEERS[server], carrier, id=f"{client}-to-{server}-{carrier}"
                )
                for server in (able if EVERY_PAIR else able[:1])
            ]
    return pairs


@pytest.mark.parametrize(("client", "server", "carrier"), _pairs())
async def test_peers_meet(client: Peer, server: Peer, carrier: CarrierSpec) -> None:
    require(client, server)
    async with (
        start_echo() as echo,
        start_source(SIZE) as source,
        start_sink(size=SIZE) as sink,
        start_udp_echo() as udp_echo,
        server.start_server(ServerSpec(carrier=carrier)) as running_server,
        client.start_client(
            ClientSpec(server_port=running_server.port, carrier=carrier, security=SECURITY)
        ) as running_client,
    ):
        port = running_client.port
        await check_echo(port, echo)
        await check_duplex(port, echo, SIZE)
        await check_upload(port, sink, SIZE)
        await check_udp_echo(port, udp_echo)
        if carrier.network != "ws" or server is not SING_BOX:
            # sing-box ends a WebSocket with a close frame, which V2Ray and Xray take for an error:
            # they throw away what they have not delivered yet.
            await check_download(port, source, SIZE)


@pytest.mark.parametrize("tls", [False, True], ids=["bare", "tls"])
async def test_v2ray_meets_itself_on_a_unix_socket(tls: bool, tmp_path: Path) -> None:
    require(V2RAY)
    carrier = CarrierSpec(tls=tls, unix=str(tmp_path / "vmess.sock"))
    async with (
        start_echo() as echo,
        V2RAY.start_server(ServerSpec(carrier=carrier)),
        V2RAY.start_client(ClientSpec(server_port=1, carrier=carrier)) as client,
    ):
        await check_echo(client.port, echo)
        await check_duplex(client.port, echo, SIZE)


@pytest.mark.parametrize(
    ("client", "carrier"),
    [
        pytest.param(PEERS[name], carrier, id=f"{name}-{carrier}")
        for name in PEERS
        for carrier in CARRIERS
        if has_carrier(name, "client", carrier)
    ],
)
async def test_a_client_really_speaks_it(client: Peer, carrier: CarrierSpec) -> None:
    """Without this, two peers that both ignore a setting would meet, too."""
    require(client)
    heads: list[bytes] = []
    arrived = trio.Event()

    async def note(stream: trio.abc.HalfCloseableStream) -> None:
        heads.append(bytes(await stream.receive_some(4096)))
        arrived.set()
        await trio.sleep_forever()

    async def ask(proxy_port: int) -> None:
        # sing-box first connects, and then answers.
        async with await open_socks_stream(proxy_port, "127.0.0.1", 1) as stream:
            await stream.send_all(b"anything")
            await trio.sleep_forever()

    async with (
        start_tcp_origin(note) as server,
        client.start_client(ClientSpec(server_port=server.port, carrier=carrier)) as proxy,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(ask, proxy.port)
        await arrived.wait()
        nursery.cancel_scope.cancel()
    first = TLS_HANDSHAKE if carrier.tls else FIRST_BYTES[carrier.network]
    assert heads[0].startswith(first)
    if carrier.early_data and not carrier.tls:
        head, _, _ = heads[0].partition(b"\r\n\r\n")
        request, *lines = head.decode().splitlines()
        names = [line.partition(":")[0] for line in lines]
        is_behind_path = len(request.split()[1]) > len(carrier.path)
        assert is_behind_path is (carrier.early_data_header == "")
        assert is_behind_path is (EARLY_DATA_HEADER not in names)


def test_a_carrier_that_a_peer_does_not_have_is_refused() -> None:
    with pytest.raises(UnsupportedSpecError):
        V2RAY.start_client(ClientSpec(server_port=1, carrier=CarrierSpec(network="grpc")))
    with pytest.raises(UnsupportedSpecError):
        XRAY.start_server(ServerSpec(carrier=CarrierSpec(network="h2", tls=True)))
    with pytest.raises(UnsupportedSpecError):
        SING_BOX.start_server(ServerSpec(carrier=CarrierSpec(unix="never.sock")))
    with pytest.raises(UnsupportedSpecError):
        SING_BOX.start_client(ClientSpec(server_port=1, carrier=CarrierSpec(network="h2")))
