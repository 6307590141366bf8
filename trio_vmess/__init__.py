"""VMess, the encrypted proxy protocol of V2Ray, for Trio.

What most programs need is here. `trio_vmess.core.vmess` is the protocol without I/O, for other
event loops.
"""

from typing import TYPE_CHECKING

from trio_vmess._version import __version__
from trio_vmess.lazy import lazy_names

if TYPE_CHECKING:
    from trio_vmess.config import Config, load_config, parse_config
    from trio_vmess.core import Destination
    from trio_vmess.core.vmess import Account
    from trio_vmess.errors import (
        AuthenticationError,
        ConfigError,
        ConfigProblem,
        DialError,
        DialFailure,
        LocalProtocolError,
        NoRouteError,
        PortsExhausted,
        ProtocolError,
        Refusal,
        RemoteProtocolError,
        VMessError,
    )
    from trio_vmess.library import (
        VMessDatagrams,
        VMessStream,
        open_vmess_datagrams,
        open_vmess_stream,
        serve,
    )
    from trio_vmess.node import Node
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "config": ("Config", "load_config", "parse_config"),
            "core": ("Destination",),
            "core.vmess": ("Account",),
            "errors": (
                "AuthenticationError",
                "ConfigError",
                "ConfigProblem",
                "DialError",
                "DialFailure",
                "LocalProtocolError",
                "NoRouteError",
                "PortsExhausted",
                "ProtocolError",
                "Refusal",
                "RemoteProtocolError",
                "VMessError",
            ),
            "library": (
                "VMessDatagrams",
                "VMessStream",
                "open_vmess_datagrams",
                "open_vmess_stream",
                "serve",
            ),
            "node": ("Node",),
        },
    )

__all__ = [
    "Account",
    "AuthenticationError",
    "Config",
    "ConfigError",
    "ConfigProblem",
    "Destination",
    "DialError",
    "DialFailure",
    "LocalProtocolError",
    "NoRouteError",
    "Node",
    "PortsExhausted",
    "ProtocolError",
    "Refusal",
    "RemoteProtocolError",
    "VMessDatagrams",
    "VMessError",
    "VMessStream",
    "__version__",
    "load_config",
    "open_vmess_datagrams",
    "open_vmess_stream",
    "parse_config",
    "serve",
]
