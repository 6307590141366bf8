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

from tests.kit.carriers import PATH, SERVER_NAME, SERVICE_NAME
from tests.kit.certificates import write_certificate
from tests.kit.names import IPV4_LOOPBACK
from tests.kit.peer_process import RunningPeer, run_peer
from tests.kit.ports import free_port

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

  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}

  server {{
    listen {host}:{port} ssl http2;
    server_name {name};
    ssl_certificate {certificate};
    ssl_certificate_key {key};

    location = {path} {{
      if ($http_upgrade != "websocket") {{ return 404; }}
      proxy_pass http://{upstream};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_read_timeout 1h;
      proxy_send_timeout 1h;
      proxy_buffering off;
    }}

    location /{service}/ {{
      grpc_pass grpc://{upstream};
      grpc_set_header X-Forwarded-For $remote_addr;
      grpc_read_timeout 1h;
      grpc_send_timeout 1h;
      client_max_body_size 0;
      client_body_timeout 1h;
    }}

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


def start_nginx(upstream: str, folder: Path) -> AbstractAsyncContextManager[RunningPeer]:
    """Run nginx with TLS in front of a tunnel without.

    Args:
        upstream: where the tunnel is: the path of a Unix socket, or `HOST:PORT`.
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
        path=PATH,
        service=SERVICE_NAME,
        site=SITE,
        upstream=f"unix:{upstream}" if upstream.startswith("/") else upstream,
    )
    command = [require_nginx(), "-p", ".", "-e", "stderr", "-c"]
    return run_peer("nginx", command, text, IPV4_LOOPBACK, port, {})
