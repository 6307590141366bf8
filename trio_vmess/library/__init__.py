"""What programs import: streams and datagrams through a VMess server, a node in their nursery."""

from trio_vmess.library.client import connect, open_vmess_datagrams, open_vmess_stream, serve
from trio_vmess.library.datagrams import VMessDatagrams
from trio_vmess.library.stream import VMessStream

__all__ = [
    "VMessDatagrams",
    "VMessStream",
    "connect",
    "open_vmess_datagrams",
    "open_vmess_stream",
    "serve",
]
