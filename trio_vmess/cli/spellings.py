"""Other ways to say a command: a file alone, and the words of V2Ray's command line.

trio-vmess FILE                          trio-vmess run FILE
trio-vmess vmess://…                     trio-vmess client vmess://…
v2ray -config FILE, v2ray run -c FILE    trio-vmess run --config FILE
v2ray -test -config FILE, v2ray test …   trio-vmess check --config FILE
v2ray -version, v2ray version            trio-vmess --version
"""

import os
from collections.abc import Collection, Sequence
from typing import Final

_LONG: Final = ("config", "test", "version", "help", "format", "confdir")
"""V2Ray's options have one dash, or two."""

_COMMANDS: Final = {"test": "check", "version": "--version", "help": "--help"}
_OWN: Final = ("-h", "--help", "--version")
_SUFFIXES: Final = (".json", ".jsonc", ".json5", ".toml")
_FORMATS: Final = ("auto", "json", "jsonc", "jsonv4", "toml", "v4")


class SpellingError(ValueError):
    """The words make no command; the text says why."""


def spell_out(words: Sequence[str], commands: Collection[str]) -> list[str]:
    """Return the words of a command line as the parser of this program knows them.

    Args:
        words: the arguments, without the program's name.
        commands: those of this program.

    Raises:
        SpellingError: the first word is neither a command nor a file, or an option of V2Ray's
            cannot be had.
    """
    spelled = _without_format([_long(word) for word in words])
    if not spelled or spelled[0] in _OWN:
        return spelled
    first = _COMMANDS.get(spelled[0], spelled[0])
    if first in _OWN:
        return [first]
    if first in commands:
        command, rest = first, spelled[1:]
    elif first.startswith("-") and first != "-":
        command, rest = "run", spelled
    elif first.lower().startswith("vmess://"):
        command, rest = "client", spelled
    elif _is_file(first):
        command, rest = "run", spelled
    else:
        # Imported here: only mistakes need it.
        from trio_vmess.config import nearest

        near = nearest(first, commands)
        guess = f"; did you mean '{near}'?" if near else ""
        raise SpellingError(f"'{first}' is neither a command nor a file{guess}")
    if command == "run" and "--test" in rest:
        command, rest = "check", [word for word in rest if word != "--test"]
    return [command, *rest]


def _long(word: str) -> str:
    name, equals, value = word.partition("=")
    if name.startswith("-") and not name.startswith("--") and name[1:] in _LONG:
        return f"-{name}{equals}{value}"
    return word


def _without_format(words: Sequence[str]) -> list[str]:
    """Leave out what says the format, which this program sees for itself."""
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name == "--confdir":
            raise SpellingError("folders of files are not supported; use one file")
        if name != "--format":
            kept.append(word)
            continue
        found = value if equals else next(rest, "")
        if found.lower() not in _FORMATS:
            raise SpellingError(f"the format '{found}' is not supported; use JSON or TOML")
    return kept


def _is_file(word: str) -> bool:
    return word.lower().endswith(_SUFFIXES) or os.path.exists(word)
