"""The settings of inbounds and outbounds: part of the model, see `trio_vmess.config.model`."""

import ipaddress
from typing import Final

import attrs

from trio_vmess.config.enums import (
    AllocateStrategy,
    BlackholeResponse,
    Experiment,
    FreedomDomainStrategy,
    SecurityName,
    SocksAuth,
)
from trio_vmess.config.location import Locations
from trio_vmess.core import Host, IPAddress, Network
from trio_vmess.core.sniff import SniffingSettings
from trio_vmess.core.vmess import TIMESTAMP_JITTER, V2RAY, Dialect


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
            raise ValueError(f"{self.first}-{self.last} is no range of ports within 0 to 65535")

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    def overlaps(self, other: "PortRange") -> bool:
        """Tell whether a port is in both; port 0 is never the same port twice."""
        if not self.last or not other.last:
            return False
        return self.first <= other.last and other.first <= self.last


@attrs.frozen
class UnixSocket:
    """A Unix socket to listen on: a path, or `@name` for Linux's abstract name space."""

    path: str

    def __str__(self) -> str:
        return self.path


ANY_IPV4: Final = ipaddress.IPv4Address("0.0.0.0")
ANY_PORT: Final = PortRange(0, 0)


@attrs.frozen(kw_only=True)
class AllocateSettings:
    """How the ports of a range are opened.

    Attributes:
        concurrency: how many ports each generation opens, if the strategy is random.
        refresh: minutes from one generation to the next; a generation closes after twice that.
    """

    strategy: AllocateStrategy = AllocateStrategy.ALWAYS
    concurrency: int = 3
    refresh: int = 5


