"""What carries a stream of VMess other than plain TCP, and what proxies in front say about it.

camouflage      an HTTP head in front of each direction of plain TCP
nginx           error pages for everybody else
proxy_protocol  a header in which a proxy names its client
forwarded_for   the same in the header of an HTTP request

In packages of their own, so that a node loads only what its settings ask for:

websocket       frames, and a stream of bytes in them
upgrade         the HTTP heads in front of WebSocket and HTTPUpgrade
http2           connections of HTTP/2, and streams of bytes in them
grpc            messages of gRPC, and a stream of bytes in them
site            what a web site of files answers
"""

from trio_vmess.core.carriage.camouflage import (
    CamouflageClient,
    CamouflageRequest,
    CamouflageResponse,
    CamouflageServer,
    HeadPassed,
    HeadRefused,
)
from trio_vmess.core.carriage.forwarded_for import find_client, is_loopback
from trio_vmess.core.carriage.nginx import NginxPage, nginx_answer, nginx_head
from trio_vmess.core.carriage.proxy_protocol import (
    ProxyHeader,
    ProxyHeaderReader,
    encode_proxy_v1,
    encode_proxy_v2,
)

__all__ = [
    "CamouflageClient",
    "CamouflageRequest",
    "CamouflageResponse",
    "CamouflageServer",
    "HeadPassed",
    "HeadRefused",
    "NginxPage",
    "ProxyHeader",
    "ProxyHeaderReader",
    "encode_proxy_v1",
    "encode_proxy_v2",
    "find_client",
    "is_loopback",
    "nginx_answer",
    "nginx_head",
]
