"""Which addresses are this machine's; the loopback suite has a machine with public ones."""

import errno
import ipaddress
import socket

import pytest

from tests.kit.names import has_ipv6_loopback
from trio_vmess.transport import is_own_address, own_addresses


@pytest.mark.parametrize("text", ["127.0.0.1", "127.255.255.254", "0.0.0.0"])
def test_own(text: str) -> None:
    assert is_own_address(ipaddress.ip_address(text))


def test_own_of_ipv6() -> None:
    if not has_ipv6_loopback():
        pytest.skip("there is no ::1 here")
    assert is_own_address(ipaddress.ip_address("::1"))
    assert is_own_address(ipaddress.ip_address("::"))


@pytest.mark.parametrize("text", ["192.0.2.77", "198.51.100.1", "2001:db8::7", "fe80::1"])
def test_not_own(text: str) -> None:
    assert not is_own_address(ipaddress.ip_address(text))


def test_without_a_descriptor_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket(*_arguments: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(own_addresses.socket, "socket", no_socket)
    with pytest.raises(OSError, match="Too many"):
        is_own_address(ipaddress.ip_address("192.0.2.77"))
