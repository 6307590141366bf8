"""The settings of inbounds and outbounds: part of the model, see `trio_vmess.config.model`."""

import ipaddress
from typing import Final, assert_never

import attrs

from trio_vmess.config.enums import (
    AllocateStrategy,
    BlackholeResponse,
    Experiment,
    FreedomDomainStrategy,
    PacketEncoding,
    SecurityName,
    SocksAuth,
    TransparentProxy,
)
from trio_vmess.config.location import Location, Locations
from trio_vmess.config.mux import NO_MUX, MuxSettings
from trio_vmess.config.transports import PLAIN_STREAM, StreamSettings, UnixSocket
from trio_vmess.core import Host, IPAddress, Network
from trio_vmess.core.sniff import SniffingSettings
from trio_vmess.core.vmess import PACKET_SIZE, TIMESTAMP_JITTER, V2RAY, Dialect


@attrs.frozen
class PortRange:
    """Ports `first` to `last`, both included. A lone 0 asks the system for any free port.

    Raises:
        ValueError: the range is empty or goes past 65535.
    """

    first: int
    last: int

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.first <= self.last <= 0xFFFF:
            raise ValueError(
                f"{self.first}-{self.last} is not a valid port range: expected 0 to 65535, "
                "the first port not above the last"
            )

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    def overlaps(self, other: "PortRange") -> bool:
        """Return whether both hold the same port; port 0 is a different free port each time."""
        if not self.last or not other.last:
            return False
        return self.first <= other.last and other.first <= self.last


SPARE_KEEP: Final = 3.0
"""Seconds: less than the 4 that servers of V2Ray and Xray wait for the request of a WebSocket.

With early data, that request waits for the first payload. What is inside a tunnel may be silent for
60 seconds.

Source:
    v2ray-core, transport/internet/websocket/hub.go, `ReadHeaderTimeout`.
"""

ANY_IPV4: Final = ipaddress.IPv4Address("0.0.0.0")
ANY_PORT: Final = PortRange(0, 0)


@attrs.frozen(kw_only=True)
class AllocateSettings:
    """Which ports of a range are open.

    Attributes:
        concurrency: how many ports each generation opens, if the strategy is random.
        refresh: minutes from one generation to the next; a generation closes after twice that.
    """

    strategy: AllocateStrategy = AllocateStrategy.ALWAYS
    concurrency: int = 3
    refresh: int = 5


@attrs.frozen(kw_only=True)
class InboundUserSettings:
    """A user of a VMess inbound.

    Attributes:
        id: 16 bytes; a secret.
        email: the user's name in logs, rules and counters; may be empty.
        level: which policy level applies.
        alter_id: how many alter ids the user has; 0 means AEAD headers only.
    """

    id: bytes = attrs.field(repr=False)
    email: str = ""
    level: int = 0
    alter_id: int = 0
    locations: Locations = attrs.field(factory=dict[str, Location], eq=False, repr=False)


@attrs.frozen(kw_only=True)
class DefaultUserSettings:
    """Level and alter ids of the users that a detour creates."""

    level: int = 0
    alter_id: int = 0


@attrs.frozen(kw_only=True)
class VMessInboundSettings:
    """A VMess server.

    Attributes:
        users: may be empty if another inbound's detour names this one.
        default: for the users that such a detour creates.
        detour: tag of the VMess inbound that clients are redirected to; empty for none.
        disable_insecure_encryption: refuse AES-128-CFB and unencrypted bodies.
        max_clock_skew: seconds by which a client's clock may differ from ours.
    """

    users: tuple[InboundUserSettings, ...] = ()
    default: DefaultUserSettings = DefaultUserSettings()
    detour: str = ""
    disable_insecure_encryption: bool = False
    dialect: Dialect = V2RAY
    max_clock_skew: float = 90.0
    locations: Locations = attrs.field(factory=dict[str, Location], eq=False, repr=False)


