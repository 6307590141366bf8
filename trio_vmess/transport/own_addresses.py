"""Which addresses are this machine's own."""

import errno
import ipaddress
import socket
from collections.abc import Mapping
from typing import Final

from trio_vmess.core import IPAddress

_NOT_OURS: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL})
"""What `bind` says of another machine's address. EINVAL is for a link-local address without the
interface, which cannot be dialled either."""

_UNASSIGNED: Final[Mapping[int, IPAddress]] = {
    4: ipaddress.IPv4Address("192.0.2.1"),
    6: ipaddress.IPv6Address("2001:db8::1"),
}
"""Addresses that are in documentation only. Source: RFC 5737 and RFC 3849."""


def is_own_address(address: IPAddress) -> bool:
    """Tell whether what is sent to an address stays on this machine, whatever interface has it.

    A socket can be bound to the machine's own addresses and to no others. The kernel is asked
    each time, which takes two system calls more than a list would: there is nothing to list on
    every platform anew, and nothing that could be out of date.

    Raises:
        OSError: the system has no socket left to find out.
    """
    if not _can_bind(address):
        return False
    if not _can_bind(_UNASSIGNED[address.version]):
        return True
    # Linux has a setting that lets sockets have any address (ip_nonlocal_bind, for machines that
    # take over another one's). Then the source that the kernel chooses tells: its own addresses
    # are reached from themselves.
    return address.is_loopback or address.is_unspecified or source_towards(address) == address


def _can_bind(address: IPAddress) -> bool:
    try:
        probe = _open(address)
    except OSError as exc:
        if exc.errno in _NOT_OURS:
            return False
        raise
    with probe:
        try:
            probe.bind((str(address), 0))
        except OSError as exc:
            return exc.errno not in _NOT_OURS
    return True


def source_towards(address: IPAddress) -> IPAddress | None:
    """Return the address that the kernel would send from, or None without a way; nothing is sent.

    Raises:
        OSError: the system has no socket left, or none of this family.
    """
    with _open(address) as probe:
        try:
            probe.connect((str(address), 9))
        except OSError:
            return None
        return ipaddress.ip_address(str(probe.getsockname()[0]))


def _open(address: IPAddress) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return socket.socket(family, socket.SOCK_DGRAM)
