"""Configurations from command-line options and share links, without a file."""

from typing import Final

from trio_vmess.config.endpoints import (
    FreedomOutboundSettings,
    HttpInboundSettings,
    InboundSettings,
    InboundUserSettings,
    OutboundSettings,
    PortRange,
    SocksInboundSettings,
    VMessInboundSettings,
)
from trio_vmess.config.enums import SecurityName
from trio_vmess.config.link_endpoints import with_stream
from trio_vmess.config.model import Config, LogSettings
from trio_vmess.config.share_link import ShareLink, format_share_link
from trio_vmess.config.transports import PLAIN_STREAM, StreamSettings
from trio_vmess.core import Host, IPAddress
from trio_vmess.core.vmess import format_user_id

VMESS_TAG: Final = "vmess-in"
SOCKS_TAG: Final = "socks-in"
HTTP_TAG: Final = "http-in"


def server_config(
    *,
    listen: IPAddress,
    port: int,
    user_id: bytes,
    alter_id: int = 0,
    allow_private: bool = False,
    stream: StreamSettings = PLAIN_STREAM,
    log: LogSettings,
) -> Config:
    """Return a server with one user, who may connect to all public addresses.

    Args:
        listen: the address to listen on.
        port: 0 for any free port.
        user_id: 16 bytes.
        alter_id: the user's count of alter ids.
        allow_private: let the user also connect to this machine and its private networks.
        stream: what carries VMess.
        log: where the logs go.
    """
    users = (InboundUserSettings(id=user_id, alter_id=alter_id),)
    return Config(
        log=log,
        inbounds=(
            InboundSettings(
                tag=VMESS_TAG,
                protocol=VMessInboundSettings(users=users),
                listen=listen,
                port=PortRange(port, port),
                stream=stream,
            ),
        ),
        outbounds=(
            OutboundSettings(
                tag="direct", protocol=FreedomOutboundSettings(allow_private=allow_private)
            ),
        ),
    )


def client_config(
    *,
    outbound: OutboundSettings,
    socks: tuple[IPAddress, int] | None,
    http: tuple[IPAddress, int] | None,
    log: LogSettings,
) -> Config:
    """Return a client: local proxies in front of one VMess server.

    Args:
        outbound: how to reach the server, as from a share link.
        socks: where the SOCKS proxy listens; None for none.
        http: where the HTTP proxy listens; None for none.
        log: where the logs go.
    """
    inbounds: list[InboundSettings] = []
    if socks is not None:
        inbounds.append(
            InboundSettings(
                tag=SOCKS_TAG,
                protocol=SocksInboundSettings(udp=True),
                listen=socks[0],
                port=PortRange(socks[1], socks[1]),
            )
        )
    if http is not None:
        inbounds.append(
            InboundSettings(
                tag=HTTP_TAG,
                protocol=HttpInboundSettings(),
                listen=http[0],
                port=PortRange(http[1], http[1]),
            )
        )
    return Config(log=log, inbounds=tuple(inbounds), outbounds=(outbound,))


def server_share_link(
    *,
    host: Host,
    port: int,
    user_id: bytes,
    alter_id: int,
    security: SecurityName,
    name: str,
    stream: StreamSettings = PLAIN_STREAM,
) -> str:
    """Return the `vmess://` link of a server, which `stream` leads to."""
    link = ShareLink(
        name=name,
        address=str(host),
        port=port,
        uuid=format_user_id(user_id),
        alter_id=alter_id,
        security=security,
    )
    return format_share_link(with_stream(link, stream))
