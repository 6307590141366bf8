"""Whether the nodes of a pair share connections, as they are told to: connections are counted.

A client that ignores `mux` opens one for each of its programs, and would be measured as if it did
more.
"""

import contextlib
from pathlib import Path
from typing import Final

from trio_vmess.bench import BenchError, Pair, connect

_COUNT: Final = 2
_LIMIT: Final = 10.0
"""Seconds for each step."""
_PAYLOAD: Final = bytes(64)
_ESTABLISHED: Final = "01"
_TABLE: Final = Path("/proc/net/tcp")


def check_sharing(pair: Pair) -> None:
    """Use two connections at a time, and count those to the server, if they are to share one.

    Args:
        pair: running nodes, before any load.

    Raises:
        BenchError: there is not exactly one, or nothing comes back.
    """
    if not pair.setup.mux or pair.server is None:
        return
    with contextlib.ExitStack() as stack:
        for _ in range(_COUNT):
            try:
                sock = stack.enter_context(connect(pair.target, b"e"))
                sock.settimeout(_LIMIT)
                sock.sendall(_PAYLOAD)
                # Whoever has its answer has a connection of its own, or a part of another one.
                sock.recv(1)
            except OSError as exc:
                raise BenchError(f"mux: {type(exc).__name__}: {exc}") from None
        count = connection_count(pair.port_of("server"), _TABLE.read_text("ascii"))
        if count != 1:
            raise BenchError(f"mux: {_COUNT} connections of programs had {count} to the server")


def connection_count(port: int, table: str) -> int:
    """Return how many connections to a port are established.

    Args:
        port: at the other end.
        table: as the kernel writes it: `/proc/net/tcp`.
    """
    rows = (line.split() for line in table.splitlines()[1:])
    suffix = f":{port:04X}"
    return sum(1 for row in rows if row[2].endswith(suffix) and row[3] == _ESTABLISHED)
