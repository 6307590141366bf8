"""Socket settings as the kernel sees them; and the errors where it does not want to."""

import contextlib
import ipaddress
import socket
import struct
import sys
from collections.abc import Sequence

import attrs
import pytest
import trio

from tests.kit.origin import start_echo, start_udp_echo
from tests.kit.rights import IS_ROOT, without_rights
from trio_vmess.config import (
    Config,
    DokodemoInboundSettings,
    FreedomOutboundSettings,
    HttpOutboundSettings,
    InboundSettings,
    OutboundSettings,
    ParentProxySettings,
    PortRange,
    SocketSettings,
    StreamSettings,
    TransparentProxy,
    UnixSocket,
)
from trio_vmess.core import Destination, Network
from trio_vmess.core.flow import Flow
from trio_vmess.errors import ConfigError, DialError, DialFailure
from trio_vmess.listen import bind_datagram_socket, open_listener
from trio_vmess.node import Node
from trio_vmess.node.socket_options import (
    SocketOptions,
    _options,
    dialling_options,
    listening_options,
    make_transparent,
)
from trio_vmess.outbound.freedom import FreedomOutbound, SocketPacketLink
from trio_vmess.transport import SocketOption, SocketTransport, connect_datagram_socket, dial

LOOPBACK = ipaddress.IPv4Address("127.0.0.1")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the options are Linux's own")
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root may mark")

TCP_FASTOPEN_CONNECT = 30
EVERYTHING = SocketSettings(
    tcp_fast_open=True,
    keepalive_idle=100,
    keepalive_interval=7,
    interface="lo",
    user_timeout=12.5,
)
MARKED = SocketSettings(mark=0xFFFF_FFFE)


def options_of(settings: SocketSettings, *, listens: bool = False) -> Sequence[SocketOption]:
    make = listening_options if listens else dialling_options
    return make(StreamSettings(socket=settings), file="").streams


def datagram_options_of(settings: SocketSettings) -> Sequence[SocketOption]:
    return dialling_options(StreamSettings(socket=settings), file="").datagrams


def check_everything(sock: socket.socket) -> None:
    tcp, level = socket.IPPROTO_TCP, socket.SOL_SOCKET
    assert sock.getsockopt(level, socket.SO_KEEPALIVE) == 1
    assert sock.getsockopt(tcp, socket.TCP_KEEPIDLE) == 100
    assert sock.getsockopt(tcp, socket.TCP_KEEPINTVL) == 7
    assert sock.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 12_500
    assert sock.getsockopt(level, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"


def mark_of(sock: socket.socket) -> int:
    (mark,) = struct.unpack("=I", sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK, 4))
    return int(mark)


async def test_sockets_that_listen_and_what_they_accept() -> None:
    listener = open_listener(LOOPBACK, options=options_of(EVERYTHING, listens=True))
    with contextlib.closing(listener), socket.create_connection(("127.0.0.1", listener.port)):
        sock = listener._socket
        check_everything(sock)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN) > 0
        await trio.lowlevel.wait_readable(sock)
        with sock.accept()[0] as accepted:
            check_everything(accepted)


async def test_sockets_that_connect() -> None:
    async with start_echo() as origin:
        transport = await dial(LOOPBACK, origin.port, options=options_of(EVERYTHING))
        sock = transport.socket
        check_everything(sock)
        assert sock.getsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT) == 1
        await transport.aclose()


def test_nothing_is_set_by_default() -> None:
    for listens in (True, False):
        assert not options_of(SocketSettings(), listens=listens)
        assert not options_of(SocketSettings(tcp_fast_open=False, mark=0), listens=listens)


@needs_root
async def test_a_mark_on_every_socket() -> None:
    options = options_of(MARKED, listens=True)
    listener = open_listener(LOOPBACK, options=options)
    with contextlib.closing(listener):
        assert mark_of(listener._socket) == 0xFFFF_FFFE
        transport = await dial(LOOPBACK, listener.port, options=options_of(MARKED))
        assert mark_of(transport.socket) == 0xFFFF_FFFE
        await transport.aclose()
    with bind_datagram_socket(LOOPBACK, 0, options=datagram_options_of(MARKED)) as bound:
        assert mark_of(bound) == 0xFFFF_FFFE


@needs_root
async def test_datagrams_have_no_options_of_tcp() -> None:
    settings = attrs.evolve(EVERYTHING, mark=5)
    datagrams = connect_datagram_socket(LOOPBACK, 9, options=datagram_options_of(settings))
    assert mark_of(datagrams.socket) == 5
    assert datagrams.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
    datagrams.close()


