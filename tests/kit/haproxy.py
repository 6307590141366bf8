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
from tests.kit.recipes import recipes, with_socket

_SEARCH_PATH: Final = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))

_DEFAULTS: Final = """
defaults
  timeout connect 5s
  timeout client 1h
  timeout server 1h

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
    """Run haproxy with TLS in front of a tunnel without, as the manual recommends it.

    It asks ten times a second whether the tunnel is there.

    Args:
        unix_socket: where the tunnel is: a path, or `@@name`.
        folder: for the certificate's file.
        version: of the PROXY header, 1 or 2.
        alpn: the application protocol to agree on.
    """
    certificate = folder / "haproxy.pem"
    certificate.write_bytes(issue(SERVER_NAME).private_key_and_cert_chain_pem.bytes())
    port = free_port()
    (recipe,) = recipes("haproxy")
    text = _DEFAULTS + with_socket(recipe, unix_socket)
    for old, new in (
        ("bind :443", f"bind {IPV4_LOOPBACK}:{port}"),
        ("/etc/haproxy/example.com.pem", str(certificate)),
        ("alpn http/1.1", f"alpn {alpn}"),
        ("send-proxy-v2", "send-proxy-v2" if version == 2 else "send-proxy"),
        (" check\n", " check inter 100ms\n"),
        ("unix@@@", "abns@"),
    ):
        text = text.replace(old, new)
    return run_peer("haproxy", [require_haproxy(), "-f"], text, IPV4_LOOPBACK, port, {})
