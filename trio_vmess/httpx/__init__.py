"""HTTP requests through a VMess server: a transport for the clients of httpx."""

try:
    import anyio as _anyio
    import httpcore as _httpcore
    import httpx as _httpx
except ImportError as exc:
    raise ImportError(f"{exc}; install the extra: pip install 'trio-vmess[httpx]'") from None

from trio_vmess.httpx.transport import VMessTransport

__all__ = ["VMessTransport"]

del _anyio, _httpcore, _httpx