@attrs.frozen(kw_only=True)
class InboundUserSettings:
    """A user whom a VMess inbound serves.

    Attributes:
        id: 16 bytes; a secret.
        email: the user's name in logs, rules and statistics; may be empty.
        level: which policy level applies.
        alter_id: how many alter ids the user has; 0 means AEAD headers only.
    """

    id: bytes = attrs.field(repr=False)
    email: str = ""
    level: int = 0
    alter_id: int = 0
    locations: Locations = attrs.field(factory=dict, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class DefaultUserSettings:
    """What users get that a detour creates."""

    level: int = 0
    alter_id: int = 0


@attrs.frozen(kw_only=True)
class VMessInboundSettings:
    """A VMess server.

    Attributes:
        users: may be empty where another inbound's detour leads here.
        default: level and alter ids of users that such a detour creates.
        detour: tag of the VMess inbound that clients are told to use instead; empty for none.
        disable_insecure_encryption: refuse AES-128-CFB and unencrypted bodies.
        max_clock_skew: seconds by which a client's clock may differ from ours.
    """

    users: tuple[InboundUserSettings, ...] = ()
    default: DefaultUserSettings = DefaultUserSettings()
    detour: str = ""
    disable_insecure_encryption: bool = False
    dialect: Dialect = V2RAY
    max_clock_skew: float = 90.0
    locations: Locations = attrs.field(factory=dict, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class ProxyAccountSettings:
    """A name and a password of a SOCKS or HTTP proxy."""

    user: str
    password: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class SocksInboundSettings:
    """A SOCKS proxy.

    Attributes:
        udp: serve UDP ASSOCIATE.
        ip: the address that UDP clients are told; None for the one they reached us on.
    """

    auth: SocksAuth = SocksAuth.NOAUTH
    accounts: tuple[ProxyAccountSettings, ...] = ()
    udp: bool = False
    ip: IPAddress | None = None
    user_level: int = 0


@attrs.frozen(kw_only=True)
class HttpInboundSettings:
    """An HTTP proxy. Authentication is asked for if there are accounts.

    Attributes:
        allow_transparent: take requests without an absolute URL, by their Host header.
    """

    accounts: tuple[ProxyAccountSettings, ...] = ()
    allow_transparent: bool = False
    user_level: int = 0


@attrs.frozen(kw_only=True)
class MixedInboundSettings:
    """SOCKS and HTTP on one port. Authentication is asked for if there are accounts."""

    accounts: tuple[ProxyAccountSettings, ...] = ()
    udp: bool = False
    ip: IPAddress | None = None
    user_level: int = 0


@attrs.frozen(kw_only=True)
class DokodemoInboundSettings:
    """A port whose every connection goes to one destination."""

    target_address: Host
    target_port: int
    networks: tuple[Network, ...] = (Network.TCP,)
    user_level: int = 0


InboundProtocolSettings = (
    VMessInboundSettings
    | SocksInboundSettings
    | HttpInboundSettings
    | MixedInboundSettings
    | DokodemoInboundSettings
)


@attrs.frozen(kw_only=True)
class InboundSettings:
    """One way into the node.

    Attributes:
        protocol: the settings of its protocol; their class says which one it is.
        listen: an IP address or a Unix socket.
        port: one port or a range; meaningless for a Unix socket.
        sniffing: what is done with names found in the first bytes; None leaves them alone.
    """

    protocol: InboundProtocolSettings
    tag: str = ""
    listen: IPAddress | UnixSocket = ANY_IPV4
    port: PortRange = ANY_PORT
    sniffing: SniffingSettings | None = None
    allocate: AllocateSettings = AllocateSettings()
    locations: Locations = attrs.field(factory=dict, eq=False, repr=False)

    @property
    def networks(self) -> tuple[Network, ...]:
        """The transports on which the port is taken."""
        match self.protocol:
            case DokodemoInboundSettings(networks=networks):
                return networks
            case SocksInboundSettings(udp=True) | MixedInboundSettings(udp=True):
                return (Network.TCP, Network.UDP)
            case _:
                return (Network.TCP,)


@attrs.frozen(kw_only=True)
class OutboundUserSettings:
    """Who we are to a VMess server.

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
    """A VMess server to connect to, with the users we may be there."""

    address: Host
    port: int
    users: tuple[OutboundUserSettings, ...]


@attrs.frozen(kw_only=True)
class VMessOutboundSettings:
    """A VMess client. Its servers take turns.

    Attributes:
        global_padding: pad chunks, so that their sizes say less.
        authenticated_length: seal each chunk's size, too; not every server can.
        timestamp_jitter: seconds by which legacy timestamps may be off, so that they say less
            about our clock. sing-box's legacy servers want 0: they forget past seconds early.
    """

    servers: tuple[VMessServerSettings, ...]
    dialect: Dialect = V2RAY
    global_padding: bool = True
    authenticated_length: bool = False
    timestamp_jitter: int = TIMESTAMP_JITTER


@attrs.frozen(kw_only=True)
class RedirectSettings:
    """What replaces parts of each destination: None keeps the part as it was asked for."""

    host: Host | None = None
    port: int | None = None


@attrs.frozen(kw_only=True)
class FreedomOutboundSettings:
    """Connections straight to their destinations.

    Attributes:
        redirect: sends everything elsewhere; None for nothing.
        allow_private: permit loopback, link-local and private addresses as destinations.
    """

    domain_strategy: FreedomDomainStrategy = FreedomDomainStrategy.AS_IS
    redirect: RedirectSettings | None = None
    user_level: int = 0
    allow_private: bool = False


@attrs.frozen(kw_only=True)
class BlackholeOutboundSettings:
    """The end of all connections that are sent there."""

    response: BlackholeResponse = BlackholeResponse.NONE


@attrs.frozen(kw_only=True)
class ParentProxyUserSettings:
    """A name and a password at another proxy."""

    user: str
    password: str = attrs.field(repr=False)
    level: int = 0
    email: str = ""


@attrs.frozen(kw_only=True)
class ParentProxySettings:
    """Another SOCKS or HTTP proxy; without users, no authentication is offered."""

    address: Host
    port: int
    users: tuple[ParentProxyUserSettings, ...] = ()


@attrs.frozen(kw_only=True)
class SocksOutboundSettings:
    """Connections through other SOCKS proxies, which take turns."""

    servers: tuple[ParentProxySettings, ...]


@attrs.frozen(kw_only=True)
class HttpOutboundSettings:
    """Connections through other HTTP proxies, which take turns."""

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
    """One way out of the node. The first one takes what no rule sends elsewhere.

    Attributes:
        protocol: the settings of its protocol; their class says which one it is.
        send_through: the local address to connect from; None leaves it to the system.
    """

    protocol: OutboundProtocolSettings
    tag: str = ""
    send_through: IPAddress | None = None
    locations: Locations = attrs.field(factory=dict, eq=False, repr=False)
