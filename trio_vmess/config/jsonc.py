r"""JSON as V2Ray's configurations have it, parsed with the line and column of every value.

Beyond RFC 8259 it accepts comments (`//`, `#` and `/* */`), trailing commas, and a byte order mark.
V2Ray strips the same three kinds of comments before it parses.

Why not a library: messages must name the line and column of any key long after the syntax was
checked. The standard library's `json` forgets positions; so do the packages that accept comments,
or they do not accept `#`. The grammar is small, and `json` itself decodes the strings.

Source:
    v2ray-core, infra/conf/json/reader.go, for the comments.
"""

import bisect
import json
import re
from typing import Final, NoReturn

from trio_vmess.config.tree import Member, Members, Value
from trio_vmess.errors import ConfigError, ConfigProblem

__all__ = ["parse_jsonc"]

DEPTH_MAX: Final = 64
"""Levels of nested objects and lists; real configurations have about ten."""

_SPACE: Final = re.compile(
    r"(?:[ \t\r\n\f\v\ufeff\u00a0]+|//[^\n]*|\#[^\n]*|/\*.*?\*/)*", re.DOTALL
)
_TEXT: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORD: Final = re.compile(r"[A-Za-z_$][\w$.+-]*")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_WORDS: Final = {"true": True, "false": False, "null": None}
_NUMBER_SIZE_MAX: Final = 30
_TYPOGRAPHIC_QUOTES: Final = "\u201c\u201d\u201e\u2018\u2019\uff02"


def parse_jsonc(text: str, *, file: str = "") -> Value:
    """Parse a whole text.

    Args:
        text: the file's content.
        file: its name, for the error.

    Raises:
        ConfigError: a syntax error, with line and column.
    """
    return _Parser(text, file).document()


class _Parser:
    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._at = 0
        self._line_starts = [0, *(m.end() for m in re.finditer("\n", text))]

    def document(self) -> Value:
        self._skip()
        if self._at == len(self._text):
            self._fail("the file is empty; expected an object, { … }")
        value = self._value(0)
        if self._at < len(self._text):
            self._fail(
                f"found {self._found()} after the end of the configuration; "
                "is a bracket closed too early?"
            )
        return value

    def _location(self, offset: int) -> tuple[int, int]:
        line = bisect.bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def _fail(self, message: str, offset: int | None = None) -> NoReturn:
        line, column = self._location(self._at if offset is None else offset)
        raise ConfigError(
            ConfigProblem(
                where="",
                message=f"not valid JSON: {message}",
                file=self._file,
                line=line,
                column=column,
            )
        )

    def _found(self) -> str:
        if self._at >= len(self._text):
            return "the end of the file"
        char = self._text[self._at]
        if char in _TYPOGRAPHIC_QUOTES:
            return f'a typographic quote {char} (write a plain ")'
        if char == "'":
            return 'a single quote (JSON needs ")'
        return f"{char!r}" if char.isprintable() else f"the character U+{ord(char):04X}"

    def _skip(self) -> None:
        match = _SPACE.match(self._text, self._at)
        if match is not None:
            self._at = match.end()
        if self._text.startswith("/*", self._at):
            self._fail("this comment is never closed with */")

    def _take(self, char: str) -> bool:
        if not self._text.startswith(char, self._at):
            return False
        self._at += 1
        self._skip()
        return True

    def _value(self, depth: int) -> Value:
        if depth > DEPTH_MAX:
            self._fail(f"objects and lists are nested more than {DEPTH_MAX} levels deep")
        line, column = self._location(self._at)
        if self._text.startswith("{", self._at):
            return Value(self._object(depth), line, column)
        if self._text.startswith("[", self._at):
            return Value(self._list(depth), line, column)
        if self._text.startswith('"', self._at):
            return Value(self._string(), line, column)
        if (match := _NUMBER.match(self._text, self._at)) is not None:
            return Value(self._number(match), line, column)
        if (match := _WORD.match(self._text, self._at)) is not None:
            word = match.group()
            if word in _WORDS:
                self._at = match.end()
                self._skip()
                return Value(_WORDS[word], line, column)
            self._fail(
                "a value without quotes; only numbers, true, false and null are written without"
            )
        return self._fail(f"expected a value, found {self._found()}")

    def _object(self, depth: int) -> Members:
        opening = self._at
        self._take("{")
        members: list[Member] = []
        while not self._take("}"):
            location = self._location(self._at)
            if not self._text.startswith('"', self._at):
                self._key_missing(opening)
            key = self._string()
            if not self._take(":"):
                self._fail(f"expected a colon after the key, found {self._found()}")
            members.append(Member(key, self._value(depth + 1), *location))
            self._separator("}", opening)
        return Members(tuple(members))

    def _key_missing(self, opening: int) -> NoReturn:
        if self._at >= len(self._text):
            self._fail(
                f"the file ends, but the {{ on line {self._location(opening)[0]} is not closed"
            )
        if _WORD.match(self._text, self._at):
            self._fail('a key without quotes; write it as "key"')
        self._fail(f"expected a key in double quotes or a closing }}, found {self._found()}")

    def _list(self, depth: int) -> tuple[Value, ...]:
        opening = self._at
        self._take("[")
        items: list[Value] = []
        while not self._take("]"):
            if self._at >= len(self._text):
                self._fail(
                    f"the file ends, but the [ on line {self._location(opening)[0]} is not closed"
                )
            items.append(self._value(depth + 1))
            self._separator("]", opening)
        return tuple(items)

    def _separator(self, closing: str, opening: int) -> None:
        if self._take(",") or self._text.startswith(closing, self._at):
            return
        line = self._location(opening)[0]
        bracket = "{" if closing == "}" else "["
        if self._at >= len(self._text):
            self._fail(f"the file ends, but the {bracket} on line {line} is not closed")
        if self._text[self._at] in "]}":
            self._fail(
                f"found {self._found()}, but the {bracket} on line {line} must be closed first"
            )
        self._fail(
            f"expected a comma or {closing}, found {self._found()}; "
            "is a comma missing after the previous value?"
        )

    def _string(self) -> str:
        match = _TEXT.match(self._text, self._at)
        if match is None:
            self._fail('the string does not end on its line; is the closing " missing?')
        try:
            text = json.loads(match.group())
        except json.JSONDecodeError as exc:
            self._fail(
                "unknown escape sequence; write \\\\ for a backslash",
                self._at + exc.pos,
            )
        if _SURROGATE.search(text):
            self._fail("the string contains half of a \\u surrogate pair")
        self._at = match.end()
        self._skip()
        return str(text)

    def _number(self, match: re.Match[str]) -> int | float:
        digits = match.group()
        if (
            _WORD.match(self._text, match.end())
            or self._text[match.end() : match.end() + 1].isdigit()
        ):
            self._fail("not a valid number; strings need quotes, and numbers have no leading zeros")
        if len(digits) > _NUMBER_SIZE_MAX:
            self._fail(f"the number has more than {_NUMBER_SIZE_MAX} characters")
        self._at = match.end()
        self._skip()
        return float(digits) if any(sign in digits for sign in ".eE") else int(digits)
