"""This project's own nodes, run inside a test: the counterparts of `tests.kit.peers`.

They take the same specs as the peers, so that each end of a path can be either.

    async with start_server_node() as server:
        async with start_client_node(ClientSpec(server_port=server.port)) as client:
            stream = await open_socks_stream(client.port, "127.0.0.1", origin.port)

A node runs in the test's own Trio run. Leaving the block stops it and cancels what it still serves.
"""

import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import attrs
import trio

from tests.kit.names import IPV4_LOOPBACK
from tests.kit.node_carriers import node_stream
from tests.kit.peer_specs import ClientSpec, DynamicPorts, ServerSpec
from trio_vmess import config
from trio_vmess.core import parse_host
from trio_vmess.core.vmess import TIMESTAMP_JITTER, V2RAY, Dialect, parse_user_id
from trio_vmess.node.node import Node

VMESS_TAG: Final = "vmess"
DYNAMIC_TAG: Final = "dynamic"
PROXY_TAG: Final = "proxy"

_ENCODINGS: Final = {
    "off": config.PacketEncoding.NONE,
    "xudp": config.PacketEncoding.XUDP,
    "packetaddr": config.PacketEncoding.PACKETADDR,
}

SPARE_KEEP: Final = 60.0
"""Seconds: a busy machine must not take longer from one step of a test to the next."""

_ANY_PORT: Final = config.PortRange(0, 0)
_LOOPBACK: Final = ipaddress.IPv4Address(IPV4_LOOPBACK)


@attrs.frozen(kw_only=True, eq=False)
class RunningNode:
    """A node that listens.

    Attributes:
        node: for its tables.
    """

    node: Node

    @property
    def port(self) -> int:
        """The port of the first inbound."""
        return _port_of(self.node.listening[0].address)

    @property
    def dynamic_ports(self) -> Sequence[int]:
        """The dynamic ports that are open now, the newest last."""
        return [_port_of(each.address) for each in self.node.listening if each.tag == DYNAMIC_TAG]


Running = AbstractAsyncContextManager[RunningNode]


def _port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


@asynccontextmanager
async def start_node(settings: config.Config) -> AsyncIterator[RunningNode]:
    """Run a node for the length of the block."""
    node = Node(settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run)
        try:
            yield RunningNode(node=node)
        finally:
            node.stop(grace=0)


# Halves -----------------------------------------------------------------------------------------


def vmess_inbounds(
    spec: ServerSpec,
    *,
    dialect: Dialect = V2RAY,
    disable_insecure_encryption: bool = False,
    unix_socket: str = "",
    stream: config.StreamSettings | None = None,
) -> tuple[config.InboundSettings, ...]:
    """Return the VMess inbound and, for dynamic ports, the one that it points to.

    Args:
        spec: how it is called.
        dialect: which VMess it speaks.
        disable_insecure_encryption: refuse aes-128-cfb and none.
        unix_socket: listen there instead of on the spec's address: a path, or `@name`; empty for
            what the spec's carrier says.
        stream: what carries VMess, in place of the spec's carrier.
    """
    unix_socket = unix_socket or spec.carrier.unix
    main = config.InboundSettings(
        tag=VMESS_TAG,
        protocol=config.VMessInboundSettings(
            users=(
                config.InboundUserSettings(
                    id=parse_user_id(spec.user_id),
                    alter_id=spec.alter_id,
                    email="user@test.invalid",
                ),
            ),
            detour="" if spec.dynamic_ports is None else DYNAMIC_TAG,
            disable_insecure_encryption=disable_insecure_encryption,
            dialect=dialect,
        ),
        listen=config.UnixSocket(unix_socket) if unix_socket else _address(spec.host),
        port=_port_range(spec.port),
        stream=stream or node_stream(spec.carrier, "server"),
    )
    if spec.dynamic_ports is None:
        return (main,)
    return (main, _dynamic_inbound(spec.dynamic_ports, spec.host, dialect))


def _dynamic_inbound(plan: DynamicPorts, host: str, dialect: Dialect) -> config.InboundSettings:
    return config.InboundSettings(
        tag=DYNAMIC_TAG,
        protocol=config.VMessInboundSettings(
            default=config.DefaultUserSettings(alter_id=plan.alter_id), dialect=dialect
        ),
        listen=_address(host),
        port=config.PortRange(plan.ports[0], plan.ports[-1]),
        allocate=config.AllocateSettings(
            strategy=config.AllocateStrategy.RANDOM,
            concurrency=plan.concurrency,
            refresh=plan.refresh,
        ),
    )


