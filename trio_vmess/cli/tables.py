"""Tables of a running node's counters and connections."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, cast

from trio_vmess.operations import parse_counter_name

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_KINDS: Final = ("user", "inbound", "outbound")
_ABSENT: Final = "-"

Values = Mapping[str, object]


def format_size(size: float) -> str:
    """Return a number of bytes with a unit: `517 B`, `4.0 MiB`."""
    unit = 0
    while abs(size) >= 1024 and unit < len(_UNITS) - 1:
        size /= 1024
        unit += 1
    return f"{size:.0f} {_UNITS[unit]}" if not unit else f"{size:.1f} {_UNITS[unit]}"


def format_counters(response: Values) -> str:
    """Return the table for a response to `stats`.

    Raises:
        ValueError: the response is malformed.
    """
    counters = _values_or_none(response.get("counters"))
    if counters is None:
        raise ValueError("the node's response has no counters")
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for name, value in counters.items():
        parsed = parse_counter_name(name)
        if parsed is not None and isinstance(value, int):
            kind, owner, direction = parsed
            rows.setdefault((kind, owner), {})[direction] = format_size(value)
    connections = response.get("connections")
    plural = "" if connections == 1 else "s"
    running = f"{connections} connection{plural}, up {response.get('seconds')} s"
    ends = [*format_certificates(_list_of_values(response.get("certificates"))), running]
    if not rows:
        return "\n".join(
            [
                (
                    "no counters: 'policy' selects what is counted, for users with an email and "
                    "for inbounds and outbounds with a tag"
                ),
                *ends,
            ]
        )
    ordered = sorted(rows, key=lambda row: (_rank(row[0]), row[1]))
    return "\n".join(
        [
            *_format_rows(
                ("", "", "uplink", "downlink"),
                [
                    (
                        kind,
                        owner,
                        rows[kind, owner].get("uplink", _ABSENT),
                        rows[kind, owner].get("downlink", _ABSENT),
                    )
                    for kind, owner in ordered
                ],
                numbers=2,
            ),
            *ends,
        ]
    )


def format_connections(response: Values) -> str:
    """Return the table for a response to `connections`.

    Raises:
        ValueError: the response is malformed.
    """
    if not isinstance(response.get("connections"), list):
        raise ValueError("the node's response has no connections")
    columns = ("source", "user", "inbound", "outbound", "network", "destination")
    sizes = ("uplink", "downlink")
    rows = [
        (
            *(printable(each.get(column) or _ABSENT) for column in columns),
            f"{each.get('seconds')} s",
            *(_format_count(each.get(size)) for size in sizes),
        )
        for each in _list_of_values(response.get("connections"))
    ]
    return "\n".join(_format_rows((*columns, "time", *sizes), rows, numbers=3))


def format_certificates(certificates: Iterable[Values]) -> Sequence[str]:
    """Return a line for each certificate; the keys are those of `stats`."""
    return [
        f"certificate of {printable(each.get('inbound') or 'an inbound without a tag')}: "
        f"{_format_names(each.get('names'))}, valid {printable(each.get('validity'))}, "
        f"{_format_days(each.get('days'))}, issued by {printable(each.get('issuer') or 'nobody')}"
        for each in certificates
    ]


def printable(value: object) -> str:
    """Return a value without control characters: names come from clients."""
    text = str(value)
    return text if text.isprintable() else ascii(text)


def _values_or_none(value: object) -> Values | None:
    return cast("Values", value) if isinstance(value, Mapping) else None


def _list_of_values(value: object) -> Sequence[Values]:
    if not isinstance(value, list):
        return ()
    found = map(_values_or_none, cast("list[object]", value))
    return [each for each in found if each is not None]


def _format_names(value: object) -> str:
    names = cast("list[object]", value) if isinstance(value, list) else []
    return ", ".join(map(printable, names)) or "no name"


def _format_days(value: object) -> str:
    if not isinstance(value, int):
        return _ABSENT
    return "expired" if value < 0 else f"{value} day{'' if value == 1 else 's'} left"


def _format_count(value: object) -> str:
    return format_size(value) if isinstance(value, int) else _ABSENT


def _rank(kind: str) -> int:
    return _KINDS.index(kind) if kind in _KINDS else len(_KINDS)


def _format_rows(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int
) -> Sequence[str]:
    """Align the cells of columns, the last `numbers` columns to the right."""
    table = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    first_number = len(head) - numbers
    return [
        "  ".join(
            cell.rjust(width) if index >= first_number else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
