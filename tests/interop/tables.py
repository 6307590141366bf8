"""A table of results, as text for the end of a run."""

from collections.abc import Collection, Iterator, Sequence


def format_table(rows: Sequence[Sequence[str]], results: Collection[str]) -> Iterator[str]:
    """Yield the lines of a table, and one that counts.

    Args:
        rows: of equal length; the first is the head.
        results: `ok`, `FAILED` or `skipped`, one per test.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
    yield "  ".join(
        f"{sum(result == word for result in results)} {word}"
        for word in ("ok", "FAILED", "skipped")
    )