def vmess_outbound(
    spec: ClientSpec,
    *,
    other_ports: Sequence[int] = (),
    dialect: Dialect = V2RAY,
    timestamp_jitter: int = TIMESTAMP_JITTER,
    stream: config.StreamSettings | None = None,
    spares: int = 0,
    spare_keep: float = SPARE_KEEP,
) -> config.OutboundSettings:
    """Return a VMess outbound.

    Args:
        spec: whom to call, as whom.
        other_ports: further servers that know the same user.
        dialect: which VMess they speak.
        timestamp_jitter: seconds by which legacy timestamps may be off.
        stream: what carries VMess, in place of the spec's carrier.
        spares: connections that are kept open to each server.
        spare_keep: seconds for each of them.
    """
    user = config.OutboundUserSettings(
        id=parse_user_id(spec.user_id),
        alter_id=spec.alter_id,
        security=config.SecurityName(spec.security),
    )
    return config.OutboundSettings(
        tag="vmess",
        protocol=config.VMessOutboundSettings(
            servers=tuple(
                config.VMessServerSettings(
                    address=parse_host(spec.server_host), port=port, users=(user,)
                )
                for port in (spec.server_port, *other_ports)
            ),
            dialect=dialect,
            global_padding=spec.global_padding is not False,
            authenticated_length=spec.authenticated_length,
            timestamp_jitter=timestamp_jitter,
            packet_encoding=_ENCODINGS[spec.packet_encoding],
            spare_connections=spares,
            spare_keep=spare_keep,
        ),
        stream=stream or node_stream(spec.carrier, "client"),
        mux=config.MuxSettings(enabled=spec.mux),
    )


def proxy_inbound(
    spec: ClientSpec, protocol: config.InboundProtocolSettings | None = None
) -> config.InboundSettings:
    """Return the local proxy of a client: SOCKS as in the spec, or another protocol."""
    if protocol is None:
        protocol = config.SocksInboundSettings(udp=spec.udp)
        if spec.proxy_login is not None:
            user, password = spec.proxy_login
            account = config.ProxyAccountSettings(user=user, password=password)
            protocol = attrs.evolve(protocol, auth=config.SocksAuth.PASSWORD, accounts=(account,))
    return config.InboundSettings(
        tag=PROXY_TAG, protocol=protocol, listen=_LOOPBACK, port=_port_range(spec.proxy_port)
    )


def freedom(*, allow_private: bool = True) -> config.OutboundSettings:
    """Return an outbound straight to the destination, which in tests is on loopback."""
    protocol = config.FreedomOutboundSettings(allow_private=allow_private)
    return config.OutboundSettings(tag="freedom", protocol=protocol)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(host)


def _port_range(port: int | None) -> config.PortRange:
    return _ANY_PORT if port is None else config.PortRange(port, port)


# Whole nodes --------------------------------------------------------------------------------------


def start_server_node(
    spec: ServerSpec | None = None,
    *,
    allow_private: bool = True,
    dialect: Dialect = V2RAY,
    disable_insecure_encryption: bool = False,
    policy: config.PolicySettings | None = None,
    stream: config.StreamSettings | None = None,
) -> Running:
    """Run a VMess server that connects to targets itself.

    Args:
        spec: how it is called.
        allow_private: let its users reach this machine, where all origins are.
        dialect: which VMess it speaks.
        disable_insecure_encryption: refuse aes-128-cfb and none.
        policy: its time limits; None for the defaults.
        stream: what carries VMess, in place of the spec's carrier.
    """
    settings = config.Config(
        inbounds=vmess_inbounds(
            spec or ServerSpec(),
            dialect=dialect,
            disable_insecure_encryption=disable_insecure_encryption,
            stream=stream,
        ),
        outbounds=(freedom(allow_private=allow_private),),
        policy=policy or config.PolicySettings(),
    )
    return start_node(settings)


def start_client_node(
    spec: ClientSpec,
    *,
    proxy: config.InboundProtocolSettings | None = None,
    other_ports: Sequence[int] = (),
    dialect: Dialect = V2RAY,
    timestamp_jitter: int = TIMESTAMP_JITTER,
    policy: config.PolicySettings | None = None,
    stream: config.StreamSettings | None = None,
    spares: int = 0,
    spare_keep: float = SPARE_KEEP,
) -> Running:
    """Run a local proxy that passes everything to a VMess server.

    Args:
        spec: whom to call, as whom.
        proxy: None for SOCKS as in the spec.
        other_ports: further servers that know the same user.
        dialect: which VMess they speak.
        timestamp_jitter: seconds by which legacy timestamps may be off.
        policy: its time limits; None for the defaults.
        stream: what carries VMess, in place of the spec's carrier.
        spares: connections that are kept open to each server.
        spare_keep: seconds for each of them.
    """
    outbound = vmess_outbound(
        spec,
        other_ports=other_ports,
        dialect=dialect,
        timestamp_jitter=timestamp_jitter,
        stream=stream,
        spares=spares,
        spare_keep=spare_keep,
    )
    settings = config.Config(
        inbounds=(proxy_inbound(spec, proxy),),
        outbounds=(outbound,),
        policy=policy or config.PolicySettings(),
    )
    return start_node(settings)


def start_chain_node(server: ServerSpec, client: ClientSpec) -> Running:
    """Run a VMess server that passes everything to another VMess server.

    Args:
        server: how it is called.
        client: the server to connect to; the spec's SOCKS settings are not used.
    """
    return start_node(
        config.Config(inbounds=vmess_inbounds(server), outbounds=(vmess_outbound(client),))
    )
