"""How a program opens a connection through a server: its arguments, and the request they make.

It waits for nothing, so it serves Trio and asyncio alike.
"""

from typing import TYPE_CHECKING

from trio_vmess.lazy import lazy_names

if TYPE_CHECKING:
    from trio_vmess.opening.arguments import (
        AccountLike,
        DestinationLike,
        HostAndPort,
        Server,
        read_destination,
        read_server,
    )
    from trio_vmess.opening.request import StreamOpening, begin_datagrams, begin_stream
    from trio_vmess.opening.upgrade import upgrade_kind, upgrade_request
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "arguments": (
                "AccountLike",
                "DestinationLike",
                "HostAndPort",
                "Server",
                "read_destination",
                "read_server",
            ),
            "request": ("StreamOpening", "begin_datagrams", "begin_stream"),
            "upgrade": ("upgrade_kind", "upgrade_request"),
        },
    )

__all__ = [
    "AccountLike",
    "DestinationLike",
    "HostAndPort",
    "Server",
    "StreamOpening",
    "begin_datagrams",
    "begin_stream",
    "read_destination",
    "read_server",
    "upgrade_kind",
    "upgrade_request",
]
