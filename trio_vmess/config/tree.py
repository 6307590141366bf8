"""A parsed configuration file: values that know their line and column."""

from typing import assert_never

import attrs

__all__ = ["Foreign", "Member", "Members", "Value", "describe", "quote"]


@attrs.frozen
class Foreign:
    """A value of a kind that no setting has, such as a date."""

    kind: str


@attrs.frozen
class Members:
    """The members of an object, in the order of the file; keys may repeat."""

    items: "tuple[Member, ...]"


@attrs.frozen
class Value:
    """A value and the line and column where it begins, counted from 1; None where not known."""

    content: "bool | int | float | str | Foreign | Members | tuple[Value, ...] | None"
    line: int | None = None
    column: int | None = None


@attrs.frozen
class Member:
    """A key, its location, and its value."""

    key: str
    value: Value
    line: int | None = None
    column: int | None = None


def describe(raw: Value, *, secret: bool = False) -> str:
    """Describe a value for a message, as in `the number 5`.

    Args:
        raw: what was found.
        secret: show at most the first 8 characters of a string.
    """
    match raw.content:
        case None:
            return "null"
        case bool():
            return "true" if raw.content else "false"
        case int() | float():
            return "a number" if secret else f"the number {raw.content}"
        case str():
            return quote(raw.content, secret=secret)
        case Foreign(kind=kind):
            return kind
        case Members():
            return "an object"
        case tuple():
            return "a list"
        case _:
            assert_never(raw.content)


def quote(text: str, *, secret: bool = False) -> str:
    """Quote a string for a message, shortened to 60 characters, or to 8 if it is a secret."""
    limit = 8 if secret else 60
    return f"'{text}'" if len(text) <= limit else f"'{text[:limit]}…'"
