"""Fuzz the reader of the native configuration."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.config.test_toml import TOML, TRICKY
from tests.fuzz.configurations import check_config
from trio_vmess.config.toml import parse_toml
from trio_vmess.config.tree import Member, Members, Value
from trio_vmess.errors import ConfigError

_EXAMPLE: Final = Path(__file__).parents[2] / "config.toml.example"
_COMMENT: Final = re.compile(rb"[ ]*#[^\n\"]*\n")

SEEDS: Final = (
    TRICKY.encode(),
    TOML.encode(),
    *re.split(rb"\n(?=\[)", _COMMENT.sub(b"\n", _EXAMPLE.read_bytes())),
    b"a.b = 1\na.c = 1979-05-27T07:32:00Z\nd = 07:32:00\ne = 1e400\nf = nan\ng = 0xff\n",
    b"\xef\xbb\xbf[[outbounds]]\r\nprotocol = 'freedom'\r\n",
)
_WORDS: Final = {word for seed in SEEDS for word in re.findall(rb"\w+ = |\[+[\w.]+\]+", seed)}
TOKENS: Final = (
    *sorted(_WORDS),
    *(b'"""', b"'''", b"\\U0001F600", b"inf", b"nan", b"{ ", b"[[", b"]]", b'"env:PORT"'),
)

_KEY_STARTS: Final = re.compile(r"""[A-Za-z0-9_"'\[-]""")


def check(data: bytes) -> None:
    """Raise where an invariant is broken.

    A text is a configuration, or something is wrong at a place that it has; and every key of a
    valid text is found, at a place where a key or a header begins.
    """
    text = data.decode("utf-8", "replace")
    check_config(text, "toml")
    try:
        root = parse_toml(text)
    except ConfigError:
        return
    lines = text.split("\n")
    for member in members_of(root):
        if member.line is None or member.column is None:
            raise ValueError(f"{member.key!r} was not found in {text!r}")
        rest = lines[member.line - 1][member.column - 1 :]
        if _KEY_STARTS.match(rest) is None:
            raise ValueError(f"{member.key!r} is not at {member.line}:{member.column}")


def members_of(value: Value) -> Iterator[Member]:
    """Yield the members of all objects inside a value."""
    match value.content:
        case Members(items=items):
            for member in items:
                yield member
                yield from members_of(member.value)
        case tuple():
            for item in value.content:
                yield from members_of(item)
        case _:
            return
