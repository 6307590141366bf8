"""A configuration file before it means anything: values that know where they stand."""

import attrs

__all__ = ["Foreign", "Member", "Members", "Value", "describe", "quote"]


@attrs.frozen
class Foreign:
    """A value that no key of ours takes, such as a date."""

    kind: str


@attrs.frozen
class Members:
    """The members of an object, in the order of the file; a key may be there twice."""

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
    """Say what a value is, as in `the number 5`: for messages.

    Args:
        raw: what was found.
        secret: show no more of a text than its first 8 characters.
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


def quote(text: str, *, secret: bool = False) -> str:
    """Put a text into quotes for a message, shortened: secrets to 8 characters, others to 60."""
    limit = 8 if secret else 60
    return f"'{text}'" if len(text) <= limit else f"'{text[:limit]}…'"
