"""What this process has open, as Linux tells it: for tests that nothing is left behind.

Elsewhere there is no such list, and the tests that need it are skipped.
"""

import os
import socket
from pathlib import Path
from typing import Final

import pytest

_OPEN: Final = Path("/proc/self/fd")


def _require_list() -> None:
    if not _OPEN.is_dir():
        pytest.skip("this system has no /proc/self/fd")


def open_descriptors() -> dict[int, str]:
    """Return the open file descriptors with what they are, such as `socket:[4026]`."""
    _require_list()
    found = {}
    for entry in _OPEN.iterdir():
        try:
            found[int(entry.name)] = str(entry.readlink())
        except FileNotFoundError:
            # The descriptor of this very listing.
            continue
    return found


def connected_ports() -> set[int]:
    """Return the remote ports of all TCP connections of this process, both ends' counted."""
    ports = set()
    for number, what in open_descriptors().items():
        if not what.startswith("socket:"):
            continue
        with socket.socket(fileno=os.dup(number)) as duplicate:
            if duplicate.type != socket.SOCK_STREAM:
                continue
            try:
                name = duplicate.getpeername()
            except OSError:
                continue
            if isinstance(name, tuple):
                ports.add(name[1])
    return ports
