"""What carries VMess between two programs, and which peer has what of it.

`CARRIER_FEATURES` is the one table of what exists: tests are parametrised from it, and a spec that
is not in it is refused before a process starts. Without that, V2Ray would ignore a key that it
does not know, speak over bare TCP, and a test would pass without having tested anything.

Sources:
    v2ray-core v4.34.0, infra/conf/transport_internet.go and transport/internet; Xray-core, the same
    paths; sing-box, documentation of the V2Ray transports and of TLS. All of it was also tried
    between the running programs.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Literal

import attrs

Network = Literal["tcp", "tcp-http", "ws", "httpupgrade", "h2", "grpc"]
Feature = Literal[
    "tcp",
    "tcp-http",
    "ws",
    "httpupgrade",
    "h2",
    "h2c",
    "grpc",
    "grpc-multi",
    "tls",
    "unix",
    "unix-http",
    "early-header",
    "early-path",
    "eager",
    "heartbeat",
    "proxy-protocol",
]
Role = Literal["server", "client"]

SERVER_NAME: Final = "vmess.test.invalid"
"""The name of every server: in its certificate, and as Host or authority of requests."""

PATH: Final = "/tunnel"
SERVICE_NAME: Final = "GunService"
EARLY_DATA_HEADER: Final = "Sec-WebSocket-Protocol"


@attrs.frozen(kw_only=True)
class CarrierSpec:
    """What carries VMess; a client and a server that meet directly are given the same one.

    Attributes:
        network: `tcp-http` is TCP with HTTP heads as camouflage, `h2` is HTTP/2.
        tls: the server shows a certificate for `SERVER_NAME`, the client checks it.
        path: of the request, for all but `tcp` and `grpc`.
        host: of the request, and the only one that a server takes.
        service_name: for `grpc`.
        is_multi: call `TunMulti`, for `grpc`.
        early_data: bytes that a client may send with its request, for `ws`; 0 for none.
        early_data_header: the header for them; empty to put them behind the path.
        is_eager: a client sends before the server has answered, for `httpupgrade`.
        heartbeat: seconds between two pings, for `ws`; 0 for none.
        unix: the path of the Unix socket to listen on or to connect to; empty for TCP.
        proxy_protocol: the server demands a PROXY header; no client sends one by itself.
    """

    network: Network = "tcp"
    tls: bool = False
    path: str = PATH
    host: str = SERVER_NAME
    service_name: str = SERVICE_NAME
    is_multi: bool = False
    early_data: int = 0
    early_data_header: str = EARLY_DATA_HEADER
    is_eager: bool = False
    heartbeat: int = 0
    unix: str = ""
    proxy_protocol: bool = False

    def __str__(self) -> str:
        extras = sorted(self.features - {self.network, "h2c", "tls"})
        extras = [extra.removesuffix("-http") for extra in extras]  # of "unix-http"
        return "+".join((self.network, *(("tls",) if self.tls else ()), *extras))

    @property
    def features(self) -> frozenset[Feature]:
        """What a program must have for this."""
        return frozenset(self._features())

    def _features(self) -> Iterator[Feature]:
        yield "h2c" if self.network == "h2" and not self.tls else self.network
        if self.tls:
            yield "tls"
        if self.is_multi:
            yield "grpc-multi"
        if self.early_data:
            yield "early-header" if self.early_data_header else "early-path"
        if self.is_eager:
            yield "eager"
        if self.heartbeat:
            yield "heartbeat"
        if self.unix:
            yield "unix" if self.network == "tcp" else "unix-http"
        if self.proxy_protocol:
            yield "proxy-protocol"


BARE: Final = CarrierSpec()
TLS: Final = CarrierSpec(tls=True)
WS: Final = CarrierSpec(network="ws")
WS_TLS: Final = CarrierSpec(network="ws", tls=True)
EARLY_DATA: Final = 2048

CARRIERS: Final = (
    TLS,
    *(
        CarrierSpec(network=network, tls=tls)
        for network in ("tcp-http", "ws", "httpupgrade", "h2", "grpc")
        for tls in (False, True)
    ),
    CarrierSpec(network="ws", early_data=EARLY_DATA),
    CarrierSpec(network="ws", tls=True, early_data=EARLY_DATA),
    CarrierSpec(network="ws", early_data=EARLY_DATA, early_data_header=""),
    CarrierSpec(network="ws", heartbeat=1),
    CarrierSpec(network="httpupgrade", is_eager=True),
    CarrierSpec(network="grpc", tls=True, is_multi=True),
)
"""What is tried, but for Unix sockets, which want a path of their own, and PROXY headers."""

_COMMON: Final[frozenset[Feature]] = frozenset({"tcp", "tls", "ws", "h2"})

CARRIER_FEATURES: Final[Mapping[tuple[str, Role], frozenset[Feature]]] = {
    # V2Ray 4 dials Unix sockets as its network "ds", over which there is nothing but TLS.
    ("v2ray", "client"): _COMMON | {"tcp-http", "unix"},
    ("v2ray", "server"): _COMMON | {"tcp-http", "unix", "unix-http", "h2c", "proxy-protocol"},
    # Xray has dropped HTTP/2, and dials no Unix sockets. Its HTTPUpgrade server loses what comes
    # together with the request, so a client must not be eager there, not even its own.
    ("xray", "client"): _COMMON - {"h2"}
    | {"tcp-http", "httpupgrade", "grpc", "grpc-multi", "early-header", "eager", "heartbeat"},
    ("xray", "server"): _COMMON - {"h2"}
    | {"tcp-http", "httpupgrade", "grpc", "grpc-multi", "early-header", "heartbeat"}
    | {"unix", "unix-http", "proxy-protocol"},
    # Without TLS, sing-box's HTTP client speaks HTTP/1.1 in a way of its own.
    ("sing-box", "client"): _COMMON | {"httpupgrade", "grpc", "early-header", "early-path"},
    ("sing-box", "server"): _COMMON
    | {"httpupgrade", "grpc", "early-header", "early-path", "h2c", "eager"},
}
"""What each peer has, by its name and role."""

_STRANGERS: Final = frozenset({("xray", "sing-box", "httpupgrade")})
"""Clients and servers that do not understand each other.

Xray sends the key of a WebSocket handshake with HTTPUpgrade; sing-box refuses requests that have
one.
"""


def has_carrier(peer: str, role: Role, carrier: CarrierSpec) -> bool:
    """Return whether a peer can do this."""
    return carrier.features <= CARRIER_FEATURES[peer, role]


def can_meet(client: str, server: str, carrier: CarrierSpec) -> bool:
    """Return whether one peer can reach the other by this."""
    return (
        has_carrier(client, "client", carrier)
        and has_carrier(server, "server", carrier)
        and (client, server, carrier.network) not in _STRANGERS
    )
