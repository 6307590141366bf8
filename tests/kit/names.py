"""The names of this machine's loopback, as targets for proxied connections."""

import functools
import socket
from typing import Final

IPV4_LOOPBACK: Final = "127.0.0.1"
IPV6_LOOPBACK: Final = "::1"
LOCALHOST: Final = "localhost"
"""The one domain a test may ask a peer to resolve: the hosts file answers it, no resolver."""


@functools.cache
def has_ipv6_loopback() -> bool:
    """Return whether a socket can be bound to ::1 here."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind((IPV6_LOOPBACK, 0))
    except OSError:
        return False
    return True


def loopback_addresses() -> tuple[str, ...]:
    """Return the loopback addresses that can be bound here, IPv4 first."""
    return (IPV4_LOOPBACK, IPV6_LOOPBACK) if has_ipv6_loopback() else (IPV4_LOOPBACK,)


def target_hosts() -> tuple[str, ...]:
    """Return every form of loopback target: IPv4, domain and, where it exists, IPv6."""
    return (IPV4_LOOPBACK, LOCALHOST, *loopback_addresses()[1:])
