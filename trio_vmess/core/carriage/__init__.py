"""What carries a stream of VMess other than plain TCP, and what proxies in front say about it.

camouflage      an HTTP head in front of each direction of plain TCP
nginx           error pages for everybody else

In packages of their own, so that a node loads only what its settings ask for:

websocket       frames, and a stream of bytes in them
upgrade         the HTTP heads in front of WebSocket and HTTPUpgrade
"""

from trio_vmess.core.carriage.camouflage import (
    CamouflageClient,
    CamouflageRequest,
    CamouflageResponse,
    CamouflageServer,
    HeadPassed,
    HeadRefused,
)
from trio_vmess.core.carriage.nginx import NginxPage, nginx_answer

__all__ = [
    "CamouflageClient",
    "CamouflageRequest",
    "CamouflageResponse",
    "CamouflageServer",
    "HeadPassed",
    "HeadRefused",
    "NginxPage",
    "nginx_answer",
]
