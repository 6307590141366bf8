"""What callers may write for a server and for a destination, and what it means."""

import ipaddress
from typing import Final, TypeAlias, cast

import attrs

from trio_vmess.config import Config, parse_share_link, refuse_layers, share_link_outbound
from trio_vmess.core import (
    Destination,
    Host,
    IPAddress,
    Network,
    parse_endpoint,
    parse_host,
)
from trio_vmess.core.vmess import SECURITY_WORDS, Account, parse_user_id

_PORT_MAX: Final = 0xFFFF

HostAndPort: TypeAlias = tuple[str | IPAddress, int]

DestinationLike: TypeAlias = Destination | HostAndPort | str
"""A destination, its host and port, or both in one text: `example.com:443`, `[2001:db8::1]:443`."""


@attrs.frozen(kw_only=True)
class Server:
    """A VMess server, and who we are to it.

    Attributes:
        host: an IP address or a domain name.
        port: 1 to 65535.
        account: as the server knows it.
        security: a word of `SECURITY_WORDS`.
    """

    host: Host
    port: int
    account: Account
    security: str


def read_server(server: object, account: object, security: object) -> Server:
    """Read a share link, or host and port together with an account.

    Raises:
        ConfigError: the share link is malformed, or asks for what is not supported.
        TypeError: an argument has the wrong type, is missing, or is one too many.
        ValueError: a host, a port or the security is not valid.
    """
    if security is not None and security not in SECURITY_WORDS:
        raise ValueError(f"security: {security!r} is not one of {', '.join(SECURITY_WORDS)}")
    if isinstance(server, str):
        if account is not None:
            raise TypeError(
                "account cannot be combined with a share link, which names its user; "
                "for another user, pass the server as (host, port)"
            )
        link = parse_share_link(server)
        refuse_layers(Config(outbounds=(share_link_outbound(link),)))
        return Server(
            host=parse_host(link.address),
            port=link.port,
            account=Account(user_id=parse_user_id(link.uuid), alter_id_count=link.alter_id),
            security=str(security or link.security.value),
        )
    host, port = _read_pair("server", server, "a share link or (host, port)")
    if not isinstance(account, Account):
        found = "" if account is None else f", not {type(account).__name__}"
        raise TypeError(f"account: with (host, port), an Account is required{found}")
    return Server(host=host, port=port, account=account, security=str(security or "auto"))


def read_destination(destination: object) -> Destination:
    """Read a destination that a stream can lead to.

    Raises:
        TypeError: it has the wrong type.
        ValueError: its host or port is not valid, or it is one for datagrams.
    """
    match destination:
        case Destination():
            pass
        case str():
            host, port = parse_endpoint(destination)
            destination = Destination(host=host, port=port)
        case _:
            host, port = _read_pair(
                "destination", destination, "a Destination, (host, port) or 'host:port'"
            )
            destination = Destination(host=host, port=port)
    if destination.network is not Network.TCP:
        raise ValueError(f"destination: {destination} is for datagrams; a stream needs TCP")
    _check_port("destination", destination.port)
    return destination


def _read_pair(what: str, pair: object, expected: str) -> tuple[Host, int]:
    match pair:
        case (str() | ipaddress.IPv4Address() | ipaddress.IPv6Address() as host, int() as port):
            _check_port(what, port)
            return parse_host(str(host)), port
        case _:
            # Types alone: what was passed in the wrong place may well be a secret.
            raise TypeError(f"{what}: expected {expected}, not {_describe(pair)}")


def _describe(value: object) -> str:
    if not isinstance(value, tuple):
        return type(value).__name__
    return f"({', '.join(type(each).__name__ for each in cast('tuple[object, ...]', value))})"


def _check_port(what: str, port: int) -> None:
    if not 0 < port <= _PORT_MAX:
        raise ValueError(f"{what}: {port} is not a valid port: expected 1 to {_PORT_MAX}")
