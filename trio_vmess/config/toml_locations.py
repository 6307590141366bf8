"""Where in a TOML text its keys are: line and column of each key and list item.

`tomli` reads the values but not their positions, so the same text is scanned once more. The scan
can rely on the text being valid TOML, so it only has to follow the headers, split the keys, and
skip the values.
"""

import re
from typing import Final, Literal

import attrs
import tomli

__all__ = ["KeyPath", "Locator", "Spot", "Statement", "locate_keys"]

KeyPath = tuple[str | int, ...]
Spot = tuple[int, int]

_BLANK: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_KEY_PART: Final = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_TEXT: Final = re.compile(
    r'''"""(?:[^"\\]|\\.|"(?!""))*"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*\'''',
    re.DOTALL,
)
_PLAIN: Final = re.compile(r"[^,\]}#\n]+")


@attrs.frozen
class Statement:
    """A header or an assignment.

    Attributes:
        kind: what it is written with.
        path: of a header, its names alone; of an assignment, the whole path.
        line: where it begins.
        column: likewise.
    """

    kind: Literal["[", "[[", "="]
    path: KeyPath
    line: int
    column: int


def locate_keys(text: str) -> dict[KeyPath, Spot]:
    """Find line and column of every key and list item in a valid TOML text.

    Returns:
        Line and column, counted from 1, by key path; paths have indexes for the items of lists. An
        item of an array of tables is where its header is.
    """
    return Locator(text).run()


class Locator:
    """Scans a text, which is valid up to its last statement at least.

    Attributes:
        statements: headers and assignments, in order.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._line_start = 0
        self._spots: dict[KeyPath, Spot] = {}
        self._table_counts: dict[KeyPath, int] = {}
        self._depth = 0
        self.statements: list[Statement] = []

    def run(self) -> dict[KeyPath, Spot]:
        """Scan all of it; see `locate_keys`."""
        table: KeyPath = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            start = self._at
            if self._peek() == "[":
                table = self._header()
            else:
                self._assignment(table)
            self._skip(_BLANK)
            if self._at == start:
                break
        return self._spots

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._move(match.end())
        return match.group()

    def _move(self, end: int) -> None:
        newline_count = self._text.count("\n", self._at, end)
        if newline_count:
            self._line += newline_count
            self._line_start = self._text.rindex("\n", self._at, end) + 1
        self._at = end

    def _mark(self, path: KeyPath) -> None:
        self._spots.setdefault(path, (self._line, self._at - self._line_start + 1))

    def _key(self) -> list[str]:
        parts: list[str] = []
        while True:
            self._skip(_BLANK)
            part = self._skip(_KEY_PART)
            parts.append(_unquote(part) if part[:1] in "\"'" else part)
            self._skip(_BLANK)
            if self._peek() != ".":
                return parts
            self._move(self._at + 1)

    def _header(self) -> KeyPath:
        is_array = self._text.startswith("[[", self._at)
        spot = (self._line, self._at - self._line_start + 1)
        self._move(self._at + (2 if is_array else 1))
        names = self._key()
        self.statements.append(Statement("[[" if is_array else "[", tuple(names), *spot))
        *parents, last = names
        self._move(self._at + (2 if is_array else 1))
        path: KeyPath = ()
        for part in parents:
            path = self._newest((*path, part))
            self._spots.setdefault(path, spot)
        path = (*path, last)
        self._spots.setdefault(path, spot)
        if is_array:
            self._table_counts[path] = self._table_counts.get(path, 0) + 1
            path = self._newest(path)
            self._spots[path] = spot
        return path

    def _newest(self, path: KeyPath) -> KeyPath:
        count = self._table_counts.get(path)
        return path if count is None else (*path, count - 1)

    def _assignment(self, table: KeyPath) -> None:
        start = (self._line, self._at - self._line_start + 1)
        path = table
        for part in self._key():
            path = (*path, part)
            self._spots.setdefault(path, start)
        if not self._depth:
            self.statements.append(Statement("=", path, *start))
        if self._peek() == "=":
            self._move(self._at + 1)
            self._skip(_BLANK)
            self._value(path)

    def _value(self, path: KeyPath) -> None:
        match self._peek():
            case "[":
                self._list(path)
            case "{":
                self._inline_table(path)
            case '"' | "'":
                self._skip(_TEXT)
            case _:
                self._skip(_PLAIN)

    def _list(self, path: KeyPath) -> None:
        self._move(self._at + 1)
        index = 0
        self._skip(_BLANK)
        while self._peek() not in ("]", ""):
            self._mark((*path, index))
            self._value((*path, index))
            self._skip(_BLANK)
            if self._peek() != ",":
                break
            self._move(self._at + 1)
            self._skip(_BLANK)
            index += 1
        self._move(self._at + 1)

    def _inline_table(self, path: KeyPath) -> None:
        self._depth += 1
        self._move(self._at + 1)
        self._skip(_BLANK)
        while self._peek() not in ("}", ""):
            self._assignment(path)
            self._skip(_BLANK)
            if self._peek() != ",":
                break
            self._move(self._at + 1)
            self._skip(_BLANK)
        self._move(self._at + 1)
        self._depth -= 1


def _unquote(part: str) -> str:
    try:
        return next(iter(tomli.loads(f"{part} = 0")))
    except tomli.TOMLDecodeError:
        return part
