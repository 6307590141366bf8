"""Our end of HTTP/2 next to a peer's VMess: bytes go from one to the other as they are.

    client of the peer -> its transport -> our server -> plain TCP -> server of the peer
    client of the peer -> plain TCP -> our client -> the peer's transport -> its server

So only the transport is under test, and what each peer says about it in its configuration.
"""

import functools
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import attrs
import trio
import trustme

from tests.kit.names import IPV4_LOOPBACK
from tests.kit.peer_configs import Json
from tests.kit.peers import ClientSpec, Peer, Running, ServerSpec
from tests.kit.ports import free_port
from trio_vmess.contracts import Connect, Transport
from trio_vmess.core import Host
from trio_vmess.transport import StreamTransport, dial
from trio_vmess.transport.http2 import (
    GrpcTunnel,
    Http2Client,
    Http2Server,
    HttpTunnel,
    MessageTransport,
    Tunnel,
)

NAME = "node.example"
PATH = "/tunnel"
SERVICE = "GunService"

Kind = Literal["http", "grpc", "multi"]


@attrs.frozen(kw_only=True)
class Setting:
    """One way to carry.

    Attributes:
        kind: of stream.
        has_tls: whether TLS is below.
    """

    kind: Kind
    has_tls: bool

    def __str__(self) -> str:
        return self.kind + ("-tls" if self.has_tls else "")

    @property
    def tunnel(self) -> Tunnel:
        if self.kind == "http":
            return HttpTunnel(hosts=(NAME,), path=PATH)
        return GrpcTunnel(service=SERVICE, is_multi=self.kind == "multi")


class Certificate:
    """A certificate for `NAME`, in files for the peers and in contexts for us."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert(NAME)
        self.authority_path = folder / "authority.pem"
        self.chain_path, self.key_path = folder / "chain.pem", folder / "key.pem"
        authority.cert_pem.write_to_path(self.authority_path)
        issued.private_key_pem.write_to_path(self.key_path)
        for part in issued.cert_chain_pems:
            part.write_to_path(self.chain_path, append=True)
        self.server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued.configure_cert(self.server_context)
        self.client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(self.client_context)
        for context in (self.server_context, self.client_context):
            context.set_alpn_protocols(["h2"])


def start_peer(
    peer: Peer, setting: Setting | None, certificate: Certificate, *, server_port: int | None
) -> tuple[Running, int]:
    """Return a peer that is a server, or a client of the one on `server_port`, and its port.

    Args:
        peer: what to start.
        setting: its transport; None for plain TCP.
        certificate: for TLS.
        server_port: of the VMess server that it is a client of.
    """
    port = free_port()
    if server_port is None:
        configuration = peer._server_configuration(ServerSpec(), port)
        [vmess] = configuration["inbounds"]  # type: ignore[misc]
    else:
        spec = ClientSpec(server_port=server_port, security="aes-128-gcm")
        configuration = peer._client_configuration(spec, IPV4_LOOPBACK, port)
        [vmess] = configuration["outbounds"]  # type: ignore[misc]
    if setting is not None:
        describe = _for_sing_box if peer.name == "sing-box" else _for_v2ray
        vmess.update(describe(setting, certificate, is_client=server_port is not None))
    name = "client" if server_port is not None else "server"
    return peer._run(name, configuration, IPV4_LOOPBACK, port, None), port


def _for_sing_box(setting: Setting, certificate: Certificate, *, is_client: bool) -> Json:
    transport: Json = {"type": "grpc", "service_name": SERVICE}
    if setting.kind == "http":
        transport = {"type": "http", "host": [NAME], "path": PATH}
    settings: Json = {"transport": transport}
    if setting.has_tls:
        tls: Json = {"enabled": True, "server_name": NAME}
        if is_client:
            tls["certificate_path"] = str(certificate.authority_path)
        else:
            tls["certificate_path"] = str(certificate.chain_path)
            tls["key_path"] = str(certificate.key_path)
        settings["tls"] = tls
    return settings


def _for_v2ray(setting: Setting, certificate: Certificate, *, is_client: bool) -> Json:
    stream: Json = {"network": "grpc"}
    stream["grpcSettings"] = {"serviceName": SERVICE, "multiMode": setting.kind == "multi"}
    if setting.kind == "http":
        stream = {"network": "http", "httpSettings": {"host": [NAME], "path": PATH}}
    if setting.has_tls:
        ours: Json = {"usage": "verify", "certificateFile": str(certificate.authority_path)}
        if not is_client:
            ours = {
                "certificateFile": str(certificate.chain_path),
                "keyFile": str(certificate.key_path),
            }
        stream |= {"security": "tls", "tlsSettings": {"serverName": NAME, "certificates": [ours]}}
    return {"streamSettings": stream}


@asynccontextmanager
async def server_bridge(
    setting: Setting, certificate: Certificate, plain_port: int
) -> AsyncIterator[int]:
    """Run our server in front of a plain port; yield its port."""

    async def handle(transport: Transport, *, source: str, deadline: float) -> None:
        await _join(transport, await dial(IPV4_LOOPBACK, plain_port))

    server = Http2Server(
        handle,
        setting.tunnel,
        handshake=4,
        now=time.time,
        buffer=memoryview(bytearray(65_536)),
        wrap=None if setting.kind == "http" else MessageTransport,
    )

    async def accept(stream: trio.SocketStream) -> None:
        lower: trio.abc.Stream = stream
        if setting.has_tls:
            context = certificate.server_context
            lower = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        deadline = trio.current_time() + 4
        await server.serve(StreamTransport(lower), source="test", deadline=deadline)

    async with _listening(accept) as port:
        yield port


@asynccontextmanager
async def client_bridge(
    setting: Setting, certificate: Certificate, peer_port: int
) -> AsyncIterator[int]:
    """Run our client in front of a peer's port; yield the plain port before it."""

    async def connect(_host: Host, _port: int) -> Transport:
        lower: trio.abc.Stream = await trio.open_tcp_stream(IPV4_LOOPBACK, peer_port)
        if setting.has_tls:
            context = certificate.client_context
            lower = trio.SSLStream(lower, context, server_hostname=NAME, https_compatible=True)
        return StreamTransport(lower)

    client = _client(setting, connect)

    async def accept(stream: trio.SocketStream) -> None:
        await _join(StreamTransport(stream), await client.connect(NAME, peer_port))

    async with trio.open_nursery() as nursery:
        await nursery.start(client.run)
        async with _listening(accept) as port:
            yield port
        nursery.cancel_scope.cancel()


def _client(setting: Setting, connect: Connect) -> Http2Client:
    return Http2Client(
        connect,
        setting.tunnel,
        entropy=secrets,
        buffer=memoryview(bytearray(65_536)),
        wrap=None if setting.kind == "http" else MessageTransport,
    )


@asynccontextmanager
async def _listening(
    accept: Callable[[trio.SocketStream], Awaitable[None]],
) -> AsyncIterator[int]:
    serve = functools.partial(trio.serve_tcp, accept, 0, host=IPV4_LOOPBACK)
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(serve)
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def _join(first: Transport, second: Transport) -> None:
    """Pass bytes and ends both ways until both directions have ended."""

    async def pass_on(source: Transport, sink: Transport) -> None:
        buffer = memoryview(bytearray(65_536))
        try:
            while size := await source.receive_into(buffer):
                await sink.send_all(buffer[:size])
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pass_on, first, second)
            await pass_on(second, first)
    finally:
        await first.aclose()
        await second.aclose()
