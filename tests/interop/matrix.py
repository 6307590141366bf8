"""The cells of the interop matrix: what this project and a peer are to do with each other.

They come from `CAPABILITIES`, without what this project does not do.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from tests.interop.tables import format_table
from tests.kit.peers import Cell, cells

SECURITIES: Final = (
    "auto",
    "aes-128-gcm",
    "chacha20-poly1305",
    "none",
    "zero",
    "aes-128-cfb",
)
OPTIONS: Final = frozenset({"global_padding", "authenticated_length", "mux", "xudp", "packetaddr"})
"""What this project does at both ends; dynamic ports have tests of their own."""

_MORE_ALTER_IDS: Final = {("v2ray", 4): (64,)}
"""Counts to be tried as well, by peer and the count that the table has."""


@attrs.frozen
class MatrixCell:
    """One cell: a peer in one role, this project in the other.

    Attributes:
        peer_cell: what the peer does.
    """

    peer_cell: Cell

    def __str__(self) -> str:
        return str(self.peer_cell)

    @property
    def row(self) -> tuple[str, str, int, str]:
        """Peer, who is the client, alter ids and options."""
        cell = self.peer_cell
        options = "+".join(
            sorted(
                option.removeprefix("global_").removeprefix("authenticated_")
                for option in cell.options
            )
        )
        direction = "peer -> us" if cell.role == "client" else "us -> peer"
        return cell.peer, direction, cell.alter_id, options or "-"


def matrix_cells() -> tuple[MatrixCell, ...]:
    """Return all cells."""
    return tuple(
        MatrixCell(attrs.evolve(cell, alter_id=alter_id))
        for cell in cells()
        if cell.options <= OPTIONS
        for alter_id in (
            cell.alter_id,
            *_MORE_ALTER_IDS.get((cell.peer, cell.alter_id), ()),
        )
    )


def format_matrix(results: Mapping[MatrixCell, str]) -> Iterator[str]:
    """Yield the lines of a table: a row per peer, role, alter ids and options."""
    head: tuple[str, ...] = ("peer", "direction", "alterId", "options", *SECURITIES)
    rows: dict[tuple[str, str, int, str], dict[str, str]] = {}
    for cell, result in results.items():
        rows.setdefault(cell.row, {})[cell.peer_cell.security] = result
    table = [head]
    for row, found in sorted(rows.items()):
        table.append((*map(str, row), *(found.get(security, "") for security in SECURITIES)))
    yield from format_table(table, results.values())
