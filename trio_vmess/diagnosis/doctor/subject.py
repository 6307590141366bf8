"""Whom an examination is about: one server and one user of an outbound."""

from typing import Self, assert_never

import attrs

from trio_vmess.config import (
    GrpcSettings,
    Http2Settings,
    HttpUpgradeSettings,
    MuxSettings,
    OutboundSettings,
    PacketEncoding,
    StreamSettings,
    TcpSettings,
    VMessOutboundSettings,
    VMessServerSettings,
    WebSocketSettings,
)
from trio_vmess.core import format_endpoint
from trio_vmess.diagnosis.doctor.causes import Ending
from trio_vmess.diagnosis.doctor.greetings import UNKNOWN, Greeting, greet_http, greet_tls
from trio_vmess.diagnosis.doctor.observation import Tap
from trio_vmess.diagnosis.doctor.trials import Means


@attrs.frozen(kw_only=True)
class Subject:
    """A server, the user that we are to it, and the way there.

    Attributes:
        means: what connections are made with.
        vmess: the protocol's settings, with this server and this user alone.
        shared: the outbound with these: as it is configured.
        single: the same without mux and XUDP: each request has a connection of its own.
        alternatives: how many other pairs of a server and a user the outbound has.
    """

    means: Means
    vmess: VMessOutboundSettings
    shared: OutboundSettings
    single: OutboundSettings
    alternatives: int

    @classmethod
    def of(cls, outbound: OutboundSettings, means: Means) -> Self:
        """Return the first server of an outbound, with its first user.

        Raises:
            ValueError: it is no VMess outbound, or has no server.
        """
        vmess = outbound.protocol
        if not isinstance(vmess, VMessOutboundSettings) or not vmess.servers:
            raise ValueError("expected an outbound with protocol 'vmess' and a server")
        server = attrs.evolve(vmess.servers[0], users=vmess.servers[0].users[:1])
        alternatives = sum(len(each.users) for each in vmess.servers) - 1
        # Spare connections would be opened beside those that are watched.
        vmess = attrs.evolve(vmess, servers=(server,), spare_connections=0)
        alone = attrs.evolve(vmess, packet_encoding=PacketEncoding.NONE)
        return cls(
            means=means,
            vmess=vmess,
            shared=attrs.evolve(outbound, protocol=vmess),
            single=attrs.evolve(outbound, protocol=alone, mux=MuxSettings()),
            alternatives=alternatives,
        )

    @property
    def server(self) -> VMessServerSettings:
        """The server."""
        return self.vmess.servers[0]

    @property
    def stream(self) -> StreamSettings:
        """What carries VMess there."""
        return self.single.stream

    @property
    def name(self) -> str:
        """Where the server is, for people."""
        unix = self.stream.unix
        return format_endpoint(self.server.address, self.server.port) if unix is None else str(unix)

    def with_alter_id(self, alter_id: int) -> OutboundSettings:
        """Return `single` for a user with another alterId."""
        user = attrs.evolve(self.server.users[0], alter_id=alter_id)
        server = attrs.evolve(self.server, users=(user,))
        vmess = attrs.evolve(self.vmess, servers=(server,), packet_encoding=PacketEncoding.NONE)
        return attrs.evolve(self.single, protocol=vmess)

    def describe_stream(self) -> str:
        """Say what carries VMess."""
        carrier = self.carrier_name
        if self.stream.tls is None:
            return carrier or "plain TCP"
        return f"{carrier} over TLS" if carrier else "TLS"

    def describe_header(self) -> str:
        """Say which headers the user sends."""
        alter_id = self.server.users[0].alter_id
        return f"legacy headers (alterId {alter_id})" if alter_id else "AEAD headers"

    @property
    def carrier_name(self) -> str:
        """What carries VMess, for people; empty for nothing."""
        match self.stream.carrier:
            case TcpSettings(header=None):
                return ""
            case TcpSettings():
                return "HTTP heads"
            case WebSocketSettings(path=path):
                return f"WebSocket {path}"
            case HttpUpgradeSettings(path=path):
                return f"HTTPUpgrade {path}"
            case Http2Settings(path=path):
                return f"HTTP/2 {path}"
            case GrpcSettings(service_name=name):
                return f"gRPC {name}"
            case _ as never:
                assert_never(never)

    def without_name(self, fault: str) -> str:
        """Return what a layer said without the server's address, which people know by now."""
        return fault.removeprefix(f"{self.name}: ")

    async def greet_tls(self) -> Greeting:
        """Ask whether the port speaks TLS; nobody is asked where that is used already."""
        if self.stream.tls is not None:
            return UNKNOWN
        return await greet_tls(self.means, self.single, self.server.address, self.server.port)

    def ending(self, tap: Tap) -> Ending:
        """Return how a connection ended, as seen by a layer."""
        return Ending(
            head=bytes(tap.head), end=tap.end, silence=tap.silence, limit=self.means.limit
        )

    async def greet_http(self, *, has_tls: bool = True) -> Greeting:
        """Ask for `/`; in TLS if that is configured, or never."""
        settings = self.single
        if not has_tls:
            settings = attrs.evolve(settings, stream=attrs.evolve(self.stream, tls=None))
        return await greet_http(self.means, settings, self.server.address, self.server.port)
