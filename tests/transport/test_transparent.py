"""Where redirected connections were going: the kernel's answers, and those it does not have."""

import errno
import ipaddress
import os
import socket
import sys

import pytest

from tests.kit.rights import IS_ROOT
from tests.kit.sockets import tcp_pair
from trio_vmess.core import Destination, Network
from trio_vmess.transport import (
    bind_as_destination,
    destination_of,
    reached_address,
    receive_to,
    redirected_from,
    set_options,
    transparent_options,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="transparent proxying is Linux's")
needs_root = pytest.mark.skipif(not IS_ROOT, reason="transparent sockets take CAP_NET_ADMIN")

NAMES = {
    socket.AF_INET: (
        "0200 01bb cb007105 0000000000000000",
        Destination(host=ipaddress.ip_address("203.0.113.5"), port=443),
    ),
    socket.AF_INET6: (
        "0a00 01bb 00000000 20010db8000100000000000000000005 00000000",
        Destination(host=ipaddress.ip_address("2001:db8:1::5"), port=443),
    ),
}
"""Addresses as a little-endian kernel has them in memory."""

little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="names as x86 has them")


class Redirected(socket.socket):
    """A socket of which the kernel knows that it was redirected."""

    def getsockopt(self, level, option, size=0):  # type: ignore[no-untyped-def,override]
        name = bytes.fromhex(NAMES[self.family][0])
        levels = {socket.AF_INET: socket.SOL_IP, socket.AF_INET6: socket.IPPROTO_IPV6}
        if (level, option, size) != (levels[self.family], 80, len(name)):
            raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
        return name


@little_endian
@pytest.mark.parametrize("family", NAMES)
def test_a_redirected_connection(family: socket.AddressFamily) -> None:
    with Redirected(family) as sock:
        assert redirected_from(sock) == NAMES[family][1]


def test_a_connection_that_was_not_redirected() -> None:
    _, accepted = tcp_pair()
    # With a table of connections, the kernel says where this one was going: here.
    assert redirected_from(accepted) in (None, reached_address(accepted))
    host, port = accepted.getsockname()
    assert reached_address(accepted) == Destination(host=ipaddress.ip_address(host), port=port)


def test_a_connection_that_is_closed() -> None:
    _, accepted = tcp_pair()
    accepted.close()
    assert reached_address(accepted) is None


@little_endian
@pytest.mark.parametrize("family", NAMES)
def test_a_name_is_read_for_any_network(family: socket.AddressFamily) -> None:
    name, expected = NAMES[family]
    found = destination_of(bytes.fromhex(name), Network.UDP)
    assert (found.host, found.port, found.network) == (expected.host, 443, Network.UDP)


def test_a_datagram_of_which_the_system_does_not_tell() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        sock.bind(("127.0.0.1", 0))
        peer.bind(("127.0.0.1", 0))
        peer.sendto(b"x", sock.getsockname())
        assert receive_to(sock, 10) == (b"x", peer.getsockname(), b"")


@needs_root
@pytest.mark.parametrize(
    ("family", "own"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_answers_come_from_where_datagrams_were_going(
    family: socket.AddressFamily, own: str
) -> None:
    with (
        socket.socket(family, socket.SOCK_DGRAM) as sock,
        socket.socket(family, socket.SOCK_DGRAM) as peer,
    ):
        set_options(sock, transparent_options(family, socket.SOCK_DGRAM))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 77)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((own, 0))
        peer.bind((own, 0))
        peer.sendto(b"x", sock.getsockname())
        datagram, source, name = receive_to(sock, 10)
        assert (datagram, source) == (b"x", peer.getsockname())
        with bind_as_destination(name, sock) as answering:
            assert answering.getsockname() == sock.getsockname()
            assert answering.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) == 77
        # An address of somebody else.
        foreign = bytes.fromhex(NAMES[family][0])
        with bind_as_destination(foreign, sock) as answering:
            assert answering.getsockname()[1] == 443