@attrs.frozen(kw_only=True)
class ProxyAccountSettings:
    """A user name and a password for a SOCKS or HTTP inbound."""

    user: str
    password: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class SocksInboundSettings:
    """A SOCKS proxy.

    Attributes:
        udp: serve UDP ASSOCIATE.
        ip: the address that UDP clients are told to send to; None for the one they connected to.
    """

    auth: SocksAuth = SocksAuth.NOAUTH
    accounts: tuple[ProxyAccountSettings, ...] = ()
    udp: bool = False
    ip: IPAddress | None = None
    user_level: int = 0


@attrs.frozen(kw_only=True)
class HttpInboundSettings:
    """An HTTP proxy. It requires authentication if there are accounts.

    Attributes:
        allow_transparent: accept requests without an absolute URL, by their Host header.
    """

    accounts: tuple[ProxyAccountSettings, ...] = ()
    allow_transparent: bool = False
    user_level: int = 0


@attrs.frozen(kw_only=True)
class MixedInboundSettings:
    """SOCKS and HTTP on one port. Both require authentication if there are accounts."""

    accounts: tuple[ProxyAccountSettings, ...] = ()
    udp: bool = False
    ip: IPAddress | None = None
    user_level: int = 0


@attrs.frozen(kw_only=True)
class DokodemoInboundSettings:
    """A port whose every connection goes to one destination, or to where it was going anyway.

    Attributes:
        target_address: the destination; empty for none, if it follows redirections.
        target_port: likewise; 0 for none.
        follow_redirect: connections that a firewall has redirected here go on to where they were
            going; the target is for those of which that is not known.
    """

    target_address: Host = ""
    target_port: int = 0
    networks: tuple[Network, ...] = (Network.TCP,)
    user_level: int = 0
    follow_redirect: bool = False
    locations: Locations = attrs.field(factory=dict[str, Location], eq=False, repr=False)

    @property
    def has_target(self) -> bool:
        """Whether there is a destination for all that is not redirected."""
        return bool(self.target_address and self.target_port)


InboundProtocolSettings = (
    VMessInboundSettings
    | SocksInboundSettings
    | HttpInboundSettings
    | MixedInboundSettings
    | DokodemoInboundSettings
)


