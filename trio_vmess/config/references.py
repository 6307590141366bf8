"""Names that settings give, and that others refer to: repeated ones, and ones that nothing has."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final, TypeVar

from trio_vmess.config.location import Finding, Location
from trio_vmess.config.tree import quote
from trio_vmess.config.values import nearest

__all__ = ["dangling", "duplicates", "on_line"]

_T = TypeVar("_T")

_LISTED_MAX: Final = 10
"""Existing tags that one message lists."""


def on_line(location: Location) -> str:
    """Name a place in the file, inside of a sentence."""
    return quote(location.where) + ("" if location.line is None else f" (line {location.line})")


def duplicates(
    items: Iterable[tuple[_T, Location]], say: Callable[[Location], str]
) -> Iterator[Finding]:
    """Find repeated values; `say` makes a sentence about the location of the first."""
    first: dict[_T, Location] = {}
    for value, location in items:
        if not value:
            continue
        if value in first:
            yield location, say(first[value])
        else:
            first[value] = location


def dangling(tag: str, known: Collection[str], what: str) -> str:
    """Say that nothing has a tag, and which one may have been meant.

    Args:
        tag: what the file has.
        known: the tags that exist; the empty one does not count.
        what: what kind of thing has them, as in `outbound`.
    """
    near = nearest(tag, filter(None, known))
    if near is not None:
        return f"no {what} has the tag {quote(tag)}; did you mean '{near}'?"
    names = sorted(filter(None, known))
    more = f" and {len(names) - _LISTED_MAX} more" if len(names) > _LISTED_MAX else ""
    listed = f"existing tags: {', '.join(names[:_LISTED_MAX])}{more}" if names else "none has a tag"
    return f"no {what} has the tag {quote(tag)}; {listed}"
