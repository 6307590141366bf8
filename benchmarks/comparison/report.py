"""Results as a table."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from trio_vmess.bench import NO_PROXY, Implementation, Line, describe_processor, format_number


def write_table(lines: Sequence[Line], contenders: Sequence[str]) -> Iterator[str]:
    """Yield the rows of a Markdown table that is aligned as text."""
    headings = ["workload", "figure", *contenders, "ratio", "target", NO_PROXY]
    rows = [headings]
    previous = ""
    for line in lines:
        ratio = "" if line.ratio is None else f"{line.ratio:.2f}"
        rows.append(
            [
                line.name if line.name != previous else "",
                line.column.unit + (" (load-bound)" if line.is_load_bound else ""),
                *(format_number(line.medians.get(name)) for name in contenders),
                ratio,
                line.verdict,
                format_number(line.medians.get(NO_PROXY)),
            ]
        )
        previous = line.name
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        yield "| " + " | ".join(map(str.ljust, row, widths)) + " |"
        if not number:
            yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"


def describe_run(implementations: Mapping[str, Implementation], rounds: int) -> str:
    """Return the date, the versions and the machine."""
    versions = ", ".join(f"{each.name} {each.version}" for each in implementations.values())
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {versions}; CPython {platform.python_version()}, "
        f"{describe_processor()}; medians of {rounds} round{'s' if rounds > 1 else ''}; "
        "byte code in place."
    )
