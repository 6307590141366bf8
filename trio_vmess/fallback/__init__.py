"""Who answers strangers: a site of files, a server elsewhere, or a page for HTTP without TLS.

Each of them is a `contracts.Fallback`. Imported by nodes whose settings ask for one.
"""

from trio_vmess.fallback.folder import Folder
from trio_vmess.fallback.plain_http import PlainHttpFallback
from trio_vmess.fallback.site import SiteFallback
from trio_vmess.fallback.upstream import EncodeProxyHeader, UpstreamFallback

__all__ = [
    "EncodeProxyHeader",
    "Folder",
    "PlainHttpFallback",
    "SiteFallback",
    "UpstreamFallback",
]
