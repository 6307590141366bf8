"""VMess for programs on asyncio: a stream through a server, as a reader and a writer."""

from trio_vmess.asyncio.client import open_vmess_connection

__all__ = ["open_vmess_connection"]
