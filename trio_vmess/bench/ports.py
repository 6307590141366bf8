"""Free ports of loopback, for programs that must be told a number.

Port 0 gives a number of the kernel's ephemeral range, where the next outgoing connection may take
it before the program binds it. These come from below that range.
"""

import secrets
import socket
from typing import Final

from trio_vmess.bench.processes import BenchError

_RANGE: Final = range(12_000, 32_768)
"""Up to where Linux begins with ephemeral ports by default."""
_TRIES: Final = 1000

_given: Final[set[int]] = set()


def free_port() -> int:
    """Return a port that TCP and UDP had free a moment ago, and that was not returned before.

    Raises:
        BenchError: none was found.
    """
    for _ in range(_TRIES):
        port = secrets.choice(_RANGE)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise BenchError(f"found no free port from {_RANGE[0]} to {_RANGE[-1]} on 127.0.0.1")


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
