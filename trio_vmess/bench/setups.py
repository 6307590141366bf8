"""The configuration of nodes for a measurement, and the amount of measuring."""

from typing import Literal, Protocol

import attrs

Json = dict[str, object]
Role = Literal["server", "client"]


class Carrier(Protocol):
    """What carries VMess in place of bare TCP; equal ones have the same hash."""

    def fits(self, name: str) -> bool:
        """Return whether a pair of nodes of this implementation can meet by it."""
        ...

    def settings(self, name: str, role: Role) -> Json:
        """Return what it adds to the VMess inbound or outbound of this implementation."""
        ...


@attrs.frozen(kw_only=True)
class Setup:
    """The configuration of the client and the server of a pair.

    Attributes:
        security: the cipher.
        alter_id: above 0 for legacy headers.
        carrier: what carries VMess; None for bare TCP.
        mux: how many connections of programs share one to the server; 0 for none.
        user_count: how many users the server has.
        callers: the users of the client; one is chosen at random for each connection.
        client: the implementation of the client in every pair; None for the contender's own.
        server: the same for the server.
        between: the command of a program between client and server; the port that it must listen
            on and the server's port are appended.
        spares: connections that trio-vmess keeps open ahead of time; no peer has such a thing.
    """

    security: str = "aes-128-gcm"
    alter_id: int = 0
    carrier: Carrier | None = None
    mux: int = 0
    user_count: int = 1
    callers: tuple[int, ...] = (0,)
    client: str | None = None
    server: str | None = None
    between: tuple[str, ...] = ()
    spares: int = 0


@attrs.frozen(kw_only=True)
class Size:
    """How much to measure.

    Attributes:
        rounds: measurements of each contender; the median counts.
        seconds: duration of a transfer.
        connection_count: connections to open.
        first_count: connections whose first bytes are waited for.
        idle_count: connections to hold.
        settle_limit: seconds, at most, to wait until a table of alter ids is complete.
        share_seconds: seconds over which the CPU share is measured after that.
    """

    rounds: int
    seconds: float
    connection_count: int
    first_count: int
    idle_count: int
    settle_limit: float
    share_seconds: float
