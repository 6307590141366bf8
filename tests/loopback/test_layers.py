"""VMess over every transport between two nodes of this project."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest

from tests.kit.certificates import write_certificate
from tests.kit.exchanges import check_all, check_full_cone
from tests.kit.nodes import (
    freedom,
    start_client_node,
    start_node,
    start_server_node,
    vmess_inbounds,
)
from tests.kit.peer_specs import ClientSpec, PacketEncoding, ServerSpec
from trio_vmess.config import (
    CarrierSettings,
    CertificateSettings,
    Config,
    GrpcSettings,
    Http2Settings,
    HttpHeaderSettings,
    HttpUpgradeSettings,
    SocketSettings,
    StreamSettings,
    TcpSettings,
    TlsSettings,
    UnixSocket,
    WebSocketSettings,
)

NAME = "server.example"


def tls_pair(folder) -> tuple[TlsSettings, TlsSettings]:
    """Return the settings of a server and of a client that knows it."""
    files = write_certificate(folder, NAME)
    own = CertificateSettings(certificate_file=str(files.certificate), key_file=str(files.key))
    root = CertificateSettings(certificate_file=str(files.root))
    return (
        TlsSettings(certificates=(own,)),
        TlsSettings(server_name=NAME, roots=(root,), disable_system_root=True),
    )


WEB_SOCKET = WebSocketSettings(path="/tunnel", host=NAME)
CARRIERS = {
    "tcp": TcpSettings(),
    "camouflage": TcpSettings(header=HttpHeaderSettings()),
    "ws": WEB_SOCKET,
    "ws with early data": attrs.evolve(WEB_SOCKET, max_early_data=2048),
    "ws with early data in the path": attrs.evolve(
        WEB_SOCKET, max_early_data=100, early_data_header=""
    ),
    "ws with heartbeat": attrs.evolve(WEB_SOCKET, heartbeat=0.02),
    "httpupgrade": HttpUpgradeSettings(path="/tunnel"),
    "eager httpupgrade": HttpUpgradeSettings(path="/tunnel", is_eager=True),
    "h2": Http2Settings(hosts=(NAME,), path="/tunnel"),
    "grpc": GrpcSettings(service_name="GunService"),
    "grpc in many parts": GrpcSettings(service_name="GunService", is_multi=True),
    "httpupgrade with early data": HttpUpgradeSettings(path="/tunnel", max_early_data=2048),
}


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)
async def test_everything_goes_through(tmp_path, carrier, is_secure: bool) -> None:
    streams = stream_pair(tmp_path, carrier, is_secure=is_secure)
    async with started(*streams) as proxy_port:
        await check_all(proxy_port)


@pytest.mark.parametrize("packet_encoding", ["xudp", "packetaddr"])
@pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)
async def test_datagrams_to_many_share_a_connection(
    tmp_path, carrier, packet_encoding: PacketEncoding
) -> None:
    streams = stream_pair(tmp_path, carrier, is_secure=True)
    async with started(*streams, packet_encoding=packet_encoding) as proxy_port:
        await check_full_cone(proxy_port)


@pytest.mark.parametrize("security", ["none", "zero"])
@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
async def test_securities_without_a_cipher(tmp_path, security: str, is_secure: bool) -> None:
    streams = stream_pair(tmp_path, TcpSettings(), is_secure=is_secure)
    async with started(*streams, security=security) as proxy_port:
        await check_all(proxy_port)


@pytest.mark.parametrize("name", ["path", "@", "@@"])
@pytest.mark.parametrize("carrier", ["tcp", "ws", "grpc"])
async def test_everything_goes_through_a_unix_socket(tmp_path, name: str, carrier: str) -> None:
    path = str(tmp_path / "vmess.sock") if name == "path" else f"{name}trio-vmess-{os.getpid()}"
    is_secure = carrier != "tcp"
    for_server, for_client = stream_pair(tmp_path, CARRIERS[carrier], is_secure=is_secure)
    (inbound,) = vmess_inbounds(ServerSpec(), unix_socket=path, stream=for_server)
    if name == "path":
        inbound = attrs.evolve(inbound, listen=UnixSocket(path, mode=0o600))
    settings = Config(inbounds=(inbound,), outbounds=(freedom(),))
    to_socket = attrs.evolve(for_client, unix=UnixSocket(path))
    async with (
        start_node(settings) as server,
        start_client_node(ClientSpec(server_port=1), stream=to_socket) as client,
    ):
        assert [each.address for each in server.node.listening] == [path]
        await check_all(client.port)


async def test_everything_goes_through_sockets_with_options(tmp_path) -> None:
    options = SocketSettings(tcp_fast_open=True, keepalive_idle=60, user_timeout=20)
    stream = StreamSettings(socket=options)
    async with started(stream, stream) as proxy_port:
        await check_all(proxy_port)


def stream_pair(
    folder, carrier: CarrierSettings, *, is_secure: bool
) -> tuple[StreamSettings, StreamSettings]:
    """Return the settings of a server and of a client that knows it."""
    if not is_secure:
        return StreamSettings(carrier=carrier), StreamSettings(carrier=carrier)
    for_server, for_client = tls_pair(folder)
    return (
        StreamSettings(carrier=carrier, tls=for_server),
        StreamSettings(carrier=carrier, tls=for_client),
    )


@asynccontextmanager
async def started(
    for_server: StreamSettings,
    for_client: StreamSettings,
    *,
    security: str = "auto",
    packet_encoding: PacketEncoding = "off",
) -> AsyncIterator[int]:
    """Give the port of a client's proxy."""
    async with start_server_node(stream=for_server) as server:
        spec = ClientSpec(
            server_port=server.port, security=security, packet_encoding=packet_encoding
        )
        async with start_client_node(spec, stream=for_client) as client:
            yield client.port
