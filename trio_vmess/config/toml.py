"""The native file format: TOML, with the model's names as keys.

`tomli` reads the values but not their positions. `locate_keys` therefore scans the same text once
more for the line and column of each key and list item. It can rely on the text being valid TOML, so
it only has to follow the headers, split the keys, and skip the values.
"""

import datetime
import re
from collections.abc import Mapping
from typing import Final, cast

import attrs
import tomli

from trio_vmess.config import values
from trio_vmess.config.endpoints import (
    FreedomOutboundSettings,
    InboundSettings,
    OutboundSettings,
    VMessInboundSettings,
)
from trio_vmess.config.inbounds import read_inbound
from trio_vmess.config.model import Config
from trio_vmess.config.outbounds import read_outbound
from trio_vmess.config.reader import Section
from trio_vmess.config.sections import read_common
from trio_vmess.config.streams import read_native_stream
from trio_vmess.config.tree import Foreign, Member, Members, Value
from trio_vmess.errors import ConfigError, ConfigProblem

__all__ = ["locate_keys", "parse_toml", "read_native"]

IMPLIED_TAG: Final = "direct"

KeyPath = tuple[str | int, ...]
_Spot = tuple[int, int]

_LOCATION_IN_MESSAGE: Final = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")
_BLANK: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_KEY_PART: Final = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_TEXT: Final = re.compile(
    r'''"""(?:[^"\\]|\\.|"(?!""))*"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*\'''',
    re.DOTALL,
)
_PLAIN: Final = re.compile(r"[^,\]}#\n]+")


def parse_toml(text: str, *, file: str = "") -> Value:
    """Parse a whole text.

    Raises:
        ConfigError: a syntax error, with line and column.
    """
    try:
        return _to_value(tomli.loads(text), (), locate_keys(text))
    except tomli.TOMLDecodeError as exc:
        raise ConfigError(_syntax_problem(str(exc), text, file)) from None
    except RecursionError:
        problem = ConfigProblem(where="", message="not valid TOML: nested too deeply", file=file)
        raise ConfigError(problem) from None


def _syntax_problem(message: str, text: str, file: str) -> ConfigProblem:
    match = _LOCATION_IN_MESSAGE.search(message)
    line = column = None
    if match is not None:
        message = message[: match.start()]
        lines = text.split("\n")
        line = int(match[1]) if match[1] else len(lines)
        column = int(match[2]) if match[2] else len(lines[-1]) + 1
    return ConfigProblem(
        where="", message=f"not valid TOML: {message}", file=file, line=line, column=column
    )


def _to_value(value: object, path: KeyPath, spots: Mapping[KeyPath, _Spot]) -> Value:
    line, column = spots.get(path, (None, None))
    match value:
        case dict():
            members: list[Member] = []
            for key, item in cast("dict[str, object]", value).items():
                read = _to_value(item, (*path, key), spots)
                members.append(Member(key, read, read.line, read.column))
            return Value(Members(tuple(members)), line, column)
        case list():
            listed = enumerate(cast("list[object]", value))
            items = tuple(_to_value(item, (*path, index), spots) for index, item in listed)
            return Value(items, line, column)
        case bool() | int() | float() | str():
            return Value(value, line, column)
        case datetime.datetime() | datetime.date() | datetime.time():
            return Value(Foreign("a date or a time"), line, column)
        case _:
            raise TypeError(f"tomli made a {type(value).__name__}")


def locate_keys(text: str) -> dict[KeyPath, _Spot]:
    """Find line and column of every key and list item in a valid TOML text.

    Returns:
        Line and column, counted from 1, by key path; paths have indexes for the items of lists. An
        item of an array of tables is where its header is.
    """
    return _Locator(text).run()


class _Locator:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._line_start = 0
        self._spots: dict[KeyPath, _Spot] = {}
        self._table_counts: dict[KeyPath, int] = {}

    def run(self) -> dict[KeyPath, _Spot]:
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
        *parents, last = self._key()
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


def _unquote(part: str) -> str:
    return next(iter(tomli.loads(f"{part} = 0")))


def read_native(root: Section) -> Config:
    """Read the whole file."""
    inbounds = tuple(_read_inbound(each) for each in root.sections("inbounds"))
    outbounds = tuple(_read_outbound(each) for each in root.sections("outbounds"))
    if root.find("outbounds") is None and any(
        isinstance(each.protocol, VMessInboundSettings) for each in inbounds
    ):
        outbounds = (OutboundSettings(protocol=FreedomOutboundSettings(), tag=IMPLIED_TAG),)
        root.report.warn(
            root.missing_location("outbounds"),
            "no outbound is configured: assuming one with protocol 'freedom' and tag "
            f"'{IMPLIED_TAG}', which refuses to connect to private addresses",
        )
    return attrs.evolve(
        read_common(root, Config(inbounds=inbounds, outbounds=outbounds)),
        stats=root.get("stats", values.flag, False),
        control=root.get("control", _control_path, ""),
    )


def _control_path(raw: Value) -> str:
    path = values.text(raw)
    if path.startswith("@"):
        raise ValueError("an abstract socket has no file permissions to protect it; use a path")
    return path


def _read_inbound(section: Section) -> InboundSettings:
    _refuse_settings(section)
    return read_inbound(section, section, read_native_stream(section, "inbound"))


def _read_outbound(section: Section) -> OutboundSettings:
    _refuse_settings(section)
    return read_outbound(section, section, read_native_stream(section, "outbound"))


def _refuse_settings(section: Section) -> None:
    section.refuse(
        "settings", "in TOML, set the keys of 'settings' beside 'protocol', in snake_case"
    )
