"""Free ports for programs that must be told a number before they bind it.

Asking the kernel for port 0 returns a number from its ephemeral range, where the next outgoing
connection may take it before the peer binds.
These ports come from below that range: nothing takes one there without asking for it by number.
Each is tried on TCP and UDP (a SOCKS server wants both) and is handed out once per process.
Concurrent test runs and workers start far apart, so they do not compete.
"""

import itertools
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.kit.names import loopback_addresses

_LOWEST: Final = 12_000
_DEFAULT_EPHEMERAL: Final = 32_768
_EPHEMERAL_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_STRIDE: Final = 12_835
"""Distance between the first ports of two processes with neighbouring ids, round the range.

The golden section of the usual range: the workers of one run, whose ids are neighbours, start
thousands of ports apart, more than any of them uses.
"""


def _highest() -> int:
    try:
        first_ephemeral = int(_EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        first_ephemeral = _DEFAULT_EPHEMERAL
    # A machine with a widened ephemeral range leaves no room below it: then any port may race.
    return first_ephemeral if first_ephemeral > _LOWEST + 1_000 else _DEFAULT_EPHEMERAL


def _candidates() -> Iterator[int]:
    span = _highest() - _LOWEST
    start = os.getpid() * _STRIDE % span
    return itertools.islice(itertools.cycle(range(_LOWEST, _LOWEST + span)), start, start + span)


_unused = _candidates()


def is_free(port: int) -> bool:
    """Return whether TCP and UDP can be bound to `port` on every loopback address."""
    for address in loopback_addresses():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            try:
                with socket.socket(family, kind) as probe:
                    probe.bind((address, port))
            except OSError:
                return False
    return True


def free_port() -> int:
    """Return a port that was free a moment ago and is promised to nobody else in this process.

    Raises:
        RuntimeError: every candidate was used up.
    """
    for port in _unused:
        if is_free(port):
            return port
    raise RuntimeError("no free port left for tests")


def free_port_range(count: int) -> range:
    """Return `count` neighbouring free ports, for peers that allocate from a range.

    Raises:
        ValueError: `count` is not positive.
        RuntimeError: every candidate was used up.
    """
    if count < 1:
        raise ValueError(f"count must be positive, not {count}")
    first = port = free_port()
    while port - first + 1 < count:
        port, previous = free_port(), port
        if port != previous + 1:
            first = port
    return range(first, port + 1)
