"""One connection or association, as the node sees it on its way from inbound to outbound."""

from collections.abc import Mapping
from typing import Final, Protocol

import attrs

from trio_vmess.core.destination import Destination


@attrs.frozen(kw_only=True)
class User:
    """Whom a flow belongs to: equal for all flows of one user of an inbound, and for no others.

    Attributes:
        id: tells users apart: the 16 bytes of a VMess user's main id, or the name of a proxy
            account; empty where nobody has to say who they are. A VMess id is a secret.
        email: the name in logs, rules and statistics; may be empty.
        level: which policy level applies.
    """

    id: bytes = attrs.field(default=b"", repr=False)
    email: str = ""
    level: int = 0


ANONYMOUS: Final = User()
"""Somebody of whom nothing is known, at level 0."""


class Association(Protocol):
    """What the flows of one socket of a client's program have in common.

    An outbound that sends datagrams from sockets of its own sends those of an association from the
    same one: every peer sees the same address.
    """

    def invite(self, peer: Destination, /) -> bool:
        """Ask for a flow to a peer that has sent something to that socket, without being asked.

        Returns:
            Whether the flow will come. Then it gets what the peer has sent.
        """
        ...


@attrs.frozen(kw_only=True)
class Flow:
    """Which client wants to reach which destination.

    Attributes:
        destination: as the client asked for it, or with the host that was sniffed.
        source: where the client is, as `host:port`; empty for a Unix socket.
        inbound_tag: the inbound's name; may be empty.
        user: who the client is.
        is_remote: the client came through VMess, from another machine: an outbound lets it reach
            this machine's own services and private networks only if it is configured to.
        looping_port: the port that the client has reached, if its request would come back to it
            by the same inbound: no outbound connects to this port of this machine; 0 for none.
        carrier: the name of the connection that carries it besides others; empty for none.
        association: whose datagrams these are, if other flows have the same socket.
        request_protocol: what the inbound has read from it, if that is more than where it goes:
            `http/1.1` for a request at an HTTP inbound that is no CONNECT; otherwise empty.
        attributes: of that request, where rules need them: `:method`, `:path`, and its headers by
            their names in lower case; None otherwise.
        sniffed_protocol: what its first bytes are: `http1`, `tls`, `bittorrent`, `quic`; empty
            if nothing was sniffed or recognised.
        sniffed_domain: the server that they name; may be empty.
    """

    destination: Destination
    source: str = ""
    inbound_tag: str = ""
    user: User = ANONYMOUS
    is_remote: bool = False
    looping_port: int = 0
    carrier: str = ""
    association: Association | None = attrs.field(default=None, repr=False)
    request_protocol: str = ""
    attributes: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    sniffed_protocol: str = ""
    sniffed_domain: str = ""
