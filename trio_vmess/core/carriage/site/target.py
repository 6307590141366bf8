"""What the target of a request names within a site."""

import re
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

import attrs

_ORIGIN: Final = re.compile(r"[A-Za-z]+://[^/?#]*")
_BAD_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_LITERAL: Final = "/!$&'()*+,:;=@-._~"
"""What nginx leaves as it is in the path of a redirection."""


@attrs.frozen(kw_only=True)
class Target:
    """A path within a site.

    Attributes:
        segments: names of folders and of a file; none is empty, `.` or `..`, or has a `/` or NUL
            in it. Bytes that are no UTF-8 are surrogates, as in the names of files.
        is_folder: whether the path ends in a `/`.
        query: behind the `?`, which is part of it; empty for none.
    """

    segments: tuple[str, ...]
    is_folder: bool
    query: str = ""

    @property
    def is_hidden(self) -> bool:
        """Whether a name begins with a dot, `.well-known` (RFC 8615) excepted."""
        return any(each.startswith(".") and each != ".well-known" for each in self.segments)

    @property
    def as_folder(self) -> str:
        """The target that names this as a folder."""
        path = "/".join(("", *self.segments, "")).encode("utf-8", "surrogateescape")
        return quote_from_bytes(path, safe=_LITERAL) + self.query


def parse_target(text: str) -> Target:
    """Read the target of a request, and normalise its path as nginx does.

    Percent signs are decoded once, and before anything else: an encoded slash is a slash.

    Args:
        text: in origin form or absolute form.

    Raises:
        ValueError: the path leaves the site, or cannot be decoded.
    """
    origin = _ORIGIN.match(text)
    rest = text[origin.end() :] if origin else text
    raw, mark, query = rest.partition("#")[0].partition("?")
    if _BAD_PERCENT.search(raw):
        raise ValueError("a malformed percent sign")
    path = unquote_to_bytes(raw.encode("latin-1")).decode("utf-8", "surrogateescape")
    if "\0" in path:
        raise ValueError("a NUL in the path")
    segments: list[str] = []
    *folders, last = path.split("/")
    for name in (*folders, last):
        if name == "..":
            if not segments:
                raise ValueError("a path that leaves the site")
            segments.pop()
        elif name not in ("", "."):
            segments.append(name)
    return Target(segments=tuple(segments), is_folder=last in ("", ".", ".."), query=mark + query)
