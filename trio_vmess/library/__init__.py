"""What programs import: a stream through a VMess server, a node in their own nursery."""

from trio_vmess.library.client import connect, open_vmess_stream, serve
from trio_vmess.library.stream import VMessStream

__all__ = [
    "VMessStream",
    "connect",
    "open_vmess_stream",
    "serve",
]
