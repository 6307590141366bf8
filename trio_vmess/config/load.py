"""Loading a configuration: detecting its format, reading it, and checking it."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import attrs

from trio_vmess.config.exposure import has_secrets, is_readable_by_all
from trio_vmess.config.model import Config
from trio_vmess.config.reader import Report, Style
from trio_vmess.config.validation import find_problems, find_warnings
from trio_vmess.errors import ConfigError, ConfigProblem

__all__ = ["Format", "load_config", "parse_config"]

Format = Literal["toml", "json"]

_SUFFIXES: Final[dict[str, Format]] = {
    ".toml": "toml",
    ".json": "json",
    ".jsonc": "json",
    ".json5": "json",
}
_BYTE_ORDER_MARK: Final = "\ufeff"
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_BLANK: Final = re.compile(r"(?:\s+|#[^\n]*)*")
_TOML: Final = re.compile(
    r"(?:\s+|#[^\n]*)*(?P<statement>[\w.\"-]+[ \t]*=|\[\[?[ \t]*[A-Za-z_][\w.-]*[ \t]*\])"
)
"""Begins as no JSON does: with a key and an equals sign, or with a header."""


def load_config(
    path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None
) -> Config:
    """Read a configuration file: native TOML, or V2Ray's JSON.

    Args:
        path: the suffixes `.toml`, `.json`, `.jsonc` and `.json5` decide on the format; for any
            other file, the content does.
        environ: where `env:NAME` is looked up; None for the environment of the process.

    Raises:
        ConfigError: the file cannot be read; or with all problems in it.
    """
    file = os.fspath(path)
    try:
        data = Path(file).read_bytes()
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise _file_error(file, f"cannot read the file: {reason}") from exc
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        if data.startswith(_UTF16_MARKS):
            raise _file_error(file, "the file is UTF-16; save it as UTF-8") from None
        before = data[: exc.start]
        raise _file_error(
            file,
            f"the file is not UTF-8: invalid byte 0x{data[exc.start]:02x}; save it as UTF-8",
            line=before.count(b"\n") + 1,
            column=exc.start - before.rfind(b"\n"),
        ) from None
    config = parse_config(text, file=file, environ=environ)
    if not is_readable_by_all(file) or not has_secrets(config, text):
        return config
    problem = ConfigProblem(
        where="",
        message=(
            "the file has ids or passwords, and every user of this machine can read it; "
            "remove that permission (chmod o-r)"
        ),
        file=file,
    )
    return attrs.evolve(config, warnings=(problem, *config.warnings))


def _file_error(
    file: str, message: str, *, line: int | None = None, column: int | None = None
) -> ConfigError:
    return ConfigError(
        ConfigProblem(where="", message=message, file=file, line=line, column=column)
    )


def parse_config(
    text: str,
    *,
    file: str = "",
    format: Format | None = None,  # noqa: A002  (the word that callers expect)
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Read a configuration from text.

    Args:
        text: the whole file; a byte order mark at its beginning is skipped.
        file: its name, for messages and to detect the format.
        format: None to detect it by the suffix of the name, or else by the content.
        environ: where `env:NAME` is looked up; None for the environment of the process.

    Raises:
        ConfigError: with all problems, in the order of the file; a syntax error alone.
    """
    text = text.removeprefix(_BYTE_ORDER_MARK)
    kind = format or _format_by_name(file, text) or guess_format(text)
    # Imported here: a node reads a file of one format.
    if kind == "toml":
        from trio_vmess.config.toml import parse_toml, read_native

        report = Report(file, Style.NATIVE, environ=environ)
        config = read_native(report.open(parse_toml(text, file=file), ""))
    else:
        from trio_vmess.config.jsonc import parse_jsonc
        from trio_vmess.config.v2ray_json import read_v2ray

        report = Report(file, Style.V2RAY, environ=environ)
        config = read_v2ray(report.open(parse_jsonc(text, file=file), ""))
    report.close_sections()
    for location, message in find_problems(config):
        # What was not understood is not there: that it is missing is no mistake of its own.
        if not report.has_problem_within(location.where):
            report.problem(location, message)
    for location, message in find_warnings(config):
        report.warn(location, message)
    return attrs.evolve(config, file=file, warnings=report.finish())


def _format_by_name(file: str, text: str) -> Format | None:
    """Return the format that a file's name says.

    Raises:
        ConfigError: it is obviously in the other one.
    """
    suffix = Path(file).suffix.lower()
    kind = _SUFFIXES.get(suffix)
    if kind == "toml" and guess_format(text) == "json":
        raise _file_error(
            file, f"the file is JSON, but its name ends in {suffix}; let it end in .json"
        )
    if kind == "json" and (match := _TOML.match(text)) is not None:
        raise _file_error(
            file,
            f"the file is TOML, but its name ends in {suffix}; let it end in .toml",
            line=text.count("\n", 0, match.span("statement")[0]) + 1,
        )
    return kind


def guess_format(text: str) -> Format:
    """Detect the format by the first character that is neither blank nor in a `#` comment."""
    match = _BLANK.match(text)
    start = 0 if match is None else match.end()
    return "json" if text.startswith(("{", "/"), start) else "toml"
