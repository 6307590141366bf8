"""VMess for programs on asyncio: a stream through a server, as a reader and a writer."""

from trio_vmess.asyncio.client import connect, open_vmess_connection
from trio_vmess.asyncio.transport import VMessTransport

__all__ = ["VMessTransport", "connect", "open_vmess_connection"]
