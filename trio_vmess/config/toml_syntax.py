"""Mistakes in the syntax of TOML, in words for whoever has written the file.

`tomli` says what it did not find, and where it stopped. What stands there tells what was meant.
Values are not shown: they may be secrets.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

from trio_vmess.config.toml_locations import KeyPath, Locator, Spot, Statement
from trio_vmess.config.tree import quote
from trio_vmess.errors import ConfigProblem

__all__ = ["explain_syntax_error"]

_LOCATION: Final = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")
_TYPOGRAPHIC_QUOTES: Final = "\u201c\u201d\u201e\u2018\u2019\uff02"
_ASSIGNED: Final = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")
_NO_BRACKET: Final = re.compile(r""""(?:[^"\\\n]|\\.)*"|'[^'\n]*'|#[^\n]*""")
_COMMENT: Final = re.compile(r"\s*(#.*)?")


@attrs.frozen
class _Stop:
    """Where the parser stopped.

    Attributes:
        text: the whole text.
        line: counted from 1.
        column: likewise.
    """

    text: str
    line: int
    column: int

    @property
    def whole_line(self) -> str:
        """The line that it stopped in."""
        return self.text.split("\n")[self.line - 1]

    @property
    def rest(self) -> str:
        """What is left of that line."""
        return self.whole_line[self.column - 1 :]

    def statements(self) -> Sequence[Statement]:
        """Return the headers and assignments up to this line, and in it."""
        lines = self.text.split("\n")[: self.line]
        locator = Locator("\n".join(lines))
        locator.run()
        return locator.statements


@attrs.frozen
class _Answer:
    """What is wrong, and where, if that is not where the parser stopped."""

    message: str
    spot: Spot | None = None


def explain_syntax_error(message: str, text: str, file: str) -> ConfigProblem:
    """Say what is wrong with a text.

    Args:
        message: what `tomli` says.
        text: the whole file.
        file: its name.
    """
    match = _LOCATION.search(message)
    what = message if match is None else message[: match.start()]
    lines = text.split("\n")
    if match is not None and match[1]:
        line, column = int(match[1]), int(match[2])
    else:
        # The parser has read everything; a newline at the end does not begin another line.
        line = len(lines) - (not lines[-1] and len(lines) > 1)
        column = len(lines[line - 1]) + 1
    stop = _Stop(text, line, column)
    explain = next((each for start, each in _EXPLAINED.items() if what.startswith(start)), None)
    answer = _Answer(what) if explain is None else explain(stop)
    line, column = answer.spot or (line, column)
    return ConfigProblem(
        where="", message=f"not valid TOML: {answer.message}", file=file, line=line, column=column
    )


# Values -------------------------------------------------------------------------------------------


def _bad_value(stop: _Stop) -> _Answer:
    rest = stop.rest
    if (_COMMENT.fullmatch(rest) or _ASSIGNED.match(rest)) and _is_in_list(stop):
        return _unclosed(stop, "list", "]")
    if _COMMENT.fullmatch(rest):
        key = _ASSIGNED.match(stop.whole_line)
        return _Answer(f"{quote(key[1])} has no value" if key else "a value is missing")
    if rest[0] in _TYPOGRAPHIC_QUOTES:
        return _Answer(f'found a typographic quote {rest[0]}; write a plain "')
    if re.match(r"(?i:true|false)\b", rest):
        return _Answer("write true and false in lower case")
    return _Answer(_needs_quotes(stop))


def _needs_quotes(stop: _Stop) -> str:
    key = _ASSIGNED.match(stop.whole_line)
    example = f'{key[1]} = "…"' if key else '"…"'
    return f"a value without quotes; write {example}: only numbers, dates, true and false have none"


def _more_than_a_value(stop: _Stop) -> _Answer:
    rest = stop.rest
    before = stop.whole_line[: stop.column - 1]
    if before[-1:].isalnum() and re.match(r"[\w.:/-]", rest):
        # A word that begins like a number or a date, such as an address.
        return _Answer(_needs_quotes(stop))
    if rest.startswith(("//", "/*", ";")):
        return _Answer("a comment begins with #")
    if rest.startswith(","):
        return _Answer("nothing follows a value but the end of its line; remove the comma")
    if rest.startswith(("]", "}")):
        return _Answer(f"found {rest[0]}, but nothing is open that it would close")
    return _Answer("something follows the value; each setting has a line of its own")


def _open_string(_stop: _Stop) -> _Answer:
    return _Answer("the text does not end where it should; is its closing quote missing?")


def _bad_escape(_stop: _Stop) -> _Answer:
    return _Answer(
        "\\ has a meaning between double quotes; write \\\\, or put the text between single quotes"
    )


def _open_list(stop: _Stop) -> _Answer:
    return _unclosed(stop, "list", "]")


