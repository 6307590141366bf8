"""nginx as people put it in front: TLS and a web site, with a tunnel behind one path of it.

nginx is the one on PATH, or Debian's; one that is not installed makes its tests skip, and fail
where the environment says CI=true.
"""

import os
import shutil
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import pytest

from tests.kit.carriers import SERVER_NAME
from tests.kit.certificates import write_certificate
from tests.kit.names import IPV4_LOOPBACK
from tests.kit.peer_process import RunningPeer, run_peer
from tests.kit.ports import free_port
from tests.kit.recipes import recipes, with_socket

SITE: Final = "a web site"
"""What the front answers to all who do not know the tunnel's path."""

_SEARCH_PATH: Final = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))

# Without a master process there is no other user who would have to open the Unix socket.
_CONFIGURATION: Final = """
daemon off;
master_process off;
error_log stderr info;
pid nginx.pid;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;

  server {{
    listen {host}:{port} ssl http2;
    server_name {name};
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    {tunnels}
    location / {{ return 200 "{site}"; }}
  }}
}}
"""


def require_nginx() -> str:
    """Return nginx's path; skip the running test if there is none, or fail it where CI=true."""
    program = shutil.which("nginx", path=_SEARCH_PATH)
    if program is not None:
        return program
    reason = "no nginx on PATH (Debian package nginx-light)"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"{reason}, and CI=true forbids skipping")
    pytest.skip(reason)


def start_nginx(unix_socket: str, folder: Path) -> AbstractAsyncContextManager[RunningPeer]:
    """Run nginx with TLS in front of a tunnel without, as the manual recommends it.

    Args:
        unix_socket: where the tunnel is: a path.
        folder: for the certificate's files.
    """
    files = write_certificate(folder, SERVER_NAME)
    port = free_port()
    text = _CONFIGURATION.format(
        host=IPV4_LOOPBACK,
        port=port,
        name=SERVER_NAME,
        certificate=files.certificate,
        key=files.key,
        tunnels="\n".join(with_socket(recipe, unix_socket) for recipe in recipes("nginx")),
        site=SITE,
    )
    command = [require_nginx(), "-p", ".", "-e", "stderr", "-c"]
    return run_peer("nginx", command, text, IPV4_LOOPBACK, port, {})