@attrs.frozen(kw_only=True)
class InboundSettings:
    """Where clients connect, and by which protocol.

    Attributes:
        protocol: the settings of its protocol; their class says which one it is.
        listen: an IP address or a Unix socket.
        port: one port or a range; meaningless for a Unix socket.
        stream: what carries the protocol.
        sniffing: what is done with names found in the first bytes; None does not look for them.
    """

    protocol: InboundProtocolSettings
    tag: str = ""
    listen: IPAddress | UnixSocket = ANY_IPV4
    port: PortRange = ANY_PORT
    stream: StreamSettings = PLAIN_STREAM
    sniffing: SniffingSettings | None = None
    allocate: AllocateSettings = AllocateSettings()
    locations: Locations = attrs.field(factory=dict[str, Location], eq=False, repr=False)

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks on which the port is bound."""
        match self.protocol:
            case DokodemoInboundSettings(networks=networks):
                return networks
            case SocksInboundSettings(udp=udp) | MixedInboundSettings(udp=udp):
                return (Network.TCP, Network.UDP) if udp else (Network.TCP,)
            case VMessInboundSettings() | HttpInboundSettings():
                return (Network.TCP,)
            case _:
                assert_never(self.protocol)

    @property
    def transparent_proxy(self) -> TransparentProxy:
        """How connections are redirected here; as in V2Ray, who follows them cannot leave it off.

        Source:
            v2ray-core, app/proxyman/inbound/worker.go and always.go, ReceiveOriginalDestination.
        """
        mode = self.stream.socket.tproxy
        follows = isinstance(self.protocol, DokodemoInboundSettings) and (
            self.protocol.follow_redirect
        )
        return TransparentProxy.REDIRECT if follows and mode is TransparentProxy.OFF else mode


@attrs.frozen(kw_only=True)
class OutboundUserSettings:
    """The user as which an outbound authenticates at a VMess server.

    Attributes:
        id: 16 bytes; a secret.
        alter_id: 0 sends AEAD headers; more must not exceed the server's count.
    """

    id: bytes = attrs.field(repr=False)
    alter_id: int = 0
    security: SecurityName = SecurityName.AUTO
    level: int = 0
    email: str = ""
    experiments: tuple[Experiment, ...] = ()


@attrs.frozen(kw_only=True)
class VMessServerSettings:
    """A VMess server to connect to, and the users to authenticate as."""

    address: Host
    port: int
    users: tuple[OutboundUserSettings, ...]


@attrs.frozen(kw_only=True)
class VMessOutboundSettings:
    """A VMess client; its servers are used in turn.

    Attributes:
        global_padding: pad chunks, so that their sizes reveal less.
        authenticated_length: encrypt the size of each chunk; not every server supports it.
        timestamp_jitter: seconds by which legacy timestamps may deviate, so that they reveal less
            about the clock. sing-box's legacy servers need 0: they forget past seconds early.
        packet_size: bytes of the largest datagram that is sent to the server. V2Ray and Xray cut
            larger ones than 1950 bytes into several.
        packet_encoding: how datagrams travel: each destination of a program's socket in a
            connection of its own, or all in one, by XUDP or by packetaddr.
        spare_connections: how many are kept open to each server that was connected to lately; 0
            for none. Streams and datagrams have that many each.
        spare_keep: seconds after which an unused one is closed.
    """

    servers: tuple[VMessServerSettings, ...]
    dialect: Dialect = V2RAY
    global_padding: bool = True
    authenticated_length: bool = False
    timestamp_jitter: int = TIMESTAMP_JITTER
    packet_size: int = PACKET_SIZE
    packet_encoding: PacketEncoding = PacketEncoding.NONE
    spare_connections: int = 0
    spare_keep: float = SPARE_KEEP


@attrs.frozen(kw_only=True)
class RedirectSettings:
    """What replaces the host or port of each destination; None keeps the requested one."""

    host: Host | None = None
    port: int | None = None


@attrs.frozen(kw_only=True)
class FreedomOutboundSettings:
    """Connects directly to destinations.

    Attributes:
        redirect: replaces destinations; None keeps them.
        allow_private: permit loopback, link-local and private addresses, and all of this
            machine's own, as destinations of remote users.
    """

    domain_strategy: FreedomDomainStrategy = FreedomDomainStrategy.AS_IS
    redirect: RedirectSettings | None = None
    user_level: int = 0
    allow_private: bool = False


@attrs.frozen(kw_only=True)
class BlackholeOutboundSettings:
    """Drops all connections that are sent to it."""

    response: BlackholeResponse = BlackholeResponse.NONE


@attrs.frozen(kw_only=True)
class ParentProxyUserSettings:
    """A user name and a password for a parent proxy."""

    user: str
    password: str = attrs.field(repr=False)
    level: int = 0
    email: str = ""


@attrs.frozen(kw_only=True)
class ParentProxySettings:
    """A SOCKS or HTTP proxy to connect through; without users, no authentication is offered."""

    address: Host
    port: int
    users: tuple[ParentProxyUserSettings, ...] = ()


@attrs.frozen(kw_only=True)
class SocksOutboundSettings:
    """Connects through other SOCKS proxies, which are used in turn."""

    servers: tuple[ParentProxySettings, ...]


@attrs.frozen(kw_only=True)
class HttpOutboundSettings:
    """Connects through other HTTP proxies, which are used in turn."""

    servers: tuple[ParentProxySettings, ...]


OutboundProtocolSettings = (
    VMessOutboundSettings
    | FreedomOutboundSettings
    | BlackholeOutboundSettings
    | SocksOutboundSettings
    | HttpOutboundSettings
)


@attrs.frozen(kw_only=True)
class OutboundSettings:
    """Where connections go on, and by which protocol; the first outbound is the default.

    Attributes:
        protocol: the settings of its protocol; their class says which one it is.
        stream: what carries the protocol.
        mux: whether connections to its servers are shared.
        send_through: the local address to connect from; None leaves it to the system.
        through: tag of the outbound by which its servers are reached; empty for directly.
    """

    protocol: OutboundProtocolSettings
    tag: str = ""
    stream: StreamSettings = PLAIN_STREAM
    mux: MuxSettings = NO_MUX
    send_through: IPAddress | None = None
    through: str = ""
    locations: Locations = attrs.field(factory=dict[str, Location], eq=False, repr=False)
