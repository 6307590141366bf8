"""Addresses to show to users."""

import socket
from typing import Final

from trio_vmess.core import Host, IPAddress, parse_host

_DISCARD_PORT: Final = 9


def reachable_host(listen: IPAddress) -> Host:
    """Guess the address at which clients reach a server.

    For a wildcard address, this is the address from which this machine would connect to the
    Internet; no packet is sent to find out. Behind network address translation it is a private
    address, and only the user knows the public one.

    Args:
        listen: the address that the server listens on.
    """
    if not listen.is_unspecified:
        return listen
    # Documentation addresses (RFC 5737, RFC 3849): routed like others, but assigned to nobody.
    family, target, loopback = (
        (socket.AF_INET, "192.0.2.1", "127.0.0.1")
        if listen.version == 4
        else (socket.AF_INET6, "2001:db8::1", "::1")
    )
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, _DISCARD_PORT))
            return parse_host(str(probe.getsockname()[0]))
        except OSError:
            return parse_host(loopback)
