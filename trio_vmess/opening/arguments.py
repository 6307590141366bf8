"""What callers may write for a server and for a destination, and what it means."""

import ipaddress
import uuid
from typing import Final, TypeAlias, cast

import attrs

from trio_vmess.config import (
    GrpcSettings,
    Http2Settings,
    OutboundSettings,
    OutboundUserSettings,
    SecurityName,
    VMessOutboundSettings,
    VMessServerSettings,
    locate,
    parse_share_link,
    share_link_outbound,
)
from trio_vmess.core import (
    Destination,
    Host,
    IPAddress,
    Network,
    parse_endpoint,
    parse_host,
)
from trio_vmess.core.vmess import SECURITY_WORDS, Account, Dialect
from trio_vmess.errors import ConfigError

_PORT_MAX: Final = 0xFFFF

HostAndPort: TypeAlias = tuple[str | IPAddress, int]

DestinationLike: TypeAlias = Destination | HostAndPort | str
"""A destination, its host and port, or both in one text: `example.com:443`, `[2001:db8::1]:443`."""

AccountLike: TypeAlias = Account | uuid.UUID | str
"""An account, or the user id of one, as text or not."""


@attrs.frozen(kw_only=True)
class Server:
    """A VMess server, who we are to it, and how to get there.

    Attributes:
        host: an IP address or a domain name.
        port: 1 to 65535.
        user: as the server knows it, and how its payload is encrypted.
        vmess: what else there is to say about VMess.
        outbound: has what carries VMess.
    """

    host: Host
    port: int
    user: OutboundUserSettings
    vmess: VMessOutboundSettings
    outbound: OutboundSettings


def read_server(server: object, account: object, security: object, dialect: object) -> Server:
    """Read a share link, an outbound, or host and port together with an account.

    Raises:
        ConfigError: the share link is malformed, or asks for what is not supported.
        TypeError: an argument has the wrong type, is missing, or is one too many.
        ValueError: a host, a port, the security, the account or the outbound is not valid.
    """
    if security is not None and security not in SECURITY_WORDS:
        raise ValueError(f"security: {security!r} is not one of {', '.join(SECURITY_WORDS)}")
    if not isinstance(dialect, Dialect | None):
        raise TypeError(f"dialect: expected a Dialect, not {type(dialect).__name__}")
    outbound = _read_outbound(server, account)
    vmess = outbound.protocol
    if not isinstance(vmess, VMessOutboundSettings) or not vmess.servers:
        raise ValueError("server: expected an outbound with protocol 'vmess' and a server")
    _refuse_shared_connections(outbound)
    if outbound.through:
        raise ValueError(
            f"server: the outbound goes through another one, {outbound.through!r}, which takes a "
            "node; run one with both (trio_vmess.serve)"
        )
    first = vmess.servers[0]
    user = first.users[0]
    return Server(
        host=first.address,
        port=first.port,
        user=user if security is None else attrs.evolve(user, security=SecurityName(security)),
        vmess=vmess if dialect is None else attrs.evolve(vmess, dialect=dialect),
        outbound=outbound,
    )


def _read_outbound(server: object, account: object) -> OutboundSettings:
    match server:
        case str() if account is None:
            return share_link_outbound(parse_share_link(server))
        case str() if "://" in server or "@" in server:
            raise TypeError(
                "account cannot be combined with a share link, which names its user; "
                "for another user, pass the server as (host, port)"
            )
        case str() if ":" not in server:
            # Not shown, because it may be a link without its beginning.
            raise ValueError("server: this text is neither a share link nor 'host:port'")
        case OutboundSettings():
            if account is not None:
                raise TypeError("account cannot be combined with an outbound, which names its user")
            return server
        case _:
            pass
    host, port = _read_endpoint(
        "server", server, "a share link, an outbound, (host, port) or 'host:port'"
    )
    who = _read_account(account)
    user = OutboundUserSettings(id=who.user_id, alter_id=who.alter_id_count)
    settings = VMessServerSettings(address=host, port=port, users=(user,))
    return OutboundSettings(protocol=VMessOutboundSettings(servers=(settings,)))


def _read_account(account: object) -> Account:
    match account:
        case Account():
            return account
        case str() | uuid.UUID():
            try:
                return Account(account)
            except ValueError as exc:
                raise ValueError(f"account: {exc}") from None
        case None:
            raise TypeError("account: with host and port, an Account or a user id is required")
        case _:
            raise TypeError(
                f"account: expected an Account or a user id, not {type(account).__name__}"
            )


def _refuse_shared_connections(outbound: OutboundSettings) -> None:
    if outbound.mux.carries_streams:
        location = locate(outbound.mux.locations, "enabled", "mux")
        message = (
            "streams on shared connections take a node, since these outlive each stream; run one "
            "with this outbound (trio_vmess.serve), or set it to false"
        )
        raise ValueError(str(location.problem(message, file="")))
    if isinstance(outbound.stream.carrier, Http2Settings | GrpcSettings):
        location = locate(outbound.stream.locations, "carrier", "net")
        message = (
            "HTTP/2 and gRPC carry many streams on connections that outlive each of them, which "
            "takes a node; run one with this outbound (trio_vmess.serve)"
        )
        raise ConfigError(attrs.evolve(location, where="net").problem(message, file=""))


def read_destination(destination: object, *, network: Network = Network.TCP) -> Destination:
    """Read a destination of a stream, or of datagrams.

    Raises:
        TypeError: it has the wrong type.
        ValueError: its host or port is not valid, or it is one for the other network.
    """
    if not isinstance(destination, Destination):
        host, port = _read_endpoint(
            "destination", destination, "a Destination, (host, port) or 'host:port'"
        )
        return Destination(host=host, port=port, network=network)
    if destination.network is not network:
        raise ValueError(f"destination: {destination} is for {_WRONG_NETWORK[network]}")
    _check_port("destination", destination.port)
    return destination


_WRONG_NETWORK: Final = {
    Network.TCP: "datagrams; a stream needs TCP",
    Network.UDP: "streams; datagrams need UDP, which (host, port) and 'host:port' mean here",
}


def _read_endpoint(what: str, endpoint: object, expected: str) -> tuple[Host, int]:
    """Read host and port, as a pair or as one text."""
    try:
        match endpoint:
            case str():
                host, port = parse_endpoint(endpoint)
            case (str() | ipaddress.IPv4Address() | ipaddress.IPv6Address() as name, int() as port):
                host = parse_host(str(name))
            case _:
                # Types alone: what was passed in the wrong place may well be a secret.
                raise TypeError(f"{what}: expected {expected}, not {_describe(endpoint)}")
    except ValueError as exc:
        raise ValueError(f"{what}: {exc}") from None
    _check_port(what, port)
    return host, port


def _describe(value: object) -> str:
    if not isinstance(value, tuple):
        return type(value).__name__
    return f"({', '.join(type(each).__name__ for each in cast('tuple[object, ...]', value))})"


def _check_port(what: str, port: int) -> None:
    if not 0 < port <= _PORT_MAX:
        raise ValueError(f"{what}: {port} is not a valid port: expected 1 to {_PORT_MAX}")
