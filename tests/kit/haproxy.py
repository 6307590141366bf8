"""haproxy as people put it in front: TLS ends there, and a PROXY header tells where it came from.

A haproxy that is not installed makes its tests skip, and fail where the environment says CI=true.
"""

import os
import shutil
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import pytest

from tests.kit.carriers import SERVER_NAME
from tests.kit.certificates import issue
from tests.kit.names import IPV4_LOOPBACK
from tests.kit.peer_process import RunningPeer, run_peer
from tests.kit.ports import free_port

_SEARCH_PATH: Final = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))

_CONFIGURATION: Final = """
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h

frontend tunnels
  bind {host}:{port} ssl crt {certificate} alpn {alpn}
  default_backend node

backend node
  server node {upstream} {header} check inter 100ms
"""


def require_haproxy() -> str:
    """Return haproxy's path; skip the running test if there is none, or fail it where CI=true."""
    program = shutil.which("haproxy", path=_SEARCH_PATH)
    if program is not None:
        return program
    reason = "no haproxy on PATH (Debian package haproxy)"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"{reason}, and CI=true forbids skipping")
    pytest.skip(reason)


def start_haproxy(
    unix_socket: str, folder: Path, *, version: int, alpn: str
) -> AbstractAsyncContextManager[RunningPeer]:
    """Run haproxy with TLS in front of a tunnel without; it checks all the time that it is there.

    Args:
        unix_socket: where the tunnel is: a path, or `@@name`.
        folder: for the certificate's file.
        version: of the PROXY header, 1 or 2.
        alpn: the application protocol to agree on.
    """
    leaf = issue(SERVER_NAME)
    certificate = folder / "haproxy.pem"
    certificate.write_bytes(leaf.private_key_and_cert_chain_pem.bytes())
    port = free_port()
    text = _CONFIGURATION.format(
        host=IPV4_LOOPBACK,
        port=port,
        certificate=certificate,
        alpn=alpn,
        upstream=f"abns@{name}"
        if (name := unix_socket.removeprefix("@@")) != unix_socket
        else f"unix@{unix_socket}",
        header="send-proxy" if version == 1 else "send-proxy-v2",
    )
    return run_peer("haproxy", [require_haproxy(), "-f"], text, IPV4_LOOPBACK, port, {})
