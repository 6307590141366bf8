"""Rows of text, aligned in columns."""

from collections.abc import Iterator, Sequence


def align(rows: Sequence[Sequence[str]], *, left: int = 1) -> Iterator[str]:
    """Yield each row as a line.

    Args:
        rows: of the same length.
        left: how many columns, from the first, are aligned to the left; the others are numbers.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if number < left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
