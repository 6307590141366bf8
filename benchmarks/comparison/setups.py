"""The configuration of nodes for a measurement, and the amount of measuring."""

from typing import Final

import attrs

from tests.kit.carriers import BARE, CarrierSpec


@attrs.frozen(kw_only=True)
class Setup:
    """The configuration of the client and the server of a pair.

    Attributes:
        security: the cipher.
        alter_id: above 0 for legacy headers.
        carrier: what carries VMess.
        mux: how many connections of programs share one to the server; 0 for none.
        user_count: how many users the server has.
        callers: the users of the client; one is chosen at random for each connection.
        client: the implementation of the client in every pair; None for the contender's own.
        server: the same for the server.
        delay: seconds that bytes take from client to server, and as many back.
        spares: connections that trio-vmess keeps open ahead of time; no peer has such a thing.
    """

    security: str = "aes-128-gcm"
    alter_id: int = 0
    carrier: CarrierSpec = BARE
    mux: int = 0
    user_count: int = 1
    callers: tuple[int, ...] = (0,)
    client: str | None = None
    server: str | None = None
    delay: float = 0.0
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


SIZES: Final = {
    "tiny": Size(
        rounds=1,
        seconds=0.05,
        connection_count=10,
        first_count=3,
        idle_count=20,
        settle_limit=0.0,
        share_seconds=0.1,
    ),
    "quick": Size(
        rounds=1,
        seconds=0.4,
        connection_count=400,
        first_count=12,
        idle_count=500,
        settle_limit=20.0,
        share_seconds=3.0,
    ),
    "full": Size(
        rounds=5,
        seconds=1.5,
        connection_count=2000,
        first_count=12,
        idle_count=1000,
        settle_limit=40.0,
        share_seconds=10.0,
    ),
}
