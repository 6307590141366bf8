"""The native file format: TOML, with the model's names as keys.

`tomli` reads the values but not their positions: these come from `toml_locations`. What it says
of a mistake is put into words of ours in `toml_syntax`.
"""

import datetime
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
from trio_vmess.config.toml_locations import KeyPath, Spot, locate_keys
from trio_vmess.config.toml_syntax import explain_syntax_error
from trio_vmess.config.tree import Foreign, Member, Members, Value
from trio_vmess.errors import ConfigError, ConfigProblem

__all__ = ["parse_toml", "read_native"]

IMPLIED_TAG: Final = "direct"


def parse_toml(text: str, *, file: str = "") -> Value:
    """Parse a whole text.

    Raises:
        ConfigError: a syntax error, with line and column.
    """
    try:
        return _to_value(tomli.loads(text), (), locate_keys(text))
    except tomli.TOMLDecodeError as exc:
        raise ConfigError(explain_syntax_error(str(exc), text, file)) from None
    except RecursionError:
        problem = ConfigProblem(where="", message="not valid TOML: nested too deeply", file=file)
        raise ConfigError(problem) from None


def _to_value(value: object, path: KeyPath, spots: Mapping[KeyPath, Spot]) -> Value:
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
