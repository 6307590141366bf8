"""One connection or association, as the node sees it on its way from inbound to outbound."""

import attrs

from trio_vmess.core.destination import Destination


@attrs.frozen(kw_only=True)
class Flow:
    """Who wants to go where.

    Attributes:
        destination: as the client asked for it, or with the host that was sniffed.
        source: where the client is, as `host:port`; empty for a Unix socket.
        inbound_tag: the inbound's name; may be empty.
        user: the user's email; empty where nobody is known.
        level: which policy level applies.
        is_remote: the client came through VMess, from another machine: this machine's own services
            and its private networks are not for it unless the outbound says so.
        sniffed_protocol: what its first bytes are: `http1`, `tls`, `bittorrent`, `quic`; empty
            where nobody looked, or nothing was recognised.
        sniffed_domain: the server that they name; may be empty.
    """

    destination: Destination
    source: str = ""
    inbound_tag: str = ""
    user: str = ""
    level: int = 0
    is_remote: bool = False
    sniffed_protocol: str = ""
    sniffed_domain: str = ""