@needs_root
async def test_freedom_has_options_of_its_own_connections() -> None:
    node = Node(outbound_config(FreedomOutboundSettings(allow_private=True), MARKED))
    (freedom,) = node.outbounds
    assert isinstance(freedom, FreedomOutbound)
    async with start_echo() as origin, start_udp_echo() as udp_origin:
        connected = await freedom.connect(flow_to(origin.port, Network.TCP))
        transport = connected.remote.transport
        assert isinstance(transport, SocketTransport)
        assert mark_of(transport.socket) == 0xFFFF_FFFE
        await transport.aclose()
        link = (await freedom.connect_packets(flow_to(udp_origin.port, Network.UDP))).remote
        assert isinstance(link, SocketPacketLink)
        assert mark_of(link._datagrams.socket) == 0xFFFF_FFFE
        await link.aclose()


def flow_to(port: int, network: Network) -> Flow:
    destination = Destination(host=LOOPBACK, port=port, network=network)
    return Flow(destination=destination, inbound_tag="", source="")


def outbound_config(
    protocol: FreedomOutboundSettings | HttpOutboundSettings, settings: SocketSettings
) -> Config:
    stream = StreamSettings(socket=settings)
    return Config(outbounds=(OutboundSettings(protocol=protocol, stream=stream),))


# Errors -------------------------------------------------------------------------------------------


async def test_a_mark_without_the_right_to() -> None:
    options = options_of(MARKED)
    with without_rights():
        with pytest.raises(
            DialError, match="'mark' cannot be set: the node lacks the ri"
        ) as dialled:
            await dial(LOOPBACK, 9, options=options)
        with pytest.raises(DialError, match="'mark' cannot be set"):
            connect_datagram_socket(LOOPBACK, 9, options=options)
        with pytest.raises(OSError, match=r"'mark' cannot be set: .*CAP_NET_ADMIN") as listened:
            open_listener(LOOPBACK, 0, options=options)
    assert dialled.value.reason is DialFailure.FORBIDDEN
    assert str(listened.value.strerror).startswith("cannot listen on 127.0.0.1:0: the socket opti")


async def test_an_interface_that_is_not_there() -> None:
    options = options_of(SocketSettings(interface="nothing0"))
    with pytest.raises(DialError, match="'interface' cannot be set: this machine has no network"):
        await dial(LOOPBACK, 9, options=options)


async def test_a_listener_that_is_refused_ends_the_start() -> None:
    settings = Config(
        inbounds=(
            InboundSettings(
                protocol=DokodemoInboundSettings(target_address=LOOPBACK, target_port=9),
                listen=LOOPBACK,
                port=PortRange(0, 0),
                stream=StreamSettings(socket=SocketSettings(interface="nothing0")),
            ),
        ),
        outbounds=(OutboundSettings(protocol=FreedomOutboundSettings()),),
    )
    with pytest.RaisesGroup(
        pytest.RaisesExc(OSError, match="'interface' cannot be set"), flatten_subgroups=True
    ):
        await Node(settings).run()


async def test_a_server_of_an_outbound_is_dialled_with_the_options() -> None:
    server = ParentProxySettings(address=LOOPBACK, port=9)
    settings = SocketSettings(interface="nothing0")
    node = Node(outbound_config(HttpOutboundSettings(servers=(server,)), settings))
    with pytest.raises(DialError, match="'interface' cannot be set"):
        await node.outbounds[0].connect(flow_to(80, Network.TCP))


def test_an_option_that_the_system_does_not_have() -> None:
    stream = StreamSettings(socket=SocketSettings(tcp_fast_open=True))
    with pytest.raises(ConfigError, match=r"stream\.socket: .* has no option 'tcp_fast_open'; rem"):
        _options(stream, None, 1, file="")


@pytest.mark.parametrize(
    ("mode", "listen", "kinds"),
    [
        (TransparentProxy.OFF, ipaddress.ip_address("0.0.0.0"), ([], [])),
        (TransparentProxy.REDIRECT, ipaddress.ip_address("0.0.0.0"), ([], [])),
        (TransparentProxy.TPROXY, UnixSocket("/run/x"), ([], [])),
        (TransparentProxy.TPROXY, ipaddress.ip_address("0.0.0.0"), ([(0, 19)], [(0, 19), (0, 20)])),
        (TransparentProxy.TPROXY, ipaddress.ip_address("::"), ([(41, 75)], [(41, 75), (41, 74)])),
    ],
)
def test_options_of_a_transparent_proxy(
    mode: TransparentProxy,
    listen: ipaddress.IPv4Address | ipaddress.IPv6Address | UnixSocket,
    kinds: tuple[list[tuple[int, int]], list[tuple[int, int]]],
) -> None:
    settings = InboundSettings(
        protocol=DokodemoInboundSettings(target_address="a.b", target_port=1),
        listen=listen,
        stream=StreamSettings(socket=SocketSettings(tproxy=mode)),
    )
    found = make_transparent(SocketOptions(), settings, file="")
    assert (
        tuple(
            [(each.level, each.number) for each in options]
            for options in (found.streams, found.datagrams)
        )
        == kinds
    )