def _open_table(stop: _Stop) -> _Answer:
    return _unclosed(stop, "table", "}")


def _is_in_list(stop: _Stop) -> bool:
    """Tell whether a list is open where the parser stopped."""
    begin = next((each for each in reversed(stop.statements()) if "[" in _value(stop, each)), None)
    if begin is None:
        return False
    lines = stop.text.split("\n")[begin.line - 1 : stop.line]
    lines[-1] = lines[-1][: stop.column - 1]
    plain = _NO_BRACKET.sub("", "\n".join(lines))
    return plain.count("[") > plain.count("]")


def _value(stop: _Stop, statement: Statement) -> str:
    """Return the first line of what is assigned; nothing for a header."""
    if statement.kind != "=":
        return ""
    return stop.text.split("\n")[statement.line - 1].partition("=")[2]


def _unclosed(stop: _Stop, what: str, closing: str) -> _Answer:
    # What is not closed seems to go on in the lines of other settings, which have no bracket.
    opening = {"]": "[", "}": "{"}[closing]
    statements = [each for each in stop.statements() if opening in _value(stop, each)]
    if not statements:
        return _Answer(f"the {what} is not closed with {closing}")
    begin = statements[-1]
    message = f"the {what} that begins on line {begin.line} is not closed with {closing}"
    if _COMMENT.fullmatch(stop.rest):
        return _Answer(message, (begin.line, begin.column))
    return _Answer(f"{message}; is a comma missing here?")


# Keys and headers ---------------------------------------------------------------------------------


def _no_equals_sign(stop: _Stop) -> _Answer:
    if stop.rest.lstrip().startswith(":"):
        return _Answer("found a colon; write = between a key and its value")
    return _Answer('expected key = "value", [table] or [[list]]')


def _no_statement(stop: _Stop) -> _Answer:
    if stop.rest.startswith("="):
        return _Answer("a key is missing before the =")
    if stop.rest.startswith(("]", "}")):
        return _Answer(f"found {stop.rest[0]}, but nothing is open that it would close")
    return _no_equals_sign(stop)


def _open_header(stop: _Stop) -> _Answer:
    line = stop.whole_line.strip()
    brackets = "]]" if line.startswith("[[") else "]"
    return _Answer(f"the header is not closed with {brackets}")


def _said_twice(stop: _Stop) -> _Answer:
    statements = stop.statements()
    if not statements:
        return _Answer("something is set twice")
    this = statements[-1]
    first = _earlier(this, statements[:-1])
    name = _dotted(this.path)
    spot = this.line, this.column
    if first is None:
        return _Answer(f"{quote(name)} is set twice; keep only one of them", spot)
    kinds = {this.kind, first.kind}
    if kinds == {"[", "[["} and this.path == first.path:
        one, other = (f"[[{name}]]", f"[{name}]")
        here, there = (one, other) if this.kind == "[[" else (other, one)
        message = (
            f"found {here}, but line {first.line} has {there}; write {one} with double brackets, "
            "once for each entry"
        )
    elif kinds == {"["} and this.path == first.path:
        message = f"the table [{name}] is already on line {first.line}; put its keys together"
    else:
        message = f"{quote(name)} is already set on line {first.line}; keep only one of them"
    return _Answer(message, spot)


def _said_twice_within(_stop: _Stop) -> _Answer:
    return _Answer("a table between { and } has the same key twice; keep only one of them")


def _earlier(this: Statement, before: Sequence[Statement]) -> Statement | None:
    """Return the first statement that this one is at odds with."""
    same = (each for each in before if each.path == this.path)
    around = (each for each in before if _is_within(each.path, this.path))
    return next(same, None) or next(around, None)


def _is_within(one: KeyPath, other: KeyPath) -> bool:
    size = min(len(one), len(other))
    return one[:size] == other[:size]


def _dotted(path: KeyPath) -> str:
    return ".".join(each for each in path if isinstance(each, str))


_EXPLAINED: Final[Mapping[str, Callable[[_Stop], _Answer]]] = {
    "Invalid value": _bad_value,
    "Expected newline or end of document": _more_than_a_value,
    "Unterminated string": _open_string,
    'Expected "\'"': _open_string,
    "Illegal character": _open_string,
    "Unescaped": _bad_escape,
    "Invalid hex value": _bad_escape,
    "Unclosed array": _open_list,
    "Unclosed inline table": _open_table,
    "Expected '=' after a key": _no_equals_sign,
    "Invalid statement": _no_statement,
    "Invalid initial character for a key part": _no_statement,
    "Expected ']": _open_header,
    "Cannot overwrite": _said_twice,
    "Cannot declare": _said_twice,
    "Cannot mutate": _said_twice,
    "Duplicate inline table key": _said_twice_within,
}
"""What to say of a mistake, by how the parser's message about it begins."""
