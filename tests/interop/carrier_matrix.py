"""The cells of the carrier matrix: what is to carry VMess between this project and a peer."""

from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from tests.interop.tables import format_table
from tests.kit.carriers import CARRIERS, CarrierSpec, Role, has_carrier
from tests.kit.peers import PEERS

SOCKET_NAME: Final = "vmess.sock"
"""Stands for the path of a Unix socket; a test puts a folder of its own in front."""

TRIED_CARRIERS: Final = (
    *CARRIERS,
    *(
        CarrierSpec(network=network, tls=tls, unix=SOCKET_NAME)
        for network in ("tcp", "ws")
        for tls in (False, True)
    ),
    *(
        CarrierSpec(network=network, unix=SOCKET_NAME)
        for network in ("tcp-http", "httpupgrade", "h2", "grpc")
    ),
)

_ROLES: Final[tuple[Role, ...]] = ("client", "server")


@attrs.frozen
class CarrierCell:
    """One cell: a peer in one role, this project in the other, and a carrier between them.

    Attributes:
        peer: its name.
        role: the peer's.
        carrier: what both are told.
    """

    peer: str
    role: Role
    carrier: CarrierSpec

    def __str__(self) -> str:
        return f"{self.peer}-{self.role}-{self.carrier}"

    @property
    def column(self) -> str:
        """Who is the client of whom."""
        return f"{self.peer} -> us" if self.role == "client" else f"us -> {self.peer}"


def carrier_cells() -> tuple[CarrierCell, ...]:
    """Return all cells: everything that the peer has; our nodes have all of it."""
    return tuple(
        CarrierCell(peer, role, carrier)
        for carrier in TRIED_CARRIERS
        for peer in PEERS
        for role in _ROLES
        if has_carrier(peer, role, carrier)
    )


def format_carriers(results: Mapping[CarrierCell, str]) -> Iterator[str]:
    """Yield the lines of a table: a row per carrier, a column per peer and role."""
    columns = tuple(
        CarrierCell(peer, role, carrier=CarrierSpec()).column for peer in PEERS for role in _ROLES
    )
    rows: dict[str, dict[str, str]] = {}
    for cell in carrier_cells():
        if cell in results:
            rows.setdefault(str(cell.carrier), {})[cell.column] = results[cell]
    table = [
        ("carrier", *columns),
        *((name, *(row.get(column, "") for column in columns)) for name, row in rows.items()),
    ]
    yield from format_table(table, results.values())
